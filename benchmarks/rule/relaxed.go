package rule

import (
	"math"
	"strings"
)

// Relaxed is the relaxed accuracy of ChartQA (Methani et al. 2020; Masry et al. 2022, section 5.1): numbers may differ
// from a target other than 0 by a twentieth of it; anything else is equal but for case. A number with % is a hundredth:
// "45%" is not "45". White space around the prediction does not count.
func Relaxed(prediction, target string) bool {
	const tolerance = 0.05
	prediction = strip(prediction)
	mine, ok := fraction(prediction)
	right, known := fraction(target)
	if ok && known && right != 0 {
		return math.Abs(mine-right)/math.Abs(right) <= tolerance
	}
	return lower(prediction) == lower(target)
}

// fraction reads a number, or a percentage.
func fraction(s string) (float64, bool) {
	if percent := strings.TrimRight(s, "%"); percent != s {
		x, ok := float(percent)
		return x / 100, ok
	}
	return float(s)
}
