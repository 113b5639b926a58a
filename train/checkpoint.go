package train

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// saveOnce writes a checkpoint of the given step, unless the newest checkpoint is of that step. Of several processes
// rank 0 writes it, and the others go on until the next step needs it.
func (t *trainer) saveOnce(step int, skips []data.Skip) error {
	if t.lastSaved == step {
		return nil
	}
	if !t.peers.first() {
		t.lastSaved = step
		return t.writeOwnSlices()
	}
	t.peers.Say(fmt.Sprintf("saving step %d", step))
	t.heart.Doing(runs.Saving)
	began := time.Now()
	if err := t.logs.sync(); err != nil {
		return err
	}
	state, err := t.state(step, skips)
	if err != nil {
		return err
	}
	err = t.run.Save(step, t.plan.stage.Save.Keep, func(dir string) error { return t.write(dir, state) })
	if err != nil {
		return fmt.Errorf("step %d: %w", step, err)
	}
	t.lastSaved = step
	return t.logs.event(runs.Event{Event: runs.Checkpoint, Step: step, TookMS: runs.Milliseconds(time.Since(began))})
}

func (t *trainer) state(step int, skips []data.Skip) (checkpoints.State, error) {
	s := checkpoints.State{
		Step: step, Total: t.plan.total, Updates: t.optimizer.updates, NonFiniteSteps: t.nonFiniteSteps,
		Digest: t.digest, Engine: t.plan.engine(), Processes: t.plan.processes(), Sums: t.plan.sums(),
	}
	for _, skip := range skips {
		raw, err := json.Marshal(skip)
		if err != nil {
			return s, err
		}
		s.Skips = append(s.Skips, raw)
	}
	return s, nil
}

// write writes a checkpoint's files into dir.
func (t *trainer) write(dir string, state checkpoints.State) error {
	if err := checkpoints.WriteState(dir, state); err != nil {
		return err
	}
	if t.plan.zero >= nn.States {
		return t.writeSlices(dir)
	}
	if err := t.writeWeights(dir, runs.WeightsFile); err != nil {
		return err
	}
	return t.writeMoments(dir)
}

// whole is a shard size that no file reaches, so that there is one file.
const whole = 1 << 62

// writeWeights writes the trainable weights in fp32, one at a time.
func (t *trainer) writeWeights(dir, file string) error {
	var infos []checkpoints.Info
	for _, p := range t.model.Trainable() {
		infos = append(infos, checkpoints.Info{Name: p.Name, Dtype: checkpoints.F32, Shape: p.Shape})
	}
	w, err := checkpoints.NewWriter(dir, stem(file), whole, infos)
	if err != nil {
		return err
	}
	for _, p := range t.model.Trainable() {
		var values []byte
		if err = torch.Do(func(s *torch.Scope) { values = p.Value(s).Bytes() }); err == nil {
			err = w.Write(p.Name, values)
		}
		if err != nil {
			break
		}
	}
	return cmp.Or(err, w.Close())
}

func (t *trainer) writeMoments(dir string) error {
	var infos []checkpoints.Info
	err := torch.Do(func(s *torch.Scope) {
		t.optimizer.moments(s, func(name string, p *nn.Param, _ nn.Piece, _ *torch.Tensor) {
			infos = append(infos, t.momentInfo(name, p))
		})
	})
	if err != nil {
		return err
	}
	w, err := checkpoints.NewWriter(dir, stem(runs.OptimizerFile), whole, infos)
	if err != nil {
		return err
	}
	var failed error
	err = torch.Do(func(s *torch.Scope) {
		t.optimizer.moments(s, func(name string, _ *nn.Param, _ nn.Piece, view *torch.Tensor) {
			if failed == nil {
				failed = w.Write(name, view.Bytes())
			}
		})
	})
	return cmp.Or(err, failed, w.Close())
}

// momentInfo describes a moment of a parameter.
func (t *trainer) momentInfo(name string, p *nn.Param) checkpoints.Info {
	dtypes := map[torch.Dtype]checkpoints.Dtype{torch.Float32: checkpoints.F32, torch.BFloat16: checkpoints.BF16}
	return checkpoints.Info{Name: name, Dtype: dtypes[t.optimizer.moment], Shape: p.Shape}
}

func stem(file string) string { return file[:len(file)-len(filepath.Ext(file))] }

// restore loads the optimizer's state from a checkpoint; the weights were loaded with the model.
func (t *trainer) restore(from start) error {
	now := checkpoints.State{Digest: t.digest, Engine: t.plan.engine(), Processes: t.plan.processes(),
		Sums: t.plan.sums()}
	if from.dir == "" {
		t.warnOfAccepted(now)
		return nil
	}
	if err := t.compatible(from.state, now); err != nil {
		return err
	}
	t.optimizer.updates, t.nonFiniteSteps, t.lastSaved = from.state.Updates, from.state.NonFiniteSteps, from.step
	w, err := checkpoints.Open(checkpoints.Saved(from.dir, runs.OptimizerFile))
	if err != nil {
		return err
	}
	defer w.Close()
	var failed error
	err = torch.Do(func(s *torch.Scope) {
		t.optimizer.moments(s, func(name string, p *nn.Param, piece nn.Piece, view *torch.Tensor) {
			if failed != nil {
				return
			}
			var tensor checkpoints.Tensor
			if tensor, failed = w.Load(name); failed != nil {
				return
			}
			if !slices.Equal(tensor.Shape, p.Shape) || tensor.Dtype != t.momentInfo(name, p).Dtype {
				failed = failure.Inputf("optimizer state of %s: %s is %v, want %v", from.dir, name, tensor.Info,
					t.momentInfo(name, p))
				return
			}
			size := int64(tensor.Dtype.Size())
			own := tensor.Data[piece.First*size:][:piece.Elements*size]
			view.SetBytes(own, t.optimizer.moment, []int64{piece.Elements})
		})
	})
	return cmp.Or(err, failed)
}

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
	if t.plan.zero < nn.States {
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
	if t.plan.zero < nn.States {
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
