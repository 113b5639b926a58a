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

// profiler records a few steps into a folder: which functions of Go ran (cpu.pprof), which operations took the time (ops.txt), and all of
// them in their order (trace.json). docs/profiling.md says how to read them. nil, as in most runs, records nothing.
type profiler struct {
	dir             string
	device          torch.Device
	say             func(line string)
	cpu, ops, trace *os.File
	skip, take      int // steps to let pass first, and to record then
	recording       bool
	finished        bool
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
func openProfiler(dir string, device torch.Device, skip, take int, say func(line string)) (*profiler, error) {
	p := &profiler{dir: dir, device: device, skip: skip, take: take, say: say}
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
func (p *profiler) begin() error {
	if p == nil || p.finished || p.take == 0 {
		return nil
	}
	if p.skip > 0 {
		p.skip--
		return nil
	}
	if !p.recording {
		if err := p.start(); err != nil {
			return err
		}
	}
	p.watch.laps = nil
	p.steps = append(p.steps, profiledStep{began: time.Now(), calls: runtime.NumCgoCall()})
	return nil
}

func (p *profiler) start() error {
	if err := pprof.StartCPUProfile(p.cpu); err != nil {
		return fmt.Errorf("%w: profile: %w", ErrInternal, err)
	}
	if err := torch.Do(func(*torch.Scope) { torch.StartProfile(p.device != torch.CPU) }); err != nil {
		pprof.StopCPUProfile()
		return fmt.Errorf("profile: %w", err)
	}
	p.recording = true
	return nil
}

// stopwatch times the parts of a step while steps are recorded; nil otherwise.
func (p *profiler) stopwatch() *stopwatch {
	if p == nil || !p.recording {
		return nil
	}
	return &p.watch
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
func (p *profiler) end(number int) error {
	if p == nil || !p.recording {
		return nil
	}
	step := &p.steps[len(p.steps)-1]
	step.number, step.ended, step.calls, step.laps = number, time.Now(), runtime.NumCgoCall()-step.calls, p.watch.laps
	if p.take--; p.take > 0 {
		return nil
	}
	return p.finish()
}

// finish writes what was recorded and is the end of the profile; a second call does nothing.
func (p *profiler) finish() error {
	if p == nil || p.finished {
		return nil
	}
	recorded := p.recording
	p.recording, p.finished = false, true
	if !recorded {
		p.drop()
		return nil
	}
	pprof.StopCPUProfile()
	found := profile{device: p.device, threads: torch.Threads(), usual: p.usual}
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
	p.say(fmt.Sprintf("profile of %s: %s, %s and %s in %s", found.span(), profileOps, profileTrace, profileCPU, p.dir))
	return nil
}
