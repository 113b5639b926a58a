package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// EngineOptions sizes an engine.
type EngineOptions struct {
	Positions int64 // of keys and values that there is room for, of all jobs together
	Running   int   // most jobs in progress; 0: as many as there is room for
	Queue     int   // most jobs that wait; 0: no limit
	Piece     int   // most positions of prompts in a step beside answers in progress; 0: PieceOf the device
	Features  int64 // bytes of tiles' features that are kept for questions about the same images
	Separate  bool  // nothing computed for one job is used for another
}

// PieceOf is how many positions of prompts a step computes beside answers in progress, which bounds the time that the
// next token of these takes.
func PieceOf(d torch.Device) int {
	if d == torch.CPU {
		return 128
	}
	return 512
}

// alone is how many times as many positions a step computes if no answer is in progress.
const alone = 4

// LargestPass is how many positions an engine computes at once at most, with pieces of so many.
func LargestPass(piece int) int64 { return alone * int64(piece) }

// WholePiece is a piece for answers of which nobody watches the tokens: prompts are computed faster.
const WholePiece = 1024

// ErrBusy says that an engine's queue is full, ErrClosed that the engine has ended.
var (
	ErrBusy   = errors.New("the queue is full")
	ErrClosed = errors.New("the engine has ended")
)

// Engine answers many jobs at a time with one model. Jobs may be submitted and cancelled from any goroutine; one
// goroutine, that which calls Step or Run, owns all tensors. A step computes the next token of every answer in
// progress and a piece of the prompts that have begun, laid end to end, in one pass.
type Engine struct {
	m     *LLaVA
	o     EngineOptions
	arena *arena

	donors   *donors
	features *tileFeatures
	running  []*sequence // in the order of their admission

	mu     sync.Mutex
	queue  queue
	load   Load
	closed bool
	wake   chan struct{} // holds a signal if there is something to do
}

// Load is what an engine has to do, and what it has done.
type Load struct {
	Running, Waiting int
	Used             float64 // share of the positions that running jobs have reserved
	Positions        int64   // of prompts, done
	Cached           int64   // of them, those that were not computed again
	Made             int64   // tokens
	Tiles            int64   // of images, asked about
	Steps            int64
	StepSizes        []int64       // how many steps computed so many positions, by StepBounds
	Ended            map[End]int64 // jobs
}

// StepBounds are the upper bounds of Load.StepSizes; a last one has no bound.
var StepBounds = []int64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}

// NewEngine makes room for an engine's keys and values. Close frees it.
func NewEngine(m *LLaVA, o EngineOptions) (*Engine, error) {
	if o.Piece == 0 {
		o.Piece = PieceOf(m.Params.Device())
	}
	a, err := newArena(m, max(o.Positions, grain))
	if err != nil {
		return nil, err
	}
	return &Engine{m: m, o: o, arena: a, donors: newDonors(a), features: newTileFeatures(o.Features),
		load: Load{StepSizes: make([]int64, len(StepBounds)+1), Ended: map[End]int64{}},
		wake: make(chan struct{}, 1)}, nil
}

// Ticket is a submitted job.
type Ticket struct {
	engine    *Engine
	job       Job
	sequence  *sequence
	submitted time.Time
	cancelled bool // guarded by the engine's lock
	passed    int  // how often a later job was admitted before this one
	place     int  // in the queue, as last told
}

// Cancel ends the job before the engine's next step. It may be called at any time, and more than once.
func (t *Ticket) Cancel() {
	t.engine.mu.Lock()
	t.cancelled = true
	t.engine.mu.Unlock()
	t.engine.signal()
}

// Submit queues a job. An error says why it can never be answered, or is ErrBusy or ErrClosed.
func (e *Engine) Submit(j Job) (*Ticket, error) {
	if err := e.m.check(&j); err != nil {
		return nil, err
	}
	if n := Extent(e.m.span(&j)); n > e.arena.rows {
		return nil, tooLong{fmt.Errorf("prompt and answer take up to %d positions and there is room for %d: ask for "+
			"fewer tokens, or shorten the prompt", e.m.span(&j), e.arena.rows)}
	}
	t := &Ticket{engine: e, job: j, submitted: time.Now()}
	t.sequence = newSequence(e.m, t)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, ErrClosed
	case e.o.Queue > 0 && e.queue.len() >= e.o.Queue:
		return nil, ErrBusy
	}
	e.queue.push(t)
	e.signal()
	return t, nil
}

