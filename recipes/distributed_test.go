package recipes

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDistributed(t *testing.T) {
	whole := map[string]Part{PartProjector: {}, PartLanguage: {}}
	adapters := map[string]Part{PartLanguage: {LoRA: &LoRA{}}}
	projector := map[string]Part{PartProjector: {}}
	for _, c := range []struct {
		section                    *Distributed
		whole, adapters, projector int
		wait                       time.Duration
	}{
		{nil, 1, 0, 0, 10 * time.Minute},
		{&Distributed{Zero: "auto", Patience: "90s"}, 1, 0, 0, 90 * time.Second},
		{&Distributed{Zero: "0"}, 0, 0, 0, 10 * time.Minute},
		{&Distributed{Zero: "1"}, 1, 1, 1, 10 * time.Minute},
		{&Distributed{Zero: "2"}, 2, 2, 2, 10 * time.Minute},
		{&Distributed{Zero: "3"}, 3, 3, 3, 10 * time.Minute},
	} {
		d := c.section
		if d.Widens() {
			t.Errorf("%+v widens gradients", d)
		}
		got := []int{d.Divides(whole), d.Divides(adapters), d.Divides(projector)}
		if !slices.Equal(got, []int{c.whole, c.adapters, c.projector}) || d.Wait() != c.wait {
			t.Errorf("%+v: %v, %v", d, got, d.Wait())
		}
	}
}

func TestGradientsAreWidened(t *testing.T) {
	for reduce, want := range map[string]bool{"": false, "auto": false, "fp32": true} {
		if d := (&Distributed{Reduce: reduce}); d.Widens() != want {
			t.Errorf("reduce %q: %t", reduce, d.Widens())
		}
	}
}

func TestDistributedIsChecked(t *testing.T) {
	for value, says := range map[string]string{
		"distributed={zero: 4}":         `distributed.zero: must be one of auto, 0, 1, 2, 3, not "4"`,
		"distributed={reduce: bf16}":    `distributed.reduce: must be one of auto, fp32, not "bf16"`,
		"distributed={patience: soon}":  `distributed.patience: must be a duration of at least a second, such as 10m`,
		"distributed={patience: 10ms}":  `must be a duration of at least a second`,
		"distributed={zeros: 1}":        `distributed.zeros: unknown key`,
		"distributed.zero=1":            "",
		"distributed={patience: 1h30m}": "",
	} {
		var r Recipe
		d := newDecoder("recipe.yaml")
		d.decode(&r, []byte("name: x"), []string{value})
		if text := d.problems.Error(); says != "" && !strings.Contains(text, says) || says == "" &&
			strings.Contains(text, "distributed") {
			t.Errorf("%s: %s", value, text)
		}
	}
}
