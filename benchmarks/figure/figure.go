// Package figure computes the figures of benchmarks with their standard errors, and compares two runs.
//
// Every figure of these benchmarks is a weighted sum of ratios of sums over independent units: an accuracy is the sum
// of scores over the number of questions, F1 is 2 TP over 2 TP + FP + FN, MMStar's average is the mean of 18
// accuracies. A unit is what was drawn independently: a question, or all rotations of one, or the two questions about a
// picture.
package figure

import (
	"math"
	"slices"
)

// Terms is a ratio of two sums over units.
type Terms struct {
	units       []int // ascending
	over, under []float64
}

// Add adds terms of a unit, which has a number. It is fastest in the order of the numbers.
func (t *Terms) Add(unit int, over, under float64) {
	at := len(t.units)
	if at > 0 && unit <= t.units[at-1] {
		at, _ = slices.BinarySearch(t.units, unit)
	}
	if at == len(t.units) || t.units[at] != unit {
		t.units = slices.Insert(t.units, at, unit)
		t.over, t.under = slices.Insert(t.over, at, 0), slices.Insert(t.under, at, 0)
	}
	t.over[at] += over
	t.under[at] += under
}

// sums are those over the units, in order, so that they are the same bits every time.
func (t *Terms) sums() (over, under float64) {
	for i := range t.units {
		over += t.over[i]
		under += t.under[i]
	}
	return over, under
}

// Part is a ratio with its weight.
type Part struct {
	Weight float64
	Terms  *Terms
}

// Figure is a weighted sum of ratios of disjoint units, or of the same ones.
type Figure struct {
	Name  string
	Value float64 // NaN: nothing was counted
	Error float64 // standard error; NaN for less than two units

	parts []Part
}

// New computes a figure. The standard error is that of the delta method for ratios: with R = A/B over n units, the
// variance is n/(n-1) Σ(a - R b)² / B² (Cochran 1977, "Sampling Techniques", section 6.4); for an accuracy it is s²/n.
// Parts without any unit are left out, and the others keep their weights.
func New(name string, parts ...Part) Figure {
	f := Figure{Name: name, parts: parts}
	counted := false
	for _, part := range parts {
		if over, under := part.Terms.sums(); len(part.Terms.units) > 0 {
			f.Value += part.Weight * over / under // 0/0 is NaN
			counted = true
		}
	}
	if !counted {
		f.Value = math.NaN()
	}
	f.Error = deviation(f.influence().over)
	return f
}

// deviation is the standard error of a sum of influences.
func deviation(influences []float64) float64 {
	sum, n := 0.0, float64(len(influences))
	if n < 2 {
		return math.NaN()
	}
	for _, x := range influences {
		sum += x * x
	}
	return math.Sqrt(sum * n / (n - 1))
}

// Mean is the mean of a list of equally weighted ratios.
func Mean(name string, scale float64, terms []*Terms) Figure {
	var parts []Part
	for _, t := range terms {
		parts = append(parts, Part{scale / float64(len(terms)), t})
	}
	return New(name, parts...)
}

// influence is how much each unit moves the figure, to first order, as the terms over; it sums to 0.
func (f Figure) influence() (of Terms) {
	for _, part := range f.parts {
		over, under := part.Terms.sums()
		ratio := over / under
		for i, unit := range part.Terms.units {
			of.Add(unit, part.Weight*(part.Terms.over[i]-ratio*part.Terms.under[i])/under, 0)
		}
	}
	return of
}

// Units is the number of units that a figure rests on.
func (f Figure) Units() int { return len(f.influence().units) }
