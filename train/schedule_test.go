package train

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/recipes"
)

// The rates of transformers' schedules (optimization.py, get_cosine_schedule_with_warmup and its siblings) for LLaVA's
// stage 1: 558,128 rows in steps of 256, warm-up 0.03.
func TestScheduleValues(t *testing.T) {
	const base, total = 1e-3, 2181
	for _, c := range []struct {
		kind string
		step int
		want float64
	}{
		{"cosine", 0, 0}, {"cosine", 1, 1.515152e-05}, {"cosine", 65, 9.848485e-04}, {"cosine", 66, 1e-3},
		{"cosine", 1000, 5.912090e-04}, {"cosine", 2180, 5.515932e-10},
		{"linear", 1, 1.515152e-05}, {"linear", 66, 1e-3},
		{"linear", 1000, 1e-3 * 1181 / 2115}, {"linear", 2180, 1e-3 / 2115},
		{"constant", 1, 1.515152e-05}, {"constant", 66, 1e-3}, {"constant", 1000, 1e-3}, {"constant", 2180, 1e-3},
	} {
		share, err := openSchedule(recipes.Schedule{Type: c.kind, Warmup: 0.03}, total)
		if err != nil {
			t.Fatal(err)
		}
		if got := base * share(c.step); math.Abs(got-c.want) > 5e-7*c.want {
			t.Errorf("%s at step %d: %.6e, want %.6e", c.kind, c.step, got, c.want)
		}
	}
}

func TestWarmupSteps(t *testing.T) {
	for _, c := range []struct {
		warmup float64
		total  int
		want   int
	}{
		{0, 100, 0}, {0.03, 2181, 66}, {0.03, 100, 3}, {0.03, 20, 1},
		{0.001, 20, 1}, {1, 100, 1}, {66, 2181, 66}, {500, 100, 500},
	} {
		if got := warmupSteps(c.warmup, c.total); got != c.want {
			t.Errorf("warm-up %v of %d steps is %d steps, want %d", c.warmup, c.total, got, c.want)
		}
	}
}

// Every schedule rises to its peak, never leaves 0 to 1 and does not rise again.
func TestScheduleShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{"cosine", "linear", "constant"}).Draw(t, "kind")
		total := rapid.IntRange(1, 3000).Draw(t, "total")
		steps := rapid.Map(rapid.IntRange(1, 4000), func(n int) float64 { return float64(n) })
		warmup := rapid.OneOf(rapid.Float64Range(0, 0.99), steps).Draw(t, "warmup")
		share, err := openSchedule(recipes.Schedule{Type: kind, Warmup: warmup}, total)
		if err != nil {
			t.Fatal(err)
		}
		before, peak := 0.0, warmupSteps(warmup, total)
		for step := range total {
			s := share(step)
			if !(0 <= s && s <= 1) || step <= peak && s < before || step > peak && s > before {
				t.Fatalf("step %d: %v after %v", step, s, before)
			}
			before = s
		}
	})
}

// Without a warm-up a run begins at the peak, also a run of a single step: not at 0, and not at 0/0.
func TestScheduleWithoutWarmup(t *testing.T) {
	for kind := range schedules {
		for _, total := range []int{1, 2, 10} {
			share, err := openSchedule(recipes.Schedule{Type: kind}, total)
			if err != nil {
				t.Fatal(err)
			}
			for step := range total {
				s := share(step)
				if !(0 <= s && s <= 1) || step == 0 && s != 1 {
					t.Errorf("%s at step %d of %d: %v", kind, step, total, s)
				}
			}
		}
	}
}

func TestUnknownSchedule(t *testing.T) {
	want := `schedule must be one of constant, cosine, linear, not "cosin"`
	if _, err := openSchedule(recipes.Schedule{Type: "cosin"}, 10); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
