package train

import (
	"math"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// schedule is the learning rate of each step as a share of its peak: a pure function of the step (from 0), the warm-up and the total.
// The first update of a warm-up uses 0, as transformers' schedules do (optimization.py).
type schedule func(step, warmup, total int) float64

var schedules = map[string]schedule{
	"cosine": func(step, warmup, total int) float64 {
		return 0.5 * (1 + math.Cos(math.Pi*progress(step, warmup, total)))
	},
	"linear":   func(step, warmup, total int) float64 { return 1 - progress(step, warmup, total) },
	"constant": func(int, int, int) float64 { return 1 },
}

// progress is how much of the way from the end of the warm-up to the last step is done, 0 to 1.
func progress(step, warmup, total int) float64 {
	return float64(step-warmup) / float64(max(1, total-warmup))
}

// openSchedule gives the share of the peak rate at each step of a run of total steps.
func openSchedule(s recipes.Schedule, total int) (func(step int) float64, error) {
	share, err := failure.LookUp("schedule", s.Type, schedules)
	if err != nil {
		return nil, err
	}
	warmup := warmupSteps(s.Warmup, total)
	return func(step int) float64 {
		if step < warmup {
			return float64(step) / float64(warmup)
		}
		return share(step, warmup, total)
	}, nil
}

// warmupSteps is a share of all steps, rounded up, below 1, and a number of steps from 1 on.
func warmupSteps(warmup float64, total int) int {
	if warmup < 1 {
		return int(math.Ceil(warmup * float64(total)))
	}
	return int(warmup)
}
