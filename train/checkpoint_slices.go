package train

import (
	"fmt"
	"slices"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Where the optimizer's state is sharded, every process writes what it keeps: nothing is gathered, and no process needs
// memory for more than its own. Any number of processes reads it.

// written is what one process has written of a checkpoint.
type written struct {
	Failed             string
	Weights, Optimizer []checkpoints.PlacedSlice
}

// writeSlices writes rank 0's slices to dir, has the others write theirs, and writes the index of all.
func (t *trainer) writeSlices(dir string) error {
	if _, err := firstOf(t.peers, "saving", func() (string, error) { return dir, nil }); err != nil {
		return err
	}
	all, err := t.shareSlices(dir)
	if err != nil {
		return err
	}
	var weights, optimizer []checkpoints.PlacedSlice
	for _, its := range all {
		weights, optimizer = append(weights, its.Weights...), append(optimizer, its.Optimizer...)
	}
	if err := checkpoints.WriteSliceIndex(dir, stem(runs.WeightsFile), weights); err != nil {
		return fmt.Errorf("%w: %w", failure.ErrStorage, err)
	}
	if err := checkpoints.WriteSliceIndex(dir, stem(runs.OptimizerFile), optimizer); err != nil {
		return fmt.Errorf("%w: %w", failure.ErrStorage, err)
	}
	return nil
}

// writeOwnSlices writes another rank's slices to the folder that rank 0 names, if this run's state is sharded.
func (t *trainer) writeOwnSlices() error {
	if !t.plan.sharded {
		return nil
	}
	dir, err := firstOf(t.peers, "saving", func() (string, error) { return "", nil })
	if err == nil {
		_, err = t.shareSlices(dir)
	}
	return err
}

// shareSlices writes this process's slices and says so to the others. If one could not write, all have that error.
func (t *trainer) shareSlices(dir string) ([]written, error) {
	mine, failed := t.slicesTo(dir)
	if failed != nil {
		mine = written{Failed: failed.Error()}
	}
	all, err := everyone(t.peers, "having saved", mine)
	if failed != nil {
		return nil, failed
	}
	for rank, its := range all {
		if its.Failed != "" && err == nil {
			err = fmt.Errorf("%w: rank %d (%s) could not save: %s", failure.ErrStorage, rank, t.peers.Members[rank],
				its.Failed)
		}
	}
	return all, err
}

// slicesTo writes what this process keeps; rank 0 writes what all have.
func (t *trainer) slicesTo(dir string) (w written, err error) {
	var weights, moments []checkpoints.Slice
	var values, states []func(s *torch.Scope) *torch.Tensor
	for _, p := range t.model.Trainable() {
		if !p.Sharded() && !t.peers.first() {
			continue
		}
		info := checkpoints.Info{Name: p.Name, Dtype: checkpoints.F32, Shape: p.Shape}
		for _, piece := range p.Pieces() {
			weights = append(weights, checkpoints.Slice{Info: info, First: piece.First, Elements: piece.Elements})
			values = append(values, func(s *torch.Scope) *torch.Tensor { return p.PieceValue(s, piece) })
		}
	}
	if w.Weights, err = t.writePieces(dir, stem(runs.WeightsFile), weights, values); err != nil {
		return w, err
	}
	for _, g := range t.optimizer.groups {
		if !g.Sharded() && !t.peers.first() {
			continue
		}
		for _, p := range g.Params {
			for _, piece := range p.Pieces() {
				for name, from := range map[string]*torch.Tensor{"m." + p.Name: g.m, "v." + p.Name: g.v} {
					moments = append(moments, checkpoints.Slice{Info: t.momentInfo(name, p), First: piece.First,
						Elements: piece.Elements})
					states = append(states, func(s *torch.Scope) *torch.Tensor {
						return torch.Narrow(s, from, 0, piece.Own, piece.Elements)
					})
				}
			}
		}
	}
	w.Optimizer, err = t.writePieces(dir, stem(runs.OptimizerFile), moments, states)
	return w, err
}

// writePieces writes slices whose values are read one at a time.
func (t *trainer) writePieces(
	dir, base string, list []checkpoints.Slice, values []func(s *torch.Scope) *torch.Tensor,
) ([]checkpoints.PlacedSlice, error) {
	return checkpoints.WriteSlices(dir, base, t.peers.Rank, t.peers.World, list, func(i int) (data []byte, err error) {
		err = torch.Do(func(s *torch.Scope) { data = values[i](s).Bytes() })
		return data, err
	})
}

// readMasters lets the model read its fp32 values from the newest checkpoint, which has all of them, where this process
// keeps only some. The returned function ends that.
func (t *trainer) readMasters() (done func(), err error) {
	if !t.plan.sharded {
		return func() {}, nil
	}
	list, err := t.run.Checkpoints()
	if err != nil {
		return nil, err
	}
	last := slices.IndexFunc(list, func(c checkpoints.Checkpoint) bool { return c.Step == t.lastSaved })
	if last < 0 {
		return nil, fmt.Errorf("%w: the checkpoint of step %d is gone", failure.ErrStorage, t.lastSaved)
	}
	w, err := checkpoints.Open(checkpoints.Saved(list[last].Dir, runs.WeightsFile))
	if err != nil {
		return nil, err
	}
	t.model.Params.ReadMasters(func(name string) ([]byte, error) {
		tensor, err := w.Load(name)
		return tensor.Data, err
	})
	return func() { t.model.Params.ReadMasters(nil); w.Close() }, nil
}
