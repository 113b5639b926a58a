package recipes

import (
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
		whole, adapters, projector bool
		wait                       time.Duration
	}{
		{nil, true, false, false, 10 * time.Minute},
		{&Distributed{Zero: "auto", Patience: "90s"}, true, false, false, 90 * time.Second},
		{&Distributed{Zero: "0"}, false, false, false, 10 * time.Minute},
		{&Distributed{Zero: "1"}, true, true, true, 10 * time.Minute},
	} {
		d := c.section
		if d.Shards(whole) != c.whole || d.Shards(adapters) != c.adapters || d.Shards(projector) != c.projector ||
			d.Wait() != c.wait {
			t.Errorf("%+v: %t, %t, %t, %v", d, d.Shards(whole), d.Shards(adapters), d.Shards(projector), d.Wait())
		}
	}
}

func TestDistributedIsChecked(t *testing.T) {
	for value, says := range map[string]string{
		"distributed={zero: 4}":         `distributed.zero: must be one of auto, 0, 1, not "4"`,
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
