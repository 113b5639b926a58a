package train

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
)

// Files of a profile.
const (
	profileCPU   = "cpu.pprof"
	profileOps   = "ops.txt"
	profileTrace = "trace.json"
)

const profileDir = "profile" // in a run folder

// profiler records a few steps into a folder: which functions of Go ran (cpu.pprof), which operations took the time (ops.txt), and all of
// them in their order (trace.json). docs/profiling.md says how to read them. nil, as in most runs, records nothing.
type profiler struct {
	dir             string
	cpu, ops, trace *os.File
	skip, take      int // steps to let pass first, and to record then
	recording       bool
	watch           stopwatch
	steps           []profiledStep
	usual           time.Duration // the median step without the profiler, 0 where it was not measured
}

// profiledStep is one step that was recorded.
type profiledStep struct {
	number               int // from 1
	began, loaded, ended time.Time
	calls                int64 // from Go to C
	laps                 []lap
}

// openProfiler makes the folder and its files, so that what cannot be written is said before a step is taken.
func openProfiler(dir string, skip, take int) (*profiler, error) {
	p := &profiler{dir: dir, skip: skip, take: take}
	err := os.MkdirAll(dir, 0o777)
	for name, file := range p.files() {
		if err == nil {
			*file, err = os.Create(filepath.Join(dir, name))
		}
	}
	if err != nil {
		p.drop()
		return nil, fmt.Errorf("%w: profile: %w", checkpoints.ErrStorage, err)
	}
	return p, nil
}

// openProfile makes the profiler of a run where one is wanted: for steps 3 to 5 of this process, when buffers have their size, or for what
// a shorter run has of them, at least its last step.
func (t *trainer) openProfile(step int) (err error) {
	if !t.options.Profile {
		return nil
	}
	left := t.plan.total - step
	if at := t.options.StopAt; at > 0 {
		left = min(left, at-step)
	}
	t.profile, err = openProfiler(filepath.Join(t.run.Dir, profileDir), max(0, min(2, left-1)), 3)
	return err
}

func (p *profiler) files() map[string]**os.File {
	return map[string]**os.File{profileCPU: &p.cpu, profileOps: &p.ops, profileTrace: &p.trace}
}

// drop closes and removes the files, which have nothing in them.
func (p *profiler) drop() {
	for _, file := range p.files() {
		if *file != nil {
			(*file).Close()
			os.Remove((*file).Name())
		}
	}
}

// begin stands before a step, and before it waits for its data.
func (p *profiler) begin(t *trainer) error {
	if p == nil || p.take == 0 {
		return nil
	}
	if p.skip > 0 {
		p.skip--
		return nil
	}
	if !p.recording {
		if err := p.start(t); err != nil {
			return err
		}
	}
	p.watch.laps = nil
	p.steps = append(p.steps, profiledStep{began: time.Now(), calls: runtime.NumCgoCall()})
	return nil
}

func (p *profiler) start(t *trainer) error {
	if err := pprof.StartCPUProfile(p.cpu); err != nil {
		return fmt.Errorf("%w: profile: %w", ErrInternal, err)
	}
	if err := torch.Do(func(*torch.Scope) { torch.StartProfile(t.plan.device != torch.CPU) }); err != nil {
		pprof.StopCPUProfile()
		return fmt.Errorf("profile: %w", err)
	}
	p.recording, t.watch = true, &p.watch
	return nil
}

// loaded stands between the wait for a step's data and the step.
func (p *profiler) loaded() {
	if p != nil && p.recording {
		p.steps[len(p.steps)-1].loaded = time.Now()
	}
}

// ending says whether the step under way is the last to be recorded: a card's work on it belongs to the profile.
func (p *profiler) ending() bool { return p != nil && p.recording && p.take == 1 }

// end stands behind a step. Behind the last that is to be recorded it writes the files.
func (p *profiler) end(t *trainer, number int) error {
	if p == nil || !p.recording {
		return nil
	}
	step := &p.steps[len(p.steps)-1]
	step.number, step.ended, step.calls, step.laps = number, time.Now(), runtime.NumCgoCall()-step.calls, p.watch.laps
	if p.take--; p.take > 0 {
		return nil
	}
	return p.finish(t)
}

// finish writes what was recorded and is the end of the profile; a second call does nothing.
func (p *profiler) finish(t *trainer) error {
	if p == nil || t.profile == nil {
		return nil
	}
	t.profile, t.watch = nil, nil
	if !p.recording {
		p.drop()
		return nil
	}
	pprof.StopCPUProfile()
	found := profile{device: t.plan.device, threads: torch.Threads(), usual: p.usual}
	if err := torch.Do(func(*torch.Scope) { found.events = torch.StopProfile() }); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	for _, step := range p.steps {
		if !step.ended.IsZero() { // the data ended, or the run was ended, before it was taken
			found.steps = append(found.steps, step)
		}
	}
	if len(found.steps) == 0 {
		p.drop()
		return nil
	}
	if err := errors.Join(found.writeTable(p.ops), found.writeTrace(p.trace), p.cpu.Close(), p.ops.Close(), p.trace.Close()); err != nil {
		return fmt.Errorf("%w: profile: %w", checkpoints.ErrStorage, err)
	}
	t.report.Say(fmt.Sprintf("profile of %s: %s, %s and %s in %s", found.span(), profileOps, profileTrace, profileCPU, p.dir))
	return nil
}
