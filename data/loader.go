package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// ErrTooManySkipped ends a run in which more rows were bad than chance would explain.
var ErrTooManySkipped = failure.Input(errors.New("too many bad samples"))

// LoaderOptions says what a Loader delivers (first group) and how (second group, which changes no result).
type LoaderOptions struct {
	Plan      Plan
	Order     *Order // not to be used by others until the Loader is closed
	Prepare   Prepare
	Micro     int    // samples in a micro-batch; 0 = all of the step
	Tokens    int    // when above 0, in place of Micro: positions in a micro-batch
	Start     int    // first step, from 0
	FailOnBad bool   // a bad row ends the run; otherwise it is skipped
	Limit     int    // distinct rows that may be skipped, or Unlimited
	Known     []Skip // what Skipped returned before step Start

	// Key is what errors call the data sets of rows that belong to no step of training; "": data, and the step.
	Key string

	Workers int // goroutines that prepare samples; 0 = one for each processor
	Ahead   int // steps prepared beyond the one last returned, at least 1
	// Part is what this process computes of the steps, as one of several; nil: all.
	Part *Part
	// Pixels allocates memory for the pixels of a batch, from another goroutine; nil = ordinary memory.
	Pixels func(n int) []uint8
}

// Loader prepares the steps of a run in the background and returns them in order. Which samples form a step, how they
// are split and which rows count as skipped depend only on the first group of options.
//
// Flow: dispatch asks the order for the rows of a step and hands each to a worker; the workers call Prepare; assemble
// waits for the samples of the oldest step, splits and collates them; Next returns the step and counts its skipped
// rows. Of several processes each encodes all rows, so that all know how the step is split; deal then has the workers
// prepare the rows of its own micro-batches, and Next tells the others which of them are bad.
//
// Next, Skipped and Close must be called from one goroutine.
type Loader struct {
	options LoaderOptions
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	ahead   chan struct{} // holds an entry for each step that has been started but not returned
	steps   chan delivery

	skipped []Skip // distinct rows, in the order of the steps that first skipped them
	seen    map[place]bool
	err     error // what ended the run
}

type place struct{ source, row int }

type delivery struct {
	step Step
	err  error

	// Of several processes, until they have told each other:
	outcomes []outcome // of all rows
	found    []Skip    // rows whose images this process has found bad
}

// draft is a step whose samples are being prepared.
type draft struct {
	step     int
	places   []place
	wanted   []int        // of places, those being prepared
	prepare  Prepare      // how
	outcomes chan outcome // has room for all of them: a worker never waits
	encoded  []outcome    // of several processes: all places without pixels
}

type job struct {
	draft draft
	index int // within the step
}

type outcome struct {
	index  int
	sample Sample
	err    error
	found  bool // by this process alone, when it prepared an encoded row: err is not nil
}

// NewLoader starts preparing at once. The caller must call Close.
func NewLoader(ctx context.Context, options LoaderOptions) *Loader {
	options = options.withDefaults()
	l := &Loader{
		options: options,
		ahead:   make(chan struct{}, options.Ahead),
		steps:   make(chan delivery, options.Ahead),
		skipped: slices.Clone(options.Known),
		seen:    map[place]bool{},
	}
	for _, skip := range options.Known {
		l.seen[place{skip.Data, skip.Row}] = true
	}
	l.ctx, l.cancel = context.WithCancel(ctx)

	jobs := make(chan job)
	drafts := make(chan draft, options.Ahead)
	dispatched := drafts
	if options.Part != nil {
		dispatched = make(chan draft, options.Ahead)
		l.running.Go(func() { l.deal(dispatched, jobs, drafts) })
	}
	l.running.Go(func() { l.dispatch(jobs, dispatched) })
	for range options.Workers {
		l.running.Go(func() { l.work(jobs) })
	}
	l.running.Go(func() { l.assemble(drafts) })
	return l
}

func (o LoaderOptions) withDefaults() LoaderOptions {
	o.Ahead = max(o.Ahead, 1)
	if o.Workers < 1 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Micro < 1 {
		o.Micro = o.Plan.Global
	}
	if o.Pixels == nil {
		o.Pixels = func(n int) []uint8 { return make([]uint8, n) }
	}
	return o
}

