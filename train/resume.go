package train

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/input"
)

// start is where a run starts: at step 0, or at a checkpoint.
type start struct {
	step     int
	dir      string // the checkpoint's folder, "" for a new run
	state    checkpoints.State
	skips    []data.Skip
	finished bool // the run is complete, unless the recipe has been lengthened
}

// weights are the files that replace weights of the recipe's files.
func (s start) weights() []string {
	if s.dir == "" {
		return nil
	}
	return []string{checkpoints.Saved(s.dir, runs.WeightsFile)}
}

// agreeOnStart lets rank 0 decide where the run starts. The others read the same checkpoint.
func (t *trainer) agreeOnStart() (start, error) {
	type chosen struct {
		Dir      string
		Finished bool
	}
	var mine start
	found, err := firstOf(t.peers, "choosing a checkpoint", func() (_ chosen, err error) {
		mine, err = t.findStart()
		return chosen{mine.dir, mine.finished}, err
	})
	if err != nil || t.peers.first() || found.Dir == "" {
		return mine, err
	}
	mine, err = readStart(found.Dir)
	mine.finished = found.Finished
	if err != nil {
		err = fmt.Errorf("%w: rank 0 resumes from %s, which %v cannot read: all hosts must see the folder of runs (%w)",
			failure.ErrStorage, found.Dir, t.peers.Place, err)
	}
	return mine, err
}

// findStart decides whether this run is new or resumes. It changes nothing yet. A folder that another process trains
// in is refused here, before a second model is loaded onto a device that the first one fills.
func (t *trainer) findStart() (start, error) {
	if err := t.run.Busy(); err != nil {
		return start{}, err
	}
	if t.options.Resume {
		return t.resume()
	}
	if t.used() && !t.options.Overwrite {
		return start{}, failure.Inputf("%s already holds a run; continue it with --resume, "+
			"or start over with --overwrite (the existing run is kept as %[1]s.old-1)", t.run.Dir)
	}
	return start{}, nil
}

// used says whether the run folder already holds a run.
func (t *trainer) used() bool { return checkpoints.Exists(filepath.Join(t.run.Dir, runs.RecipeFile)) }

// lockFolder locks the run folder; everything that the run needs has been found by then. It writes the recipe, after
// moving an existing run that a new one replaces aside.
func (t *trainer) lockFolder(from start) (release func(), err error) {
	if release, err = t.run.Lock(); err != nil {
		return nil, err
	}
	if from.dir == "" && t.used() && t.options.Overwrite { // under the lock, so that no other process trains in it
		err = t.moveAside()
		release()
		if err == nil {
			release, err = t.run.Lock()
		}
		if err != nil {
			return nil, err
		}
	}
	if err = t.writeRecipe(from); err != nil {
		release()
	}
	return release, err
}

// resume finds the checkpoint to continue from.
func (t *trainer) resume() (start, error) {
	checkpoint, ok, err := t.findCheckpoint()
	if err != nil {
		return start{}, err
	}
	if !ok {
		t.report.Say("nothing to resume in " + t.run.Dir + ": starting a new run")
		return start{}, nil
	}
	s, err := readStart(checkpoint.Dir)
	if err != nil {
		return start{}, err
	}
	if s.state.Total == s.step && checkpoints.Exists(model.ProjectorFile(t.exportDir())) {
		s.finished = true
		return s, nil
	}
	t.report.Say(fmt.Sprintf("resuming from %s (step %d)", checkpoint.Dir, s.step))
	return s, nil
}

// readStart reads how far a checkpoint's run had come.
func readStart(dir string) (start, error) {
	state, err := checkpoints.ReadState(dir)
	if err != nil {
		return start{}, err
	}
	s := start{dir: dir, state: state, step: state.Step}
	for _, raw := range state.Skips {
		var skip data.Skip
		if err := json.Unmarshal(raw, &skip); err != nil {
			return start{}, failure.Inputf("state of %s: %w", dir, err)
		}
		s.skips = append(s.skips, skip)
	}
	return s, nil
}

// findCheckpoint returns the checkpoint that was asked for, or else the newest that verifies.
func (t *trainer) findCheckpoint() (c checkpoints.Checkpoint, ok bool, err error) {
	if dir := t.options.From; dir != "" {
		if err := checkpoints.Verify(dir); err != nil {
			return c, false, failure.Inputf("--resume=%s: %w", dir, err)
		}
		state, err := checkpoints.ReadState(dir)
		return checkpoints.Checkpoint{Dir: dir, Step: state.Step}, true, err
	}
	c, bad, ok, err := t.run.Newest()
	for _, problem := range bad {
		t.report.Say(fmt.Sprintf("warning: ignoring a damaged checkpoint: %v", problem))
	}
	if err == nil && !ok && len(bad) > 0 { // starting at step 0 would remove what could still be saved by hand
		err = fmt.Errorf("%w: no checkpoint in %s verifies; start over with --overwrite (the existing run is kept)",
			failure.ErrStorage, t.run.Dir)
	}
	return c, ok, err
}

