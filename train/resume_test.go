package train

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
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

// What an unfinished run refuses a finished one refuses too, and what is accepted ends it as finished.
func TestFinishedRunComparesAllThatARunCompares(t *testing.T) {
	for _, steps := range []int{4, runSteps} {
		w := newWorld(t, "finetune.eval.every=9")
		w.must(Options{StopAt: steps})
		for key, change := range map[string]func(r *recipes.Recipe){
			"dtype":                   func(r *recipes.Recipe) { r.Dtype = "bf16" },
			"threads":                 func(r *recipes.Recipe) { r.Threads = 2 },
			"micro":                   func(r *recipes.Recipe) { r.Finetune.Batch.Micro = 1 },
			"moments":                 func(r *recipes.Recipe) { r.Finetune.Optimizer.Moments = "bf16" },
			"finetune.max_pixels":     func(r *recipes.Recipe) { r.Finetune.MaxPixels = 100 },
			"finetune.orientation":    func(r *recipes.Recipe) { r.Finetune.Turn = "exif" },
			"finetune.optimizer.clip": func(r *recipes.Recipe) { r.Finetune.Optimizer.Clip = 0.5 },
		} {
			recipe, stage := *w.recipe, *w.recipe.Finetune
			recipe.Finetune = &stage
			change(&recipe)
			changed := world{t, w.dir, &recipe}
			_, err := changed.run(Options{Resume: true})
			wantError(t, err, failure.ErrInput, "accept with --accept "+key)
			if steps < runSteps {
				continue
			}
			if told := changed.must(Options{Resume: true, Accept: []string{key}}); !told.says("is finished (6 steps)") {
				t.Errorf("accepted %s: %q", key, told.said)
			}
		}
		if told := w.must(Options{Resume: true, StopAt: steps}); len(told.steps) > 0 {
			t.Errorf("after %d steps the same recipe took steps %v", steps, told.steps)
		}
	}
}

// A changed configuration of the same weights is refused; what it only describes may change, and checkpoints of
// earlier versions, which do not have it, resume.
func TestResumeComparesConfigurations(t *testing.T) {
	w := newWorld(t, "finetune.eval.every=9")
	w.must(Options{StopAt: 2})
	config := string(readFile(t, w.dir, "base", "config.json"))
	edit := func(field string) {
		opened := strings.TrimSuffix(strings.TrimSpace(config), "}")
		w.write("base/config.json", opened+","+field+"}") // of a key that is given twice the last counts
	}
	for field, want := range map[string]string{
		`"rope_theta": 5e5`:    `config.language.rope_theta: "10000" in the checkpoint, "500000" now`,
		`"rms_norm_eps": 0.01`: `"0.01" now (accept with --accept config.language.rms_norm_eps)`,
	} {
		edit(field)
		_, err := w.run(Options{Resume: true})
		wantError(t, err, failure.ErrInput, want)
	}
	edit(`"_name_or_path": "a", "use_cache": false`)
	w.must(Options{Resume: true, StopAt: 4})

	state, err := checkpoints.ReadState(w.checkpoint(4))
	if err != nil {
		t.Fatal(err)
	}
	for key := range state.Digest {
		if strings.HasPrefix(key, "config.") {
			delete(state.Digest, key)
		}
	}
	older := w.checkpoint(4)
	again := checkpoints.Publish(older, func(dir string) error {
		return errors.Join(os.CopyFS(dir, os.DirFS(older)), checkpoints.WriteState(dir, state),
			os.Remove(filepath.Join(dir, "manifest.json")))
	})
	if again != nil {
		t.Fatal(again)
	}
	edit(`"rope_theta": 5e5`)
	if told := w.must(Options{Resume: true}); !told.says("resuming from", "step 4") || !told.says("finished: ") {
		t.Errorf("an older checkpoint: %q", told.said)
	}
}

// A run that goes on with another recipe writes it, and keeps the earlier one; a run that goes on as before does not.
func TestRecipeOfTheRunFolderIsRenewed(t *testing.T) {
	w := newWorld(t, "finetune.eval.every=9")
	recipe := func(name string) string { return string(readFile(t, w.folder(), name)) }
	olds := func() int {
		files, _ := filepath.Glob(filepath.Join(w.folder(), "*.old-*"))
		return len(files)
	}
	w.must(Options{StopAt: 2})
	first := recipe("recipe.yaml")
	w.must(Options{Resume: true, StopAt: 3})
	if olds() != 0 || recipe("recipe.yaml") != first {
		t.Errorf("the same recipe: %d files were kept", olds())
	}
	// A key that an earlier version did not write changes nothing.
	w.write("runs/whole/finetune/recipe.yaml", strings.Replace(first, "  orientation: ignore\n", "", 1))
	w.must(Options{Resume: true, StopAt: 4})
	if olds() != 0 {
		t.Errorf("a default left out: %d files were kept", olds())
	}
	w.write("runs/whole/finetune/recipe.yaml", first)
	w.recipe.Finetune.Image = "pad"
	told := w.must(Options{Resume: true, Accept: []string{"finetune.image"}})
	if recipe("recipe.yaml.old-1") != first || !strings.Contains(recipe("recipe.yaml"), "  image: pad\n") ||
		!told.says("the recipe has changed", "kept as recipe.yaml.old-1") {
		t.Errorf("accepted: %q, recipe\n%s", told.said, recipe("recipe.yaml"))
	}
	w.recipe.Finetune.Steps = runSteps + 1
	w.must(Options{Resume: true, Accept: []string{"finetune.steps"}})
	if !strings.Contains(recipe("recipe.yaml"), "  steps: 7\n") ||
		!strings.Contains(recipe("recipe.yaml.old-2"), "  image: pad\n") || olds() != 2 {
		t.Errorf("lengthened: %d files were kept, recipe\n%s", olds(), recipe("recipe.yaml"))
	}
}

// A key in --accept that names nothing is named, whether the run is new, goes on or is finished.
func TestUnknownKeysAreNotAccepted(t *testing.T) {
	w := newWorld(t, "finetune.eval.every=9")
	accept := []string{"bogus", "finetune.batch.micro", "threads", "seed", "data.0", "finetune.epochs",
		"finetune.max_pixels", "model.projector.weights"}
	for _, o := range []Options{{StopAt: 2}, {Resume: true}, {Resume: true}} {
		o.Accept = accept
		told := w.must(o)
		if told.count("accepts nothing") != 2 || !told.says("--accept bogus accepts nothing") ||
			!told.says("--accept finetune.batch.micro accepts nothing") {
			t.Errorf("%+v: %q", o, told.said)
		}
	}
}