// key is what an error of a step calls its data sets.
func (o LoaderOptions) key(step int) string {
	if o.Key != "" {
		return o.Key
	}
	return fmt.Sprintf("step %d, data", step+1)
}

// Next returns the next step, and io.EOF after the last one. A step whose samples were all skipped has no
// micro-batches. Errors are final: further calls return the same one. Next fails with the cause if the context is
// cancelled, with ErrTooManySkipped if this step exceeds the limit or skips the last row of a data set of which no row
// could be used (unless Unlimited), and with Prepare's error if that does not wrap ErrRow or FailOnBad is set.
func (l *Loader) Next() (Step, error) {
	if l.err != nil {
		return Step{}, l.err
	}
	step, err := l.receive()
	if err == nil {
		err = l.countSkipped(step)
	}
	if err != nil {
		l.err = err
		return Step{}, err
	}
	return step, nil
}

// Skipped returns the distinct rows that the steps so far have left out, those in LoaderOptions.Known first; after
// ErrTooManySkipped this includes those of the step that exceeded the limit. Checkpoints store it: the limit applies to
// the whole run.
func (l *Loader) Skipped() []Skip { return slices.Clone(l.skipped) }

// Close stops the workers and waits for them.
func (l *Loader) Close() {
	l.cancel()
	l.running.Wait()
}

func (l *Loader) receive() (Step, error) {
	var d delivery
	var more bool
	select {
	case d, more = <-l.steps:
	case <-l.ctx.Done():
	}
	switch {
	case l.ctx.Err() != nil: // first, since it may be why the steps ended
		return Step{}, context.Cause(l.ctx)
	case !more:
		return Step{}, io.EOF
	}
	<-l.ahead
	if l.options.Part != nil {
		d = l.exchange(d)
	}
	return d.step, d.err
}

func (l *Loader) dispatch(jobs chan<- job, drafts chan<- draft) {
	defer close(drafts)
	for step := l.options.Start; step < l.options.Plan.Steps(); step++ {
		if !send(l.ctx, l.ahead, struct{}{}) || !l.hand(l.draft(step), jobs, drafts) {
			return
		}
	}
}

// hand passes a draft on and has its samples prepared. It returns false if the context has ended.
func (l *Loader) hand(d draft, jobs chan<- job, drafts chan<- draft) bool {
	if !send(l.ctx, drafts, d) {
		return false
	}
	for _, index := range d.wanted {
		if !send(l.ctx, jobs, job{d, index}) {
			return false
		}
	}
	return true
}

func (l *Loader) draft(step int) draft {
	first, end := l.options.Plan.Span(step)
	d := draft{step: step, prepare: l.options.Prepare, outcomes: make(chan outcome, end-first)}
	if l.options.Part != nil {
		d.prepare = l.encode
	}
	for position := first; position < end; position++ {
		source, row := l.options.Order.At(position)
		d.places = append(d.places, place{source, row})
		d.wanted = append(d.wanted, int(position-first))
	}
	return d
}

func (l *Loader) work(jobs <-chan job) {
	for {
		select {
		case j := <-jobs:
			p := j.draft.places[j.index]
			sample, err := j.draft.prepare(l.ctx, p.source, p.row)
			j.draft.outcomes <- outcome{index: j.index, sample: sample, err: err}
		case <-l.ctx.Done():
			return
		}
	}
}

// outcomes waits for the samples of a draft. They are nil if the context has ended.
func (l *Loader) outcomes(d draft) []outcome {
	all := d.encoded
	if all == nil {
		all = make([]outcome, len(d.places))
	}
	for range d.wanted {
		select {
		case o := <-d.outcomes:
			o.found = d.encoded != nil && o.err != nil
			all[o.index] = o
		case <-l.ctx.Done():
			return nil
		}
	}
	return all
}

func (l *Loader) assemble(drafts <-chan draft) {
	defer close(l.steps)
	for d := range drafts {
		outcomes := l.outcomes(d)
		if outcomes == nil {
			return
		}
		if !send(l.ctx, l.steps, l.build(d, outcomes)) {
			return
		}
	}
}