func (e *Engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Load says how much there is to do.
func (e *Engine) Load() Load {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.load
	l.Waiting, l.StepSizes, l.Ended = e.queue.len(), slices.Clone(l.StepSizes), maps.Clone(l.Ended)
	return l
}

// Run steps until the context ends, and waits while there is nothing to do.
func (e *Engine) Run(ctx context.Context) {
	runtime.LockOSThread() // libtorch's threads belong to the one that calls it
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		if e.Step() {
			continue
		}
		select {
		case <-e.wake:
		case <-ctx.Done():
		}
	}
}

// Step takes cancellations, admits jobs, runs one pass and hands its tokens out. It says whether there is more to do. A
// fault of the engine ends the jobs of the pass and no others.
func (e *Engine) Step() bool {
	e.reap()
	e.admit()
	p := e.plan()
	if len(p.parts) > 0 {
		if err := e.compute(p); err != nil {
			e.fail(p, err)
		} else {
			e.handOut(p)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	reserved := int64(0)
	for _, q := range e.running {
		reserved += q.donor.rows
	}
	e.load.Running, e.load.Used = len(e.running), float64(reserved)/float64(e.arena.rows)
	return len(e.running) > 0 || e.queue.len() > 0
}

// reap ends the running jobs that were cancelled.
func (e *Engine) reap() {
	e.mu.Lock()
	var gone []*sequence
	for _, q := range e.running {
		if q.ticket.cancelled {
			gone = append(gone, q)
		}
	}
	dropped := e.queue.reap()
	e.mu.Unlock()
	for _, q := range gone {
		e.end(q, EndCancelled, nil)
	}
	for _, t := range dropped {
		e.done(t, Outcome{End: EndCancelled, Prompt: len(t.job.IDs)})
	}
}

// done tells a job's sender how it ended.
func (e *Engine) done(t *Ticket, o Outcome) {
	e.count(func(l *Load) { l.Ended[o.End]++ })
	if t.job.Done != nil {
		t.job.Done(o)
	}
}

// fail ends the jobs of a pass. Out of memory, half as many may run from now on.
func (e *Engine) fail(p *pass, err error) {
	var fault *torch.Error
	if errors.As(err, &fault) && fault.OutOfMemory() {
		e.o.Running = max(1, len(e.running)/2)
		e.features.clear()
	}
	for _, part := range p.parts {
		part.seq.spoiled = true
		e.end(part.seq, EndFailed, err)
	}
}

// end ends a running job. What it has computed stays, to begin other prompts with.
func (e *Engine) end(q *sequence, end End, err error) {
	e.running = slices.DeleteFunc(e.running, func(r *sequence) bool { return r == q })
	q.free()
	e.donors.forget(q.donor)
	if q.computed >= grain && !q.spoiled && !e.o.Separate {
		q.donor.holds = q.holds[:q.computed]
		e.donors.add(q.donor)
		e.donors.end(q.donor)
	} else {
		e.arena.give(q.donor.extent)
	}
	e.mu.Lock()
	e.load.Positions += int64(min(q.computed, len(q.job.IDs)))
	e.load.Cached += int64(q.cached)
	e.mu.Unlock()
	o := Outcome{End: end, Err: err, Prompt: len(q.job.IDs), Cached: q.cached, Made: q.made,
		Queued: q.began.Sub(q.ticket.submitted)}
	if !q.first.IsZero() {
		o.Prefill = q.first.Sub(q.began)
	}
	e.done(q.ticket, o)
}

// Drain refuses new jobs and those that wait, with ErrClosed. Those in progress go on.
func (e *Engine) Drain() {
	e.mu.Lock()
	e.closed = true
	waiting := e.queue.clear()
	e.mu.Unlock()
	for _, t := range waiting {
		e.done(t, Outcome{End: EndFailed, Err: ErrClosed, Prompt: len(t.job.IDs)})
	}
}

// Close ends all jobs and frees what the engine holds. Step may not be called again.
func (e *Engine) Close() {
	e.Drain()
	for len(e.running) > 0 {
		e.end(e.running[0], EndCancelled, nil)
	}
	e.donors.clear()
	e.features.clear()
	e.arena.release()
}
