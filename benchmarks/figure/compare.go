package figure

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Difference is how a figure of one run differs from the same of another, question by question.
type Difference struct {
	Name   string  `json:"name"`
	A      float64 `json:"a"`
	B      float64 `json:"b"`
	Change float64 `json:"change"` // B - A
	Low    float64 `json:"low"`    // the 95 % interval of the change
	High   float64 `json:"high"`
	// units that are wrong in A and right in B; 0 with Broken where scores are graded
	Fixed  int `json:"fixed"`
	Broken int `json:"broken"` // the other way round
	// the chance of such a split if neither run were better; absent if graded
	McNemar float64 `json:"mcnemar,omitempty"`
}

const (
	resamples  = 2000
	many       = 10_000            // units, of which the bootstrap's distribution is normal
	ninetyFive = 1.959963984540054 // standard errors to each side
)

// Compare is B against A, which have the same units. The interval is a paired bootstrap: units are drawn with their
// scores in both runs, 2000 times, by the seed. It draws influences, which for an accuracy are the scores themselves.
// Of more than 10,000 units it is the normal interval, which the bootstrap would come to.
func Compare(a, b Figure, seed uint64) Difference {
	d := Difference{Name: a.Name, A: a.Value, B: b.Value, Change: b.Value - a.Value}
	moves := slices.Clone(b.influence().over)
	for i, x := range a.influence().over {
		moves[i] -= x
	}
	d.count(a, b)
	if len(moves) > many {
		half := ninetyFive * deviation(moves)
		d.Low, d.High = d.Change-half, d.Change+half
		return d
	}
	random := rand.New(rand.NewPCG(seed, 0))
	changes := make([]float64, resamples)
	for i := range changes {
		for range moves {
			changes[i] += moves[random.IntN(len(moves))]
		}
	}
	slices.Sort(changes)
	d.Low, d.High = d.Change+changes[resamples*25/1000], d.Change+changes[resamples-1-resamples*25/1000]
	return d
}

// count counts flips, and tests them, where each unit is right or wrong.
func (d *Difference) count(a, b Figure) {
	if len(a.parts) != 1 || len(b.parts) != 1 {
		return
	}
	first, second := a.parts[0].Terms, b.parts[0].Terms
	for _, t := range []*Terms{first, second} {
		for i := range t.units {
			if t.over[i] != 0 && t.over[i] != 1 || t.under[i] != 1 {
				return
			}
		}
	}
	for i := range first.units {
		switch before, after := first.over[i], second.over[i]; {
		case before < after:
			d.Fixed++
		case before > after:
			d.Broken++
		}
	}
	d.McNemar = McNemar(d.Fixed, d.Broken)
}

// McNemar is the exact two-sided test of McNemar (1947): the chance that a fair coin splits all flips at least as
// unevenly. It is 1 where there are none.
func McNemar(fixed, broken int) float64 {
	n, k := fixed+broken, min(fixed, broken)
	tail := 0.0
	for i := 0; i <= k; i++ {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(i + 1))
		c, _ := math.Lgamma(float64(n - i + 1))
		tail += math.Exp(a - b - c - float64(n)*math.Ln2)
	}
	return min(1, 2*tail)
}
