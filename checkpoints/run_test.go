package checkpoints

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// saveStep saves a checkpoint as a trainer would: tensors and state, from which the step can be read back.
func saveStep(r Run, step, keep int) error {
	return r.Save(step, keep, func(tmp string) error { return fillStep(tmp, step) })
}

func fillStep(tmp string, step int) error {
	x := Tensor{Info{"x", U8, []int64{4096}}, slices.Repeat([]byte{byte(step)}, 4096)}
	return errors.Join(
		WriteSafetensors(filepath.Join(tmp, "weights.safetensors"), nil, []Tensor{x}),
		WriteState(tmp, State{Step: step}))
}

// checkNewest checks that the newest good checkpoint is of one of the steps, has its content, and that no folder under
// a final name is bad.
func checkNewest(t testing.TB, r Run, steps ...int) int {
	t.Helper()
	newest, bad, ok, err := r.Newest()
	if err != nil || !ok || len(bad) > 0 || !slices.Contains(steps, newest.Step) {
		t.Fatalf("newest %+v, %v, %v, %v; one of %d expected", newest, bad, ok, err, steps)
	}
	state, err := ReadState(newest.Dir)
	must(t, err)
	w := open(t, filepath.Join(newest.Dir, "weights.safetensors"))
	x, err := w.Tensor("x")
	must(t, err)
	if state.Step != newest.Step || x.Data[0] != byte(newest.Step) || x.Data[4095] != byte(newest.Step) {
		t.Fatalf("checkpoint of step %d holds step %d", newest.Step, state.Step)
	}
	w.Close()
	return newest.Step
}

func steps(t testing.TB, r Run) (steps []int) {
	t.Helper()
	list, err := r.Checkpoints()
	must(t, err)
	for _, c := range list {
		steps = append(steps, c.Step)
	}
	return steps
}

func TestRun(t *testing.T) {
	r := Run{filepath.Join(t.TempDir(), "runs", "name", "pretrain")}
	if _, bad, ok, err := r.Newest(); ok || err != nil || bad != nil {
		t.Fatal("a run without a folder has checkpoints")
	}
	must(t, saveStep(r, 500, 2))
	must(t, saveStep(r, 1000, 2))
	wantEqual(t, list(t, filepath.Join(r.Dir, "checkpoints")), []string{"latest", "step-000500", "step-001000"})
	latest, err := os.ReadFile(filepath.Join(r.Dir, "checkpoints", "latest"))
	must(t, err)
	wantEqual(t, string(latest), "step-001000\n")
	checkNewest(t, r, 1000)
	must(t, saveStep(r, 1000, 2)) // the same step again
	checkNewest(t, r, 1000)
	wantEqual(t, steps(t, r), []int{500, 1000})
}

func TestCheckpointsOrder(t *testing.T) {
	r := Run{t.TempDir()}
	for _, name := range []string{"step-1000000", "step-999999", "step-000007", "step-7", "step-0000008", "step-00000x",
		"step--00001",
		"step-000009.tmp-abcdefg2", "step-000010.trash-abcdefg2", "notes"} {
		must(t, os.MkdirAll(filepath.Join(r.Dir, "checkpoints", name), 0o777))
	}
	write(t, filepath.Join(r.Dir, "checkpoints", "step-000011"), nil)
	wantEqual(t, steps(t, r), []int{7, 999999, 1000000})
}

func TestRetention(t *testing.T) {
	for _, c := range []struct {
		keep int
		want []int
	}{{-1, []int{1, 2, 3, 4, 5}}, {0, []int{1, 2, 3, 4, 5}}, {1, []int{5}}, {2, []int{4, 5}}, {4, []int{2, 3, 4, 5}},
		{9, []int{1, 2, 3, 4, 5}}} {
		r := Run{t.TempDir()}
		for step := 1; step <= 5; step++ {
			must(t, saveStep(r, step, c.keep))
		}
		wantEqual(t, steps(t, r), c.want)
	}
}

