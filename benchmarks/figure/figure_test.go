package figure

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// scores is an accuracy in percent.
func scores(list ...float64) Figure {
	t := &Terms{}
	for i, x := range list {
		t.Add(i, x, 1)
	}
	return New("accuracy", Part{100, t})
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9*max(1, math.Abs(a)) }

// An accuracy's standard error is the one of a mean.
func TestErrorOfAMean(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		list := rapid.SliceOfN(rapid.Float64Range(0, 1), 2, 50).Draw(r, "scores")
		mean, square := 0.0, 0.0
		for _, x := range list {
			mean += x / float64(len(list))
		}
		for _, x := range list {
			square += (x - mean) * (x - mean)
		}
		n := float64(len(list))
		f := scores(list...)
		if want := 100 * math.Sqrt(square/(n-1)/n); !near(f.Value, 100*mean) || math.Abs(f.Error-want) > 1e-9 ||
			f.Units() != len(list) {
			r.Errorf("%v ± %v, want %v ± %v", f.Value, f.Error, 100*mean, want)
		}
	})
}

// The numbers of the design: 300 questions at 60 % have an error of 2.8 points.
func TestErrorOfThreeHundred(t *testing.T) {
	list := make([]float64, 300)
	for i := range 180 {
		list[i] = 1
	}
	if f := scores(list...); !near(f.Value, 60) || math.Abs(f.Error-2.83) > 0.01 {
		t.Errorf("%v ± %v", f.Value, f.Error)
	}
}

// The error of a ratio is near the one of a bootstrap.
func TestErrorOfARatio(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const n = 400
	var over, under [n]float64
	terms := &Terms{}
	for i := range n {
		under[i] = float64(random.IntN(3))
		over[i] = under[i] * float64(random.IntN(2))
		terms.Add(i, over[i], under[i])
	}
	f := New("f1", Part{1, terms})
	var mean, square float64
	for range 2000 {
		var a, b float64
		for range n {
			k := random.IntN(n)
			a, b = a+over[k], b+under[k]
		}
		mean += a / b / 2000
		square += a / b * a / b / 2000
	}
	if drawn := math.Sqrt(square - mean*mean); math.Abs(drawn-f.Error) > 0.1*drawn {
		t.Errorf("standard error %v, by bootstrap %v", f.Error, drawn)
	}
}

// Units that belong together count as one.
func TestUnitsAddUp(t *testing.T) {
	terms := &Terms{}
	for i := range 10 {
		terms.Add(i/2, float64(i/2%2), 1)
	}
	f := New("", Part{1, terms})
	if f.Units() != 5 || !near(f.Value, .4) || !near(f.Error, math.Sqrt(.4*.6/4)) {
		t.Errorf("%v ± %v of %d", f.Value, f.Error, f.Units())
	}
}

// Units may come in any order.
func TestUnitsComeInAnyOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		units := rapid.SliceOf(rapid.IntRange(0, 9)).Draw(r, "units")
		terms, sum := &Terms{}, map[int]float64{}
		for i, unit := range units {
			terms.Add(unit, float64(i), 1)
			sum[unit] += float64(i)
		}
		if !slices.IsSorted(terms.units) || len(terms.units) != len(sum) {
			r.Fatalf("units %v", terms.units)
		}
		for i, unit := range terms.units {
			if terms.over[i] != sum[unit] {
				r.Errorf("unit %d: %v, want %v", unit, terms.over[i], sum[unit])
			}
		}
	})
}

// Of many units the interval is the normal one, which is near the bootstrap's of some fewer.
func TestIntervalsMeet(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	width := func(n int) float64 {
		a, b := &Terms{}, &Terms{}
		for i := range n {
			a.Add(i, float64(random.IntN(2)), 1)
			b.Add(i, float64(random.IntN(2)), 1)
		}
		d := Compare(New("", Part{1, a}), New("", Part{1, b}), 1)
		if d.Low > d.Change || d.High < d.Change {
			t.Errorf("%+v", d)
		}
		return (d.High - d.Low) * math.Sqrt(float64(n))
	}
	if drawn, normal := width(many), width(many+1); math.Abs(drawn/normal-1) > 0.05 {
		t.Errorf("%v by the bootstrap, %v", drawn, normal)
	}
}

func TestNothingCounted(t *testing.T) {
	if f := New("", Part{100, &Terms{}}); !math.IsNaN(f.Value) || !math.IsNaN(f.Error) {
		t.Errorf("%v ± %v", f.Value, f.Error)
	}
	if f := scores(1); f.Value != 100 || !math.IsNaN(f.Error) {
		t.Errorf("%v ± %v", f.Value, f.Error)
	}
}

func TestMean(t *testing.T) {
	a, b := &Terms{}, &Terms{}
	a.Add(1, 1, 1)
	a.Add(2, 1, 1)
	b.Add(3, 0, 1)
	if f := Mean("average", 100, []*Terms{a, b}); f.Value != 50 || f.Units() != 3 {
		t.Errorf("%v of %d", f.Value, f.Units())
	}
}

func TestMcNemar(t *testing.T) {
	for _, c := range []struct {
		fixed, broken int
		want          float64
	}{{0, 0, 1}, {1, 0, 1}, {5, 5, 1}, {10, 0, 2.0 / 1024}, {9, 1, 2 * 11.0 / 1024}, {1, 9, 2 * 11.0 / 1024}} {
		if got := McNemar(c.fixed, c.broken); !near(got, c.want) {
			t.Errorf("%d to %d: %v, want %v", c.fixed, c.broken, got, c.want)
		}
	}
}

// A paired comparison sees a small steady gain that the two errors alone would hide, and none between equal runs.
func TestCompareIsPaired(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var before, after []float64
	for range 500 {
		x := float64(random.IntN(2))
		before = append(before, x)
		if x == 0 && random.IntN(10) == 0 {
			x = 1
		}
		after = append(after, x)
	}
	a, b := scores(before...), scores(after...)
	d := Compare(a, b, 0)
	if d.Low <= 0 || d.High >= 10 || d.Low >= d.Change || d.High <= d.Change || d.Broken != 0 ||
		!near(d.Change, float64(d.Fixed)/5) || d.McNemar > 0.01 {
		t.Errorf("%+v", d)
	}
	if a.Error < d.Change/2 {
		t.Logf("the gain is seen without pairs too: %v ± %v", d.Change, a.Error)
	}
	if again := Compare(a, b, 0); again != d {
		t.Errorf("%+v, then %+v", d, again)
	}
	if same := Compare(a, a, 0); same.Change != 0 || same.Low != 0 || same.High != 0 || same.McNemar != 1 {
		t.Errorf("%+v", same)
	}
	graded := Compare(scores(.3, .6, 1), scores(.6, .6, 1), 0)
	if graded.McNemar != 0 || graded.Fixed != 0 || !near(graded.Change, 10) {
		t.Errorf("%+v", graded)
	}
}
