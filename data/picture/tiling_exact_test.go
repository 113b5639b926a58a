package picture

import (
	"fmt"
	"math/big"
	"runtime"
	"testing"
)

// exactTiling lays images out in whole numbers. A fraction of sizes below 2^20 that is not whole is too far from whole
// for a double's rounding to matter; one that is whole in truth is computed in arithmetic of 53 bits, in which it may
// come out a little less or more.
type exactTiling struct {
	*Tiling
	self map[int][]int // of a side of a pinpoint, for each n: n times its share of n, rounded down
}

func newExactTiling(t *Tiling, most int) exactTiling {
	e := exactTiling{t, map[int][]int{}}
	for _, p := range t.Pinpoints {
		for _, side := range []int{p.Width, p.Height} {
			if e.self[side] != nil {
				continue
			}
			e.self[side] = make([]int, most+1)
			for n := 1; n <= most; n++ {
				e.self[side][n], _ = rounded(n, side, n)
			}
		}
	}
	return e
}

// rounded is n·(side/of) in 53 bits, rounded down and up.
func rounded(n, side, of int) (down, up int) {
	double := func(n int) *big.Float { return new(big.Float).SetPrec(53).SetInt64(int64(n)) }
	share := new(big.Float).SetPrec(53).Quo(double(side), double(of))
	product := new(big.Float).SetPrec(53).Mul(double(n), share)
	whole, accuracy := product.Int64()
	down, up = int(whole), int(whole)
	if accuracy == big.Below {
		up++
	}
	return down, up
}

// times is n·(side/of) rounded down and up.
func times(n, side, of int) (down, up int) {
	if n*side%of == 0 {
		return rounded(n, side, of)
	}
	return n * side / of, n*side/of + 1
}

func (e exactTiling) layout(w, h int) Layout {
	l := e.Single()
	most, least := -1, 0
	for _, p := range e.Pinpoints {
		shown := 0
		if p.Width*h <= p.Height*w {
			other, _ := times(h, p.Width, w)
			shown = e.self[p.Width][w] * other
		} else {
			other, _ := times(w, p.Height, h)
			shown = e.self[p.Height][h] * other
		}
		if shown > w*h {
			shown = w * h
		}
		if wasted := p.Width*p.Height - shown; shown > most || shown == most && wasted < least {
			l.Pinpoint, most, least = p, shown, wasted
		}
	}
	p := l.Pinpoint
	l.Columns, l.Rows, l.Width, l.Height = p.Width/e.Edge, p.Height/e.Edge, p.Width, p.Height
	if p.Width*h < p.Height*w {
		_, up := times(h, p.Width, w)
		l.Height = min(up, p.Height)
	} else {
		_, up := times(w, p.Height, h)
		l.Width = min(up, p.Width)
	}
	l.Left, l.Top = (p.Width-l.Width)>>1, (p.Height-l.Height)>>1
	rows, columns := l.Rows*e.Side, l.Columns*e.Side
	if w*rows > h*columns {
		l.Kept.Top = (rows - h*columns/w) >> 1
	} else {
		l.Kept.Left = (columns - w*rows/h) >> 1
	}
	l.Kept.Rows, l.Kept.Columns = rows-2*l.Kept.Top, columns-2*l.Kept.Left
	if limit := e.Max * e.Side * e.Side; e.Max > 0 && 100*l.Kept.Rows*l.Kept.Columns > 121*limit {
		l.ShrunkRows = shrunk(l.Kept.Rows, l.Kept.Rows*l.Kept.Columns, limit)
		l.ShrunkColumns = shrunk(l.Kept.Columns, l.Kept.Rows*l.Kept.Columns, limit)
	}
	return l
}

// shrunk is the whole part of n / sqrt(area/limit): the largest k with k²·area ≤ n²·limit. Where they are equal, it is
// the whole part of n divided by the root in 53 bits.
func shrunk(n, area, limit int) int {
	k := 1
	for (k+1)*(k+1)*area <= n*n*limit {
		k++
	}
	if k*k*area < n*n*limit {
		return k
	}
	root := new(big.Float).SetPrec(53).SetInt64(int64(area))
	root.Quo(root, new(big.Float).SetInt64(int64(limit)))
	exact, _ := root.Sqrt(root).Rat(nil)
	exact.Quo(new(big.Rat).SetInt64(int64(n)), exact)
	return int(new(big.Int).Quo(exact.Num(), exact.Denom()).Int64())
}

// TestEveryLayoutIsExact compares every size up to 2000 × 2000 with arithmetic in whole numbers.
func TestEveryLayoutIsExact(t *testing.T) {
	const most = 2000
	stride := 1
	if testing.Short() {
		stride = 7
	}
	for name, tiling := range publishedTilings(t) {
		exact := newExactTiling(tiling, most)
		workers := runtime.GOMAXPROCS(0)
		for worker := range workers {
			t.Run(fmt.Sprintf("%s/%d", name, worker), func(t *testing.T) {
				t.Parallel()
				for width := 1 + worker; width <= most; width += workers {
					for height := 1 + width%stride; height <= most; height += stride {
						got, want := tiling.Layout(width, height), exact.layout(width, height)
						if got != want {
							t.Fatalf("%dx%d: layout %+v, want %+v", width, height, got, want)
						}
					}
				}
			})
		}
	}
}
