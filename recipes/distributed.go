package recipes

import "time"

// Distributed says how several processes train together. Empty keys are left to the trainer.
type Distributed struct {
	// 0: each keeps the whole optimizer state; 1: each keeps a slice of it (ZeRO stage 1). auto, or empty: 1 where the
	// whole language model trains, else 0.
	Zero string `yaml:"zero,omitempty"`
	// Patience is how long one exchange of gradients or weights may take, such as 10m; empty: 10m.
	Patience string `yaml:"patience,omitempty"`
}

// usualPatience is the Patience of a recipe that has none.
const usualPatience = 10 * time.Minute

// Wait is the patience as a duration.
func (d *Distributed) Wait() time.Duration {
	if d == nil || d.Patience == "" {
		return usualPatience
	}
	wait, _ := time.ParseDuration(d.Patience) // it has been checked
	return wait
}

// Shards says whether optimizer state is sharded by a stage that trains the given parts.
func (d *Distributed) Shards(train map[string]Part) bool {
	if d != nil && d.Zero != "" && d.Zero != "auto" {
		return d.Zero == "1"
	}
	language, trains := train[PartLanguage]
	return trains && language.LoRA == nil
}

func (d *decoder) checkDistributed(o *Distributed) {
	if o.Zero != "" {
		d.oneOf("distributed.zero", o.Zero, "auto", "0", "1")
	}
	if o.Patience != "" {
		wait, err := time.ParseDuration(o.Patience)
		d.rule("distributed.patience", err == nil && wait >= time.Second, "must be a duration of at least a second, "+
			"such as 10m, not %s", quoted(o.Patience))
	}
}