// lengthened compares the recipe with a finished run without loading it, and says whether the recipe now has more
// steps. What the user has not accepted is an error, as for any resume.
func (t *trainer) lengthened(stage *recipes.Stage, from start) (bool, error) {
	preprocessor, err := input.OpenPreprocessor(t.recipe.Model)
	if err != nil {
		return false, err
	}
	rows, err := input.OpenRows(t.recipe, stage, preprocessor, t.report)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	projector, err := t.projectorFile()
	if err != nil {
		return false, err
	}
	p, err := newPlan(t.recipe, stage, rows.Steps.Steps(), from.state, t.peers.Place)
	if err != nil {
		return false, err
	}
	m, err := model.Rehearse(t.recipe.Model, model.OpenOptions{Projector: projector, Trains: p.trains, LoRA: p.lora,
		AnyProjector: true, NewTokens: preprocessor.NewTokens()})
	if err != nil {
		return false, err
	}
	defer m.Free()
	p.fitMemory(sizeOf(m), int64(t.recipe.Model.Language.MaxLength), device.Memory(p.device))
	digest, err := t.makeDigest(rows, m)
	if err != nil {
		return false, err
	}
	now := checkpoints.State{Digest: digest, Engine: p.engine(), Processes: p.processes(), Sums: p.sums()}
	if err := t.compatible(from.state, now); err != nil {
		return false, err
	}
	return rows.Steps.Steps() > from.step, nil
}

// makeDigest lists what the run's numbers depend on: recipe keys, and the content of data and weights.
func (t *trainer) makeDigest(rows *input.Dataset, m *model.LLaVA) (map[string]string, error) {
	digest := t.recipe.Digest(t.options.Stage)
	t.undigest(digest)
	prints, err := rows.Fingerprints()
	if err != nil {
		return nil, err
	}
	maps.Copy(digest, prints)
	for part, print := range m.Fingerprints {
		digest["weights."+part] = print
	}
	for field, value := range m.Settings {
		digest[configKeys+field] = value
	}
	return digest, nil
}

// configKeys begins the digest's keys that come from the model's configurations, and not from the recipe.
const configKeys = "config."

// sharedFields removes the fields of configurations that only one of two digests has: older checkpoints have none, and
// a version may read more fields than another.
func sharedFields(a, b map[string]string) {
	for _, pair := range [][2]map[string]string{{a, b}, {b, a}} {
		maps.DeleteFunc(pair[0], func(key, _ string) bool {
			_, shared := pair[1][key]
			return !shared && strings.HasPrefix(key, configKeys)
		})
	}
}

// undigest removes the keys whose resolved values are in the engine's part of the state, and that of recomputation,
// which changes no bit.
func (t *trainer) undigest(digest map[string]string) {
	delete(digest, "dtype")
	for _, key := range []string{"batch.micro", "optimizer.moments", "recompute"} {
		delete(digest, t.options.Stage+"."+key)
	}
}

// compatible refuses a checkpoint of a different recipe, data or engine, and names what differs.
func (t *trainer) compatible(saved, now checkpoints.State) error {
	t.warnOfAccepted(saved, now)
	t.undigest(saved.Digest)
	now.Digest = maps.Clone(now.Digest) // the next checkpoint has all of it
	sharedFields(saved.Digest, now.Digest)
	if saved.Engine["moments"] == "" && saved.Engine != nil { // older checkpoints do not have it
		saved.Engine["moments"] = torch.Float32.String()
	}
	if saved.Processes != now.Processes && !t.saidOfProcesses {
		t.saidOfProcesses = true
		t.report.Say(fmt.Sprintf("the number of processes is now %d, and was %d: sums are added in another order",
			max(1, now.Processes), max(1, saved.Processes)))
		for _, key := range []string{"threads", "micro"} { // as newPlan chose them
			saved.Engine[key] = now.Engine[key]
		}
	} else if saved.Sums != now.Sums && !t.saidOfProcesses {
		t.saidOfProcesses = true
		t.report.Say(fmt.Sprintf("gradients are now summed %s, and were summed %s: losses differ in their last digits",
			cmp.Or(now.Sums, onceAStep), cmp.Or(saved.Sums, onceAStep)))
	}
	var refused []string
	for _, difference := range saved.Differences(now) {
		key, _, _ := strings.Cut(difference, ":")
		if !slices.Contains(t.options.Accept, key) {
			refused = append(refused, fmt.Sprintf("  %s (accept with --accept %s)", difference, key))
		}
	}
	if len(refused) > 0 {
		return failure.Inputf("settings differ from the checkpoint's; resuming would change the results:\n%s",
			strings.Join(refused, "\n"))
	}
	return nil
}

// warnOfAccepted warns, once, of an accepted key that is the name of nothing that is compared.
func (t *trainer) warnOfAccepted(states ...checkpoints.State) {
	if t.warnedOfAccepted {
		return
	}
	t.warnedOfAccepted = true
	// Of these a digest lacks those that the recipe leaves open.
	known := map[string]string{"model.projector.weights": ""}
	for _, key := range []string{"epochs", "steps", "orientation", "max_pixels", "batch.tokens"} {
		known[t.options.Stage+"."+key] = ""
	}
	for _, s := range states {
		digest := maps.Clone(s.Digest)
		t.undigest(digest)
		maps.Copy(known, digest)
		maps.Copy(known, s.Engine)
	}
	for _, key := range t.options.Accept {
		if _, ok := known[key]; !ok {
			t.report.Say(fmt.Sprintf("warning: --accept %s accepts nothing: a resume compares nothing of this name; "+
				"a refused resume names what differs", key))
		}
	}
}
