package train

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// A resume names what differs from the checkpoint; what is accepted may differ.
func TestCompatible(t *testing.T) {
	tr := openTiny(t, tinyStage)
	tr.digest = map[string]string{"seed": "7"}
	engine := func(key, value string) map[string]string {
		all := maps.Clone(tr.plan.engine())
		if all[key] = value; value == "" {
			delete(all, key)
		}
		return all
	}
	same := map[string]string{"seed": "7", "dtype": "bf16", "finetune.batch.micro": "4"} // of older versions
	for name, c := range map[string]struct {
		saved  checkpoints.State
		accept []string
		want   string
	}{
		"the same":          {checkpoints.State{Digest: same, Engine: engine("", "")}, nil, ""},
		"of before moments": {checkpoints.State{Digest: same, Engine: engine("moments", "")}, nil, ""},
		"another dtype": {checkpoints.State{Digest: same, Engine: engine("dtype", "bf16")}, nil,
			`dtype: "bf16" in`},
		"moments of another one": {checkpoints.State{Digest: same, Engine: engine("moments", "bf16")}, nil,
			`moments: "bf16" in`},
		"a seed": {checkpoints.State{Digest: map[string]string{"seed": "8"}, Engine: engine("", "")}, nil,
			`seed: "8" in the checkpoint, "7" now (accept with --accept seed)`},
		"an accepted seed": {checkpoints.State{Digest: map[string]string{"seed": "8"}, Engine: engine("", "")},
			[]string{"seed"}, ""},
		"no engine": {checkpoints.State{Digest: same}, nil, "threads: absent in the checkpoint"},
	} {
		tr.options.Accept = c.accept
		c.saved.Digest = maps.Clone(c.saved.Digest)
		err := tr.compatible(c.saved, checkpoints.State{Digest: tr.digest, Engine: tr.plan.engine()})
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "" && (!errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v does not say %q", name, err, c.want)
		}
	}
}

// A state that cannot be read is refused, not taken for a new run.
func TestResumeRefusesADamagedState(t *testing.T) {
	w := newWorld(t, "finetune.eval.every=9")
	w.must(Options{StopAt: 2})
	state, err := checkpoints.ReadState(w.checkpoint(2))
	if err != nil {
		t.Fatal(err)
	}
	state.Step, state.Skips = 4, []json.RawMessage{json.RawMessage("5")}
	save := func(dir string) error { return checkpoints.WriteState(dir, state) }
	if err := (checkpoints.Run{Dir: w.folder()}).Save(state.Step, 9, save); err != nil {
		t.Fatal(err)
	}
	_, err = w.run(Options{Resume: true})
	wantError(t, err, failure.ErrInput, "state of "+w.checkpoint(4))
}
