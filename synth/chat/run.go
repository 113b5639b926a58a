package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// Run asks for answers until next has no request and none is under way.
//
// next gives a request, or false if there is none now; it is asked again after each answer. done is told what became of
// each request, in any order, and says whether its answer is of use. Both are called by the goroutine that called Run.
// A request whose key is under way already waits and shares the answer.
//
// An error ends the sending; what is in flight is waited for, kept, and passed to done. The error wraps that of ctx if
// it was cancelled, failure.ErrRemote if the endpoint or the budget ended the run, failure.ErrStorage if the disk did.
// Requests that had no answer then are asked by the next run; done is not told of them.
func (c *Client) Run(ctx context.Context, next func() (Request, bool), done func(Answer) Verdict) error {
	if err := c.mayWrite(); err != nil {
		return err
	}
	r := newRun(ctx, c, next, done)
	for {
		wake := r.start()
		if r.c.flying == 0 && (r.stop != nil || wake.IsZero()) {
			return r.stop
		}
		r.wait(wake)
	}
}

// run is the state of one call of Run. One goroutine has all of it; each request in flight has another, which sends and
// reads.
type run struct {
	queue
	c    *Client
	ctx  context.Context
	next func() (Request, bool)
	done func(Answer) Verdict
	stop error // nothing is sent any more

	results chan *item
	slots   int // how many may fly: one more after each answer

	worked      bool      // the endpoint has answered in this run
	refusals    int       // faults in a row that end the run if they are repeated
	pausedUntil time.Time // nothing is sent before
	limited     int       // pauses in a row
	limitedFrom time.Time // when these began; zero if the last request met no limit
	pauseSaid   time.Time // when the user was last told of a pause

	breaker breaker
	probing bool
}

func newRun(ctx context.Context, c *Client, next func() (Request, bool), done func(Answer) Verdict) *run {
	return &run{c: c, ctx: ctx, queue: queue{under: map[string][]*item{}}, next: next, done: done, slots: 1,
		results: make(chan *item), pausedUntil: c.stillWaits(c.index.pausedUntil)}
}

// stillWaits is a time before which an earlier run was told to send nothing, if it lies ahead; else zero. One that lies
// too far ahead would have ended that run: whoever starts another may have done something about it.
func (c *Client) stillWaits(until time.Time) time.Time {
	if ahead := time.Until(until); ahead <= 0 || ahead > c.settings.Patience {
		return time.Time{}
	}
	return until
}

// wait waits for something to happen: a result, the time of the next request, or the end of ctx.
func (r *run) wait(wake time.Time) {
	var ended <-chan struct{}
	if r.stop == nil {
		ended = r.ctx.Done()
	}
	var timer <-chan time.Time
	if !wake.IsZero() {
		timer = time.After(time.Until(wake))
	}
	select {
	case it := <-r.results:
		r.finish(it)
	case <-timer:
	case <-ended:
		r.stop = r.ctx.Err()
	}
}

// start sends all that may be sent now. It returns when to look again; zero if only a result can change anything, or
// nothing is left.
func (r *run) start() (wake time.Time) {
	for r.stop == nil && r.mayFly() {
		it, at := r.pick(time.Now())
		if it == nil {
			return at
		}
		if at := r.gate(it, time.Now()); !at.IsZero() {
			r.held = it
			return at
		}
		if err := r.c.afford(bill{online: r.c.index.estimator.most(&it.request)}); err != nil {
			if r.held = it; r.c.flying == 0 {
				r.stop = err
			}
			return time.Time{} // what flies may turn out cheaper
		}
		if err := r.launch(it); err != nil {
			r.stop = err
		}
	}
	return time.Time{}
}

func (r *run) mayFly() bool {
	if r.breaker.open {
		return !r.probing
	}
	return r.c.flying < min(r.slots, r.breaker.room())
}

// pick is the next request that needs an answer from the endpoint; without one it says when there will be one.
func (r *run) pick(now time.Time) (*item, time.Time) {
	for r.ctx.Err() == nil && r.stop == nil {
		it, at := r.ready(now, r.breaker.row > 0, r.fresh)
		if it == nil {
			return nil, at
		}
		if !r.open(it) {
			continue
		}
		if until := r.c.stillWaits(r.c.index.until[it.request.Key]); until.After(it.due) {
			r.delay(it, until)
			continue
		}
		return it, at
	}
	if r.stop == nil {
		r.stop = r.ctx.Err()
	}
	return nil, time.Time{}
}

