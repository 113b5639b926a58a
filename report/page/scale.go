package page

import (
	"math"
	"strconv"
	"strings"
)

// scale places values along an axis: 0 is its start, 1 its end.
type scale struct {
	low, high float64 // of the axis, in values; low < high
	log       bool
	ticks     []tick
}

type tick struct {
	Value float64
	Label string
}

// Values outside these are not drawn, so that no sum or difference of two overflows and no step vanishes.
const (
	largest  = 1e300
	smallest = 1e-300
)

// drawable says whether a value can be drawn on a linear or logarithmic axis.
func drawable(v float64, log bool) bool { return math.Abs(v) <= largest && (!log || v >= smallest) }

// at is the place of a drawable value.
func (s scale) at(v float64) float64 {
	if s.log {
		return (math.Log10(v) - math.Log10(s.low)) / (math.Log10(s.high) - math.Log10(s.low))
	}
	return (v - s.low) / (s.high - s.low)
}

// newScale makes a scale for values from low to high with about n intervals. A round one begins and ends at ticks.
// Ticks of whole numbers are whole.
func newScale(low, high float64, n int, log, round, whole bool) scale {
	if log {
		return logScale(low, high, n)
	}
	low, high = widened(low, high, whole)
	step := niceStep((high-low)/float64(n), whole)
	if round {
		low, high = math.Floor(low/step+slack)*step, math.Ceil(high/step-slack)*step
	}
	return scale{low: low, high: high, ticks: linearTicks(low, high, step)}
}

// slack is how far from a tick, in steps, a value still counts as on it: division rounds.
const slack = 1e-6

func linearTicks(low, high, step float64) (ticks []tick) {
	first, last := math.Ceil(low/step-slack), math.Floor(high/step+slack)
	for i := first; i <= last; i++ {
		ticks = append(ticks, tick{i * step, tickLabel(i*step, step)})
	}
	return ticks
}

// widened makes room around a single value, and around values so near to each other that ticks between them would be
// the same number.
func widened(low, high float64, whole bool) (float64, float64) {
	const near = 1e-9
	size := max(math.Abs(low), math.Abs(high))
	if high-low > near*size && high-low >= smallest {
		return low, high
	}
	around := size / 2
	if whole || size < smallest {
		around = max(1, size*near)
	}
	return low - around, high + around
}

// niceStep is the smallest of 1, 2 and 5 times a power of ten that is at least rough.
func niceStep(rough float64, whole bool) float64 {
	if whole && rough < 1 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= rough*(1-slack) {
			return m * power
		}
	}
	return 10 * power
}

// logScale has ticks at powers of ten, with 2 and 5 times them if they are few, and ends at ticks or powers of ten.
// Within one power of ten the ticks are those of a linear scale, at their logarithmic places.
func logScale(low, high float64, n int) scale {
	if high/low < 1+1e-9 {
		low, high = low/2, high*2
	}
	first, last := math.Log10(low), math.Log10(high)
	if last-first < 1 {
		step := niceStep((high-low)/float64(n), false)
		if begin := math.Floor(low/step+slack) * step; begin > 0 {
			low = begin
		}
		high = math.Ceil(high/step-slack) * step
		return scale{low: low, high: high, log: true, ticks: linearTicks(low, high, step)}
	}
	s := scale{low: math.Pow(10, math.Floor(first+slack)), high: math.Pow(10, math.Ceil(last-slack)), log: true}
	multiples := []float64{1}
	if last-first <= 2.5 {
		multiples = []float64{1, 2, 5}
	}
	stride := math.Ceil((last - first) / float64(n+3)) // powers of ten may stand closer than round numbers
	for power := math.Ceil(first/stride-1) * stride; power <= last+1; power += stride {
		for _, m := range multiples {
			if v := m * math.Pow(10, power); v >= s.low*(1-slack) && v <= s.high*(1+slack) {
				s.ticks = append(s.ticks, tick{v, compact(v)})
			}
		}
	}
	return s.trimmed(low, high)
}

// trimmed ends the scale at the ticks next to low and high, where there are some outside them.
func (s scale) trimmed(low, high float64) scale {
	for len(s.ticks) > 1 && s.ticks[1].Value <= low*(1+slack) {
		s.ticks = s.ticks[1:]
	}
	for n := len(s.ticks); n > 1 && s.ticks[n-2].Value >= high*(1-slack); n-- {
		s.ticks = s.ticks[:n-1]
	}
	if first := s.ticks[0].Value; first <= low*(1+slack) {
		s.low = min(first, low)
	}
	if last := s.ticks[len(s.ticks)-1].Value; last >= high*(1-slack) {
		s.high = max(last, high)
	}
	return s
}

// tickLabel formats a tick with the decimals that its neighbours need.
func tickLabel(v, step float64) string {
	size := math.Abs(v)
	switch {
	case v == 0:
		return "0"
	case (size >= 1e6 || step < 1e-4) && size <= 100*step, size >= 1e15:
		return compact(v)
	}
	const most = 15 // significant digits of a float64
	return grouped(v, min(most, max(0, -int(math.Floor(math.Log10(step)+slack)))))
}

// compact formats a number with four significant digits.
func compact(v float64) string {
	size := math.Abs(v)
	switch {
	case math.IsNaN(v):
		return "not a number"
	case math.IsInf(v, 0):
		return strings.ReplaceAll(strconv.FormatFloat(v, 'g', -1, 64), "Inf", "infinite")
	case size >= 1e15 || size < 1e-3 && v != 0:
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', 3, 64), "e")
		power, _ := strconv.Atoi(exponent) // of FormatFloat: a number
		return withoutZeros(mantissa) + "e" + strconv.Itoa(power)
	case size >= 1e6:
		return large(v)
	case size >= 999.95: // four digits of less end at 999.9
		return grouped(math.Round(v), 0)
	case v == 0:
		return "0"
	}
	return withoutZeros(strconv.FormatFloat(v, 'f', 3-int(math.Floor(math.Log10(size))), 64))
}

// large formats millions and more.
func large(v float64) string {
	unit, name := 1e6, "M"
	switch size := math.Abs(v); {
	case size >= 999.995e9:
		unit, name = 1e12, "T"
	case size >= 999.995e6:
		unit, name = 1e9, "B"
	}
	return withoutZeros(strconv.FormatFloat(v/unit, 'f', 2, 64)) + name
}

func withoutZeros(digits string) string {
	if strings.Contains(digits, ".") {
		digits = strings.TrimRight(strings.TrimRight(digits, "0"), ".")
	}
	if digits == "-0" {
		return "0"
	}
	return digits
}

// grouped formats a number with commas between thousands.
func grouped(v float64, decimals int) string {
	digits := strconv.FormatFloat(v, 'f', decimals, 64)
	sign, end := 0, len(digits)
	if v < 0 {
		sign = 1
	}
	if point := strings.IndexByte(digits, '.'); point >= 0 {
		end = point
	}
	for at := end - 3; at > sign; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