func (l *Loader) build(d draft, outcomes []outcome) delivery {
	step, found := Step{Number: d.step, Epoch: l.options.Plan.Epoch(d.step)}, []Skip(nil)
	for i, o := range outcomes {
		p := d.places[i]
		step.Rows = append(step.Rows, Drawn{Data: p.source, Row: p.row, Skipped: o.err != nil})
		switch {
		case o.err == nil:
			if o.sample.Cut > 0 {
				step.Cut++
			}
		case errors.Is(o.err, picture.ErrRow) && !l.options.FailOnBad:
			skip := Skip{Data: p.source, Row: p.row, ID: o.sample.ID, Step: d.step + 1, Reason: o.err.Error()}
			step.Skipped = append(step.Skipped, skip)
			if o.found {
				found = append(found, skip)
			}
		default:
			err := fmt.Errorf("%s[%d] row %d: %w", l.options.key(d.step), p.source, p.row, o.err)
			return delivery{step: Step{Number: d.step}, err: err}
		}
	}
	if len(found) > 0 { // the others know of it once this process has told them
		return delivery{step, nil, outcomes, found}
	}
	return delivery{step, l.fill(&step, usable(outcomes)), outcomes, nil}
}

// fill makes the step's micro-batches of its samples, those that this process computes.
func (l *Loader) fill(step *Step, samples []Sample) error {
	groups := l.split(samples)
	if part := l.options.Part; part != nil {
		step.Shared = part.deal(groups)
	}
	for i, group := range groups {
		if part := l.options.Part; part != nil && step.Shared[i].Rank != part.Rank {
			continue
		}
		batch, err := Collate(group, l.options.Pixels)
		if err != nil {
			return fmt.Errorf("step %d: %w", step.Number+1, err)
		}
		step.Micro = append(step.Micro, batch)
	}
	return nil
}

func (l *Loader) split(samples []Sample) [][]Sample {
	if l.options.Tokens > 0 {
		return SplitTokens(samples, l.options.Tokens)
	}
	return Split(samples, l.options.Micro)
}

// Unlimited is a LoaderOptions.Limit with which any number of rows may be skipped, even all.
const Unlimited = -1

// countSkipped runs when steps are returned, in order, so that the outcome does not depend on how far ahead the workers
// are.
func (l *Loader) countSkipped(step Step) error {
	if len(step.Skipped) == 0 {
		return nil
	}
	for _, skip := range step.Skipped {
		if p := (place{skip.Data, skip.Row}); !l.seen[p] {
			l.seen[p] = true
			l.skipped = append(l.skipped, skip)
		}
	}
	if l.options.Limit == Unlimited {
		return nil
	}
	if source, all := l.usesNone(); all {
		return fmt.Errorf("%w: none of the rows of data[%d] can be used; %s", ErrTooManySkipped, source,
			firstSkipped(l.skipped, func(skip Skip) bool { return skip.Data == source }))
	}
	if len(l.skipped) <= l.options.Limit {
		return nil
	}
	return fmt.Errorf("%w: %d of %d rows by step %d, more than the %d allowed; "+
		"fix the data, remove the rows (llavatrain check --write-clean FILE does), or raise bad_samples.limit; %s",
		ErrTooManySkipped, len(l.skipped), l.options.Order.mixture.rows, step.Number+1, l.options.Limit,
		firstSkipped(l.skipped, func(Skip) bool { return true }))
}

// usesNone finds a data set all of whose rows have been skipped.
func (l *Loader) usesNone() (source int, all bool) {
	counts := map[int]int{}
	for _, skip := range l.skipped {
		counts[skip.Data]++
	}
	for source, share := range l.options.Order.mixture.shares {
		if share.rows > 0 && counts[source] == share.rows {
			return source, true
		}
	}
	return 0, false
}

// firstSkipped tells the first of the skipped rows of which is.
func firstSkipped(skipped []Skip, is func(Skip) bool) string {
	const shown = 3
	var first []string
	for _, skip := range skipped {
		if is(skip) && len(first) < shown {
			first = append(first, fmt.Sprintf("data[%d] row %d: %s", skip.Data, skip.Row, skip.Reason))
		}
	}
	return "the first: " + strings.Join(first, "; ")
}

// SkipLimit is how many distinct rows a run may skip by default: 0.1% of them, but at least 5 and at most 100.
func SkipLimit(rows int) int { return max(5, min(100, rows/1000)) }

// send reports whether the value was sent before the context ended.
func send[T any](ctx context.Context, to chan<- T, value T) bool {
	select {
	case to <- value:
		return true
	case <-ctx.Done():
		return false
	}
}
