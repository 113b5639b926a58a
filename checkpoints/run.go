package checkpoints

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Run is the folder of one stage of one run, RUNS/NAME/STAGE. One process writes to it at a time.
type Run struct{ Dir string }

// Checkpoint is a folder with everything needed to resume after Step completed optimizer steps.
type Checkpoint struct {
	Dir  string
	Step int
}

func (r Run) folder() string { return filepath.Join(r.Dir, "checkpoints") }

func stepName(step int) string { return fmt.Sprintf("step-%06d", step) }

// Save publishes checkpoints/step-NNNNNN with what write leaves in its folder, points the file checkpoints/latest at
// it, and then removes all but the newest keep checkpoints (keep < 1 removes none); checkpoints of later steps, which
// are not ancestors of this one, are removed first. The new checkpoint has been read back by then, and is always kept.
//
// If Save fails, earlier checkpoints are unchanged. If the disk was the cause, the error wraps failure.ErrStorage.
func (r Run) Save(step, keep int, write func(tmp string) error) error {
	if err := os.MkdirAll(r.folder(), 0o777); err != nil {
		return fmt.Errorf("checkpoint: %w", failure.Storage(err))
	}
	if err := sweep(r.folder(), ""); err != nil {
		return fmt.Errorf("checkpoint: %w", failure.Storage(err))
	}
	if err := Publish(filepath.Join(r.folder(), stepName(step)), write); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := ReplaceFile(filepath.Join(r.folder(), "latest"), []byte(stepName(step)+"\n")); err != nil {
		return fmt.Errorf("checkpoint %s was saved, but `latest` was not updated: %w", stepName(step), err)
	}
	if err := r.retain(step, keep); err != nil {
		return fmt.Errorf("checkpoint %s was saved, but older ones were not removed: %w",
			stepName(step), failure.Storage(err))
	}
	return nil
}

// retain removes old checkpoints as Save says, after the checkpoint of step was verified.
func (r Run) retain(step, keep int) error {
	if keep < 1 {
		return nil
	}
	list, err := r.Checkpoints()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(list, func(c Checkpoint) bool { return c.Step == step })
	for i, c := range list {
		if i > at || i <= at-keep {
			if err := discard(c.Dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// discard removes a folder so that it cannot be mistaken for a complete one while it is half removed.
func discard(dir string) error {
	trash := temporary(dir, trashMark)
	if err := rename(dir, trash); err != nil {
		return err
	}
	return removeAll(trash)
}

// Checkpoints lists the run's checkpoints, by ascending step, without reading them.
func (r Run) Checkpoints() ([]Checkpoint, error) {
	entries, err := os.ReadDir(r.folder())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("checkpoints: %w", err)
	}
	var list []Checkpoint
	for _, entry := range entries {
		digits, _ := strings.CutPrefix(entry.Name(), "step-")
		step, err := strconv.Atoi(digits)
		if err != nil || step < 0 || entry.Name() != stepName(step) || !entry.IsDir() {
			continue
		}
		list = append(list, Checkpoint{filepath.Join(r.folder(), entry.Name()), step})
	}
	slices.SortFunc(list, func(a, b Checkpoint) int { return cmp.Compare(a.Step, b.Step) })
	return list, nil
}

// Newest finds the newest checkpoint that verifies; ok is false if none does. bad explains why newer ones do not. It
// does not rely on `latest`, which is for people.
func (r Run) Newest() (newest Checkpoint, bad []error, ok bool, err error) {
	defer failure.MarkInput(&err)
	list, err := r.Checkpoints()
	for _, c := range slices.Backward(list) {
		if err := Verify(c.Dir); err != nil {
			bad = append(bad, fmt.Errorf("checkpoint %s does not verify: %w", stepName(c.Step), err))
			continue
		}
		return c, bad, true, nil
	}
	return Checkpoint{}, bad, false, err
}
