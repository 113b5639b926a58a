package page

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func labels(s scale) (list []string) {
	for _, t := range s.ticks {
		list = append(list, t.Label)
	}
	return list
}

func TestTicks(t *testing.T) {
	for _, test := range []struct {
		low, high         float64
		log, round, whole bool
		want              string
	}{
		{0, 10, false, true, false, "0 2 4 6 8 10"},
		{1, 10_000, false, false, true, "2,000 4,000 6,000 8,000 10,000"},
		{0.83, 6.1, false, true, false, "0 2 4 6 8"},
		{-0.3, 0.4, false, true, false, "-0.4 -0.2 0.0 0.2 0.4"},
		{61.2, 61.8, false, true, false, "61.2 61.4 61.6 61.8"},
		{1, 3, false, false, true, "1 2 3"},
		{500, 500, false, false, true, "499 500 501"},
		{1.2, 1.2, false, true, false, "0.5 1.0 1.5 2.0"},
		{0, 0, false, true, false, "-1.0 -0.5 0.0 0.5 1.0"},
		{0, 2.4e6, false, true, false, "0 500,000 1M 1.5M 2M 2.5M"},
		{0, 3e-5, false, true, false, "0 1e-5 2e-5 3e-5"},
		{2_000_000, 2_000_004, false, true, true, "2,000,000 2,000,001 2,000,002 2,000,003 2,000,004"},
		{2e-8, 1e-3, true, true, false, "1e-8 1e-7 1e-6 1e-5 1e-4 0.001"},
		{3, 70, true, true, false, "2 5 10 20 50 100"},
		{1.1, 1.9, true, true, false, "1.0 1.2 1.4 1.6 1.8 2.0"},
		{4, 4, true, true, false, "2 4 6 8"},
		{1e-300, 1e300, true, true, false, "1e-300 1e-225 1e-150 1e-75 1 1e75 1e150 1e225 1e300"},
	} {
		got := strings.Join(labels(newScale(test.low, test.high, 5, test.log, test.round, test.whole)), " ")
		if strings.ReplaceAll(got, "0.0 ", "0 ") != strings.ReplaceAll(test.want, "0.0 ", "0 ") {
			t.Errorf("%v: ticks %s", test, got)
		}
	}
}

// anyNumber is mostly a number that makes trouble.
func anyNumber() *rapid.Generator[float64] {
	whole := rapid.Map(rapid.IntRange(-5, 5), func(i int) float64 { return float64(i) })
	trouble := rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, 1e-320, 5e-324, -5e-324, 1e-300, 1e300, -1e300,
		math.MaxFloat64, -math.MaxFloat64, math.Nextafter(1, 2), 1e15, 1e16 + 2, math.NaN(), math.Inf(1), math.Inf(-1)})
	return rapid.OneOf(whole, rapid.Float64(), rapid.Float64Range(-10, 10), trouble)
}

func TestScalesHoldTheirValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log, round, whole := rapid.Bool().Draw(t, "log"), rapid.Bool().Draw(t, "round"), rapid.Bool().Draw(t, "whole")
		low, high := anyNumber().Draw(t, "low"), anyNumber().Draw(t, "high")
		if low, high = min(low, high), max(low, high); !drawable(low, log) || !drawable(high, log) {
			return
		}
		if whole {
			low, high = math.Floor(low), math.Ceil(high)
			if !drawable(low, log) {
				return
			}
		}
		s := newScale(low, high, 5, log, round, whole)
		for _, v := range []float64{low, high, low/2 + high/2} {
			if at := s.at(v); !(at >= -1e-6 && at <= 1+1e-6) {
				t.Errorf("%g is at %g of %+v", v, at, s)
			}
		}
		names := labels(s)
		if len(names) < 1 || len(names) > 12 || len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
			t.Errorf("labels %q from %g to %g", names, low, high)
		}
		for i, tick := range s.ticks {
			if at := s.at(tick.Value); !(at >= -1e-5 && at <= 1+1e-5) || i > 0 && tick.Value <= s.ticks[i-1].Value {
				t.Errorf("tick %g is at %g of %+v", tick.Value, at, s)
			}
		}
	})
}

func TestNumbers(t *testing.T) {
	for want, v := range map[string]float64{
		"0": 0, "1": 1, "1.5": 1.5, "0.3333": 1. / 3, "0.001": 1e-3, "-0.5": -0.5, "999.9": 999.9,
		"1,000": 999.99, "1,235": 1234.6, "-12,346": -12345.6,
		"1.25M": 1.25e6, "999.9M": 999.9e6, "1.5B": 1.4999999e9, "2B": 2e9, "1T": 999_999_999_999, "1.03T": 1.03e12,
		"1e15": 1e15, "2e-5": 2e-5, "1.235e-5": 1.23456e-5, "1e-300": 1e-300,
		"not a number": math.NaN(), "+infinite": math.Inf(1), "-infinite": math.Inf(-1),
	} {
		if got := compact(v); got != want {
			t.Errorf("%g is written %s, want %s", v, got, want)
		}
	}
	for want, v := range map[string]float64{"1,234,567.50": 1234567.5, "-123.00": -123, "-1,234.00": -1234,
		"0.25": 0.25} {
		if got := grouped(v, 2); got != want {
			t.Errorf("%g is written %s, want %s", v, got, want)
		}
	}
}

// The longest label of the y axis decides how much room there is for all.
func TestGutters(t *testing.T) {
	for _, test := range []struct {
		label, want string
	}{
		{"", "g4"}, {"1234", "g4"}, {"12345", "g7"}, {"ééééééé", "g7"}, {"12345678", "g11"}, {"12345678901", "g11"},
		{"123456789012", "g16"},
	} {
		y := scale{low: 0, high: 1, ticks: []tick{{0, "0"}, {1, test.label}, {0.5, ""}}}
		if got := newFrame(100, scale{low: 0, high: 1}, y).Gutter; got != test.want {
			t.Errorf("label %q: %s, want %s", test.label, got, test.want)
		}
		if !strings.Contains(styleText, "."+test.want+" {") {
			t.Errorf("the style sheet lacks %s", test.want)
		}
	}
}
