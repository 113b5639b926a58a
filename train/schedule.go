package train

import (
	"fmt"
	"math"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// schedule is the learning rate of a step as a share of the peak rate: a pure function of the step (from 0), the
// warm-up and the total. The first update of a warm-up has rate 0, as in transformers' schedules (optimization.py).
type schedule func(step, warmup, total int) float64

var schedules = map[string]schedule{
	"cosine": func(step, warmup, total int) float64 {
		return 0.5 * (1 + math.Cos(math.Pi*progress(step, warmup, total)))
	},
	"linear":   func(step, warmup, total int) float64 { return 1 - progress(step, warmup, total) },
	"constant": func(int, int, int) float64 { return 1 },
}

// progress is the completed share, 0 to 1, of the steps after the warm-up.
func progress(step, warmup, total int) float64 {
	return float64(step-warmup) / float64(max(1, total-warmup))
}

// openSchedule returns the share of the peak rate at each step of a run of total steps.
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

// rateWarning says that the steps from first on all have a learning rate of 0; "" if one has not.
func (p *plan) rateWarning(first int) string {
	return rateWarning(p.schedule, p.stage.Schedule, first, p.total)
}

func rateWarning(schedule func(step int) float64, s recipes.Schedule, first, total int) string {
	for step := first; step < total; step++ {
		if schedule(step) > 0 {
			return ""
		}
	}
	if first >= total {
		return ""
	}
	return fmt.Sprintf("no weight will change: the learning rate is 0 in each of the %d steps left. "+
		"A warm-up of %v takes %d of %d steps, and its first has rate 0; "+
		"train for more steps (a smaller batch.global or more epochs), or set schedule.warmup: 0",
		total-first, s.Warmup, warmupSteps(s.Warmup, total), total)
}

// RateWarning says that no step of a stage with this many steps has a learning rate above 0; "" if one has.
func RateWarning(stage *recipes.Stage, total int) string {
	schedule, err := openSchedule(stage.Schedule, total)
	if err != nil {
		return ""
	}
	return rateWarning(schedule, stage.Schedule, 0, total)
}

// warmupSteps reads a warm-up below 1 as a share of all steps, rounded up, and one of at least 1 as a number of steps.
func warmupSteps(warmup float64, total int) int {
	if warmup < 1 {
		return int(math.Ceil(warmup * float64(total)))
	}
	return int(warmup)
}