// A run that went back to an earlier checkpoint removes the later ones, good or bad.
func TestRetentionAfterFallback(t *testing.T) {
	r := Run{t.TempDir()}
	for _, step := range []int{10, 20, 30} {
		must(t, saveStep(r, step, 0))
	}
	must(t, saveStep(r, 15, 1))
	wantEqual(t, steps(t, r), []int{15})
	checkNewest(t, r, 15)
}

func TestSaveFailureRemovesNothing(t *testing.T) {
	r := Run{t.TempDir()}
	must(t, saveStep(r, 1, 1))
	if err := r.Save(2, 1, func(string) error {
		return errors.New("no")
	}); err == nil || errors.Is(err, failure.ErrStorage) {
		t.Error(err)
	}
	wantEqual(t, list(t, filepath.Join(r.Dir, "checkpoints")), []string{"latest", "step-000001"})
}

func TestNewestFallsBack(t *testing.T) {
	r := Run{t.TempDir()}
	for step := 1; step <= 4; step++ {
		must(t, saveStep(r, step, 0))
	}
	folder := func(step int, name string) string { return filepath.Join(r.Dir, "checkpoints", stepName(step), name) }
	must(t, os.Truncate(folder(4, "weights.safetensors"), 100))
	must(t, os.Remove(folder(3, manifestName)))
	newest, bad, ok, err := r.Newest()
	if err != nil || !ok || newest.Step != 2 || len(bad) != 2 {
		t.Fatal(newest, bad, ok, err)
	}
	wantError(t, bad[0], "step-000004", "weights.safetensors", "100 bytes")
	wantError(t, bad[1], "step-000003", manifestName)
	must(t, os.Remove(folder(2, "state.json")))
	must(t, os.Remove(folder(1, "state.json")))
	if _, bad, ok, err := r.Newest(); ok || err != nil || len(bad) != 4 {
		t.Error(bad, ok, err)
	}
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	state := State{Step: 3, Digest: map[string]string{"data": "abc"}, Engine: map[string]string{"threads": "2"},
		Skips: nil}
	must(t, WriteState(dir, state))
	got, err := ReadState(dir)
	must(t, err)
	wantEqual(t, got, state)

	write(t, filepath.Join(dir, StateFile), []byte(`{"step":3,"rollback":true}`))
	_, err = ReadState(dir)
	wantError(t, err, "rollback", dir)
	_, err = ReadState(filepath.Join(dir, "no"))
	wantError(t, err, "no such file")
}

func TestStateDifferences(t *testing.T) {
	saved := State{Step: 1, Digest: map[string]string{"batch.global": "128", "seed": "1", "old": ""},
		Engine: map[string]string{"threads": "2"}}
	wantEqual(t, saved.Differences(saved), []string(nil))
	now := State{Step: 2, Digest: map[string]string{"batch.global": "64", "seed": "1", "new": "x\x1b"},
		Engine: map[string]string{"threads": "4"}}
	wantEqual(t, saved.Differences(now), []string{
		`batch.global: "128" in the checkpoint, "64" now`,
		`new: absent in the checkpoint, "x\x1b" now`,
		`old: "" in the checkpoint, absent now`,
		`threads: "2" in the checkpoint, "4" now`,
	})
	if got := (State{}).Differences(now); len(got) != 4 {
		t.Error(fmt.Sprint(got))
	}
}

// Checkpoints written before state.json called the steps non_finite_steps are read.
func TestReadStateOfOlderVersions(t *testing.T) {
	dir := t.TempDir()
	old := `{"step":7,"total":20,"updates":4,"unsound":3,"digest":{"seed":"1"},"engine":{"device":"cpu"}}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(old), 0o666); err != nil {
		t.Fatal(err)
	}
	got, err := ReadState(dir)
	want := State{Step: 7, Total: 20, Updates: 4, NonFiniteSteps: 3, Digest: map[string]string{"seed": "1"},
		Engine: map[string]string{"device": "cpu"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