// fresh is a new request, nil if there is none now.
func (r *run) fresh() *item {
	for r.stop == nil {
		request, ok := r.next()
		if !ok {
			return nil
		}
		it := &item{request: request}
		if r.stop = it.request.check(); r.stop == nil && !r.twin(it) {
			return it
		}
	}
	return nil
}

// open says whether a request needs an answer from the endpoint. One with an answer in the ledger does not, nor one in
// a batch file: done is told of them.
func (r *run) open(it *item) bool {
	key := it.request.Key
	if e := r.c.index.keys[key]; e != nil && e.batch != 0 {
		r.done(Answer{Key: key, Outcome: Waiting})
		r.leave(it)
		return false
	}
	for it.seen < len(r.c.spans(key)) {
		a, err := r.c.recorded(key, it.seen)
		if err != nil {
			r.stop = err
			return false
		}
		if !r.again(it, a) {
			r.leave(it)
			return false
		}
	}
	return true
}

// again tells done of an answer, and says whether another is wanted and allowed.
func (r *run) again(it *item, a Answer) bool {
	it.seen++
	return r.done(a) == Again && !a.Last
}

// gate says when a request may be sent; zero for now.
func (r *run) gate(it *item, now time.Time) time.Time {
	if !it.rated {
		it.expected = r.c.index.estimator.mean(&it.request)
		it.rated, it.due = true, r.c.rates.take(now, it.expected.Total())
	}
	at := it.due
	for _, other := range []time.Time{r.pausedUntil, r.breaker.next} {
		if other.After(at) {
			at = other
		}
	}
	if at.After(now) {
		return at
	}
	return time.Time{}
}

// launch sends a request. Its claim comes first, and room on the disk for all answers that are on their way.
func (r *run) launch(it *item) (err error) {
	const roomPerAnswer = 256 << 10
	c := r.c
	if c.endpoint == nil {
		if c.endpoint, err = connect(c.settings); err != nil {
			return err
		}
	}
	if err := c.ledger.reserve(int64(c.flying+1) * roomPerAnswer); err != nil {
		return err
	}
	it.expected, it.most = c.index.estimator.mean(&it.request), c.index.estimator.most(&it.request)
	it.attempt = c.index.entry(it.request.Key).attempts + 1
	if err := c.write(record{Record: recordClaim, Key: it.request.Key, Attempt: it.attempt,
		At: milliseconds(time.Now()), Prompt: it.expected.Prompt, Completion: it.expected.Completion}); err != nil {
		return err
	}
	c.flight.add(it.most, false)
	c.flying++
	it.probe, it.rated = r.breaker.open, false
	r.probing = r.probing || it.probe
	it.limit = c.endpoint.limit
	body, id := it.request.body(c.endpoint.model, it.limit), it.id()
	endpoint, timeout := c.endpoint, c.settings.Timeout
	go func() {
		it.exchange = endpoint.send(body, id, timeout)
		r.results <- it
	}()
	return nil
}

// finish takes what a request came back with.
func (r *run) finish(it *item) {
	r.c.flying--
	r.c.flight.online = r.c.flight.online.minus(it.most)
	if it.probe {
		r.probing = false
	}
	now := time.Now()
	r.c.rates.learn(now, it.headers)
	var err error
	switch cut := r.c.cutPrompt(it); {
	case cut != nil:
		it.fault = &reply.Fault{Class: classCutPrompt, Status: it.status, Paid: reply.MaybePaid, Wait: reply.NoWait}
		err = r.faulted(it, now)
		r.end(cut)
	case it.fault == nil, it.fault.Class.Treatment().Settles:
		err = r.answered(it, now)
	default:
		err = r.faulted(it, now)
	}
	it.exchange = exchange{}
	r.end(err)
}

// end ends the run, for the first reason that there is.
func (r *run) end(err error) {
	if r.stop == nil {
		r.stop = err
	}
}

// answered keeps an answer, then passes it on.
func (r *run) answered(it *item, now time.Time) error {
	a, err := r.c.keep(it, now)
	if err != nil {
		return err
	}
	r.c.rates.correct(now, a.Usage.Total()-it.expected.Total())
	r.worked, r.refusals, r.limited, r.limitedFrom = true, 0, 0, time.Time{}
	r.slots = min(r.slots+1, r.c.settings.Concurrency)
	if r.breaker.good() {
		r.slots = 1
		r.forgive()
		r.c.settings.Say(fmt.Sprintf("%s answers again", r.c.endpoint.host))
	}
	if it.faults = 0; r.again(it, a) {
		r.put(it)
	} else {
		r.leave(it)
	}
	return nil
}
