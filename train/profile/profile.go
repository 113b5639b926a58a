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

// Profiler records a few steps into a folder: which Go functions ran (cpu.pprof), which operations took the time
// (ops.txt), and all operations in order (trace.json). docs/profiling.md says how to read the files. A nil Profiler, as
// in most runs, records nothing.
type Profiler struct {
	dir             string
	device          torch.Device
	say             func(line string)
	cpu, ops, trace *os.File
	skip, take      int // steps still to let pass, and then to record
	recording       bool
	finished        bool
	watch           Stopwatch
	steps           []profiledStep
	Usual           time.Duration // the median step without the profiler; 0 if it was not measured
}

// profiledStep is one step that was recorded.
type profiledStep struct {
	number               int // from 1
	began, loaded, ended time.Time
	calls                int64 // from Go to C
	laps                 []lap
}

// OpenProfiler creates the folder and its files, so that a folder that cannot be written is an error before any step.
// It skips skip steps, then records take steps, and reports the result to say.
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

// drop closes and removes the files, which are empty.
func (p *Profiler) drop() {
	for _, file := range p.files() {
		if *file != nil {
			(*file).Close()
			os.Remove((*file).Name())
		}
	}
}

// Begin is called before each step, before it waits for its data.
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

// Stopwatch returns the stopwatch for the parts of a step while steps are recorded, nil otherwise.
func (p *Profiler) Stopwatch() *Stopwatch {
	if p == nil || !p.recording {
		return nil
	}
	return &p.watch
}

// Loaded is called when a step's data has arrived.
func (p *Profiler) Loaded() {
	if p != nil && p.recording {
		p.steps[len(p.steps)-1].loaded = time.Now()
	}
}

// Ending says whether the current step is the last one to record, which must wait for the GPU: its work belongs to the
// profile.
func (p *Profiler) Ending() bool { return p != nil && p.recording && p.take == 1 }

// End is called after each step; number counts from 1. After the last step to record it writes the files.
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

// Finish writes what was recorded and ends the profile; a second call does nothing.
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
		if !step.ended.IsZero() { // else the data or the run ended before it was taken
			found.steps = append(found.steps, step)
		}
	}
	if len(found.steps) == 0 {
		p.drop()
		return nil
	}
	err := errors.Join(found.writeTable(p.ops), found.writeTrace(p.trace),
		p.cpu.Close(), p.ops.Close(), p.trace.Close())
	if err != nil {
		return fmt.Errorf("%w: profile: %w", failure.ErrStorage, err)
	}
	p.say(fmt.Sprintf("profile of %s: %s, %s and %s in %s", found.span(), OperationsFile, TraceFile, CPUFile, p.dir))
	return nil
}
