package model

import (
	"slices"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// sequence is a job in progress.
type sequence struct {
	ticket  *Ticket
	job     *Job
	donor   *donor // whose extent has its keys and values
	sampler *sampler

	tokens   []int64 // of the prompt, then those chosen or, of a continuation, given
	holds    []held  // of each of tokens
	blocks   []tileHash
	computed int  // positions whose keys and values are in the extent
	cached   int  // of them, those copied from a donor
	made     int  // tokens handed out
	spoiled  bool // by a fault of the engine

	began, first time.Time // its admission, and its first token

	tiles  []tileHash
	rows   *torch.Tensor // [R,D], owned: the images' features, until the prompt is computed; nil before
	images *resampled    // that layers of cross-attention look at; nil without such layers or images
}

// prompting says whether positions that were given are still to be computed.
func (q *sequence) prompting() bool { return q.computed < q.given() }

// given is how many positions the job gives: the prompt's, and a continuation's but for its last.
func (q *sequence) given() int {
	if n := len(q.job.Continuation); n > 0 {
		return len(q.job.IDs) + n - 1
	}
	return len(q.job.IDs)
}

// free releases what the sequence holds besides its extent.
func (q *sequence) free() {
	q.freeRows()
	if q.images != nil {
		q.images.free()
		q.images = nil
	}
}

func (q *sequence) freeRows() {
	if q.rows != nil {
		q.rows.Free()
		q.rows = nil
	}
}

// admit begins waiting jobs for as long as there is room.
func (e *Engine) admit() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.o.Running == 0 || len(e.running) < e.o.Running {
		t := e.queue.next(func(t *Ticket) bool { return e.begin(t.sequence) })
		if t == nil {
			break
		}
		t.sequence.began = time.Now()
		e.running = append(e.running, t.sequence)
	}
	for i, t := range e.queue.order() {
		if t.place != i+1 && t.job.Wait != nil {
			t.job.Wait(i + 1)
		}
		t.place = i + 1
	}
}

// newSequence prepares a job on its sender's goroutine.
func newSequence(m *LLaVA, t *Ticket) *sequence {
	j := &t.job
	q := &sequence{ticket: t, job: j, tiles: m.tileHashes(j.Input), sampler: newSampler(j.Sampling, j.Stream, j.IDs)}
	q.tokens = append(slices.Clone(j.IDs), widened(j.Continuation)...)
	q.holds = m.contents(j.Input, q.tiles)
	for _, id := range j.Continuation {
		q.holds = append(q.holds, held{id: int64(id), row: -1})
	}
	q.blocks = chain(q.holds)
	return q
}

// begin gives a job its extent, and copies to it what other jobs have computed of its prompt. It says whether it did:
// there may be no room, or a job in progress may just be computing a long beginning of the same prompt.
func (e *Engine) begin(q *sequence) bool {
	var from *donor
	common := 0
	if !e.o.Separate {
		from, common = e.donors.find(q.holds, q.blocks)
		if e.soon(q.holds, common) {
			return false
		}
	}
	common = min(common, q.firstWanted())
	span := e.m.span(q.job)
	place, ok := e.donors.take(span, from)
	if !ok {
		if place, ok = e.donors.take(span, nil); !ok { // in place of the donor
			return false
		}
		from = nil
	}
	q.donor = &donor{extent: place, running: true}
	if from == nil || common == 0 {
		return true
	}
	if err := torch.Do(func(*torch.Scope) { e.arena.copy(from.extent, place, int64(common)) }); err == nil {
		e.donors.used(from)
		q.computed, q.cached = common, common
	}
	return true
}

// firstWanted is the first position whose logits are wanted: it is computed in any case.
func (q *sequence) firstWanted() int { return len(q.job.IDs) - 1 }

// soon says whether a job in progress will have computed, in a few steps, more of a prompt than there is now.
func (e *Engine) soon(holds []held, common int) bool {
	for _, r := range e.running {
		if !r.prompting() {
			continue
		}
		limit := min(len(holds), len(r.holds), r.given())
		n := 0
		for n < limit && holds[n] == r.holds[n] {
			n++
		}
		if n >= common+grain {
			return true
		}
	}
	return false
}

func widened(ids []int32) (wide []int64) {
	for _, id := range ids {
		wide = append(wide, int64(id))
	}
	return wide
}
