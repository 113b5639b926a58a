package profile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Files of a profile.
const (
	CPUFile        = "cpu.pprof"
	OperationsFile = "ops.txt"
	TraceFile      = "trace.json"
)

// Profiler records a few steps into a folder: which functions of Go ran (cpu.pprof), which operations took the time (ops.txt), and all of
// them in their order (trace.json). docs/profiling.md says how to read them. nil, as in most runs, records nothing.
type Profiler struct {
	dir             string
	device          torch.Device
	say             func(line string)
	cpu, ops, trace *os.File
	skip, take      int // steps to let pass first, and to record then
	recording       bool
	finished        bool
	watch           Stopwatch
	steps           []profiledStep
	Usual           time.Duration // the median step without the profiler, 0 where it was not measured
}

// profiledStep is one step that was recorded.
type profiledStep struct {
	number               int // from 1
	began, loaded, ended time.Time
	calls                int64 // from Go to C
	laps                 []lap
}

// OpenProfiler makes the folder and its files, so that what cannot be written is said before a step is taken.
func OpenProfiler(dir string, device torch.Device, skip, take int, say func(line string)) (*Profiler, error) {
	p := &Profiler{dir: dir, device: device, skip: skip, take: take, say: say}
	err := os.MkdirAll(dir, 0o777)
	for name, file := range p.files() {
		if err == nil {
			*file, err = os.Create(filepath.Join(dir, name))
		}
	}
	if err != nil {
		p.drop()
		return nil, fmt.Errorf("%w: profile: %w", failure.ErrStorage, err)
	}
	return p, nil
}

func (p *Profiler) files() map[string]**os.File {
	return map[string]**os.File{CPUFile: &p.cpu, OperationsFile: &p.ops, TraceFile: &p.trace}
}

// drop closes and removes the files, which have nothing in them.
func (p *Profiler) drop() {
	for _, file := range p.files() {
		if *file != nil {
			(*file).Close()
			os.Remove((*file).Name())
		}
	}
}

// Begin stands before a step, and before it waits for its data.
func (p *Profiler) Begin() error {
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

func (p *Profiler) start() error {
	if err := pprof.StartCPUProfile(p.cpu); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := torch.Do(func(*torch.Scope) { torch.StartProfile(p.device != torch.CPU) }); err != nil {
		pprof.StopCPUProfile()
		return fmt.Errorf("profile: %w", err)
	}
	p.recording = true
	return nil
}

// Stopwatch times the parts of a step while steps are recorded; nil otherwise.
func (p *Profiler) Stopwatch() *Stopwatch {
	if p == nil || !p.recording {
		return nil
	}
	return &p.watch
}

// Loaded stands between the wait for a step's data and the step.
func (p *Profiler) Loaded() {
	if p != nil && p.recording {
		p.steps[len(p.steps)-1].loaded = time.Now()
	}
}

// Ending says whether the step under way is the last to be recorded: a card's work on it belongs to the profile.
func (p *Profiler) Ending() bool { return p != nil && p.recording && p.take == 1 }

// End stands behind a step. Behind the last that is to be recorded it writes the files.
func (p *Profiler) End(number int) error {
	if p == nil || !p.recording {
		return nil
	}
	step := &p.steps[len(p.steps)-1]
	step.number, step.ended, step.calls, step.laps = number, time.Now(), runtime.NumCgoCall()-step.calls, p.watch.laps
	if p.take--; p.take > 0 {
		return nil
	}
	return p.Finish()
}

// Finish writes what was recorded and is the end of the profile; a second call does nothing.
func (p *Profiler) Finish() error {
	if p == nil || p.finished {
		return nil
	}
	began := p.recording
	p.recording, p.finished = false, true
	if !began {
		p.drop()
		return nil
	}
	pprof.StopCPUProfile()
	found := recorded{device: p.device, threads: torch.Threads(), usual: p.Usual}
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
		return fmt.Errorf("%w: profile: %w", failure.ErrStorage, err)
	}
	p.say(fmt.Sprintf("profile of %s: %s, %s and %s in %s", found.span(), OperationsFile, TraceFile, CPUFile, p.dir))
	return nil
}
