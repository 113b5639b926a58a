package recipes

import "time"

// Distributed says how several processes train together. Empty keys are left to the trainer.
type Distributed struct {
	// What the processes divide, by the stages of ZeRO. 0: nothing; 1: the optimizer's state, of which each keeps a
	// slice; 2: gradients too; 3: weights too. auto, or empty: 1 where the whole language model trains, else 0.
	Zero string `yaml:"zero,omitempty"`
	// Reduce is the dtype in which gradients are sent and summed. auto, or empty: their own; fp32: one rounding of the
	// sum, for twice the bytes of bf16.
	Reduce string `yaml:"reduce,omitempty"`
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

// Divides is the stage of ZeRO for a stage that trains the given parts.
func (d *Distributed) Divides(train map[string]Part) int {
	if d != nil && d.Zero != "" && d.Zero != "auto" {
		return int(d.Zero[0] - '0')
	}
	if language, trains := train[PartLanguage]; trains && language.LoRA == nil {
		return 1
	}
	return 0
}

// Widens says whether gradients are summed in fp32, whatever their dtype is.
func (d *Distributed) Widens() bool { return d != nil && d.Reduce == "fp32" }

func (d *decoder) checkDistributed(o *Distributed) {
	if o.Zero != "" {
		d.oneOf("distributed.zero", o.Zero, "auto", "0", "1", "2", "3")
	}
	if o.Reduce != "" {
		d.oneOf("distributed.reduce", o.Reduce, "auto", "fp32")
	}
	if o.Patience != "" {
		wait, err := time.ParseDuration(o.Patience)
		d.rule("distributed.patience", err == nil && wait >= time.Second, "must be a duration of at least a second, "+
			"such as 10m, not %s", quoted(o.Patience))
	}
}
