package runs

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// rehearsal is a run of which the times are known beforehand.
type rehearsal struct {
	total       int
	step        func(step int) float64 // seconds
	every, took map[string]int         // of work, and its seconds
	guess       float64                // of each work, in steps
}

// lefts is what the pace says after some steps, and the truth.
func (r rehearsal) lefts(at ...int) (said, truth map[int]float64) {
	pace, said, truth := NewPace(r.total), map[int]float64{}, map[int]float64{}
	for name, every := range r.every {
		pace.Expect(name, every, r.guess)
	}
	now, times := 0.0, map[int]float64{}
	for step := 1; step <= r.total; step++ {
		took := r.step(step)
		pace.Step(time.Duration(took * float64(time.Second)))
		now += took
		for name, every := range r.every {
			if step%every == 0 || step == r.total {
				pace.Work(name, time.Duration(r.took[name])*time.Second)
				now += float64(r.took[name])
			}
		}
		times[step], said[step] = now, pace.Left(step).Seconds()
	}
	for _, step := range at {
		truth[step] = now - times[step]
	}
	return said, truth
}

// The time left is right within 10 % from step 50 on, also across evaluations and checkpoints that have not come yet,
// if they take about as long as was expected.
func TestTimeLeft(t *testing.T) {
	uneven := func(step int) float64 {
		warm := 0.0
		if step <= 2 {
			warm = 30
		}
		return warm + 0.5 + rand.New(rand.NewPCG(uint64(step), 2)).Float64()
	}
	for name, r := range map[string]rehearsal{
		"steps alone": {total: 300, step: uneven},
		"evaluations": {300, uneven, map[string]int{"eval": 20, "save": 50}, map[string]int{"eval": 15, "save": 9},
			1},
		"an unseen one":    {300, uneven, map[string]int{"eval": 120}, map[string]int{"eval": 40}, 35},
		"only at the end":  {300, uneven, map[string]int{"eval": 1000}, map[string]int{"eval": 20}, 19},
		"slower later":     {1000, func(step int) float64 { return 1 + float64(step)/10_000 }, nil, nil, 0},
		"of a single step": {1, uneven, map[string]int{"eval": 1}, map[string]int{"eval": 5}, 1},
	} {
		said, truth := r.lefts(50, 100, 200)
		for step, want := range truth {
			if step < r.total && math.Abs(said[step]/want-1) > 0.1 {
				t.Errorf("%s: after step %d %.0f s left, it was %.0f", name, step, said[step], want)
			}
		}
		if said[r.total] != 0 {
			t.Errorf("%s: %v s left at the end", name, said[r.total])
		}
	}
}

func TestTimeLeftOfNothing(t *testing.T) {
	p := NewPace(10)
	p.Work("unknown", time.Second)
	if left := p.Left(0); left != 0 {
		t.Errorf("%v left before any step", left)
	}
}
