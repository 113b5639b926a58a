package chat

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// index is what is kept of a ledger in memory: a few hundred bytes a key. Records are applied to it as they are read,
// and as they are written.
type index struct {
	keys    map[string]*entry
	batches []string // names; entries count from 1

	answers, estimated int
	spent, maybe       bill
	waiting            bill // of requests in batch files
	lost               int  // claims without an outcome
	faults             map[reply.Class]int
	served             map[string]int
	estimator          estimator
	seed               maphash.Seed

	pausedUntil time.Time            // by the newest limit of the rate
	until       map[string]time.Time // when requests that met a fault may be sent again, where the endpoint said so
}

// entry is what a ledger says of a key.
type entry struct {
	answers  []span
	attempts int
	open     bool     // the newest claim has no outcome yet
	batch    int      // the batch that the key waits in; 0: none
	claim    Usage    // expected, of the newest claim
	lines    []uint64 // hashes of the batch lines that were read
}

func newIndex() *index {
	return &index{keys: map[string]*entry{}, faults: map[reply.Class]int{}, served: map[string]int{},
		seed: maphash.MakeSeed(), until: map[string]time.Time{}}
}

func (x *index) entry(key string) *entry {
	e := x.keys[key]
	if e == nil {
		e = &entry{}
		x.keys[key] = e
	}
	return e
}

// read fills the index from the lines of a ledger.
func (x *index) read(l *ledger) error {
	end, err := l.scan(func(line []byte, at span) error {
		r, err := head(line)
		if err != nil {
			return err
		}
		return x.next(r, at)
	})
	l.size = end
	for _, e := range x.keys {
		x.lose(e)
	}
	return err
}

// next applies a record that was read.
func (x *index) next(r record, at span) error {
	first := at.at == 0
	switch {
	case first != (r.Record == recordLedger):
		return failure.Inputf("it is not a ledger of requests, which begins with its version")
	case first && r.Version != ledgerVersion:
		return failure.Inputf("the ledger has version %d, this llavatrain reads and writes version %d: go on with the "+
			"one that wrote it, or choose another name", r.Version, ledgerVersion)
	case first:
		return nil
	case r.Prompt < 0 || r.Cached < 0 || r.Completion < 0 || r.Expected < 0 || len(r.Prompts) != len(r.Keys):
		return failure.Inputf("it is damaged: its numbers of tokens cannot be")
	}
	return x.apply(r, at)
}

// apply counts a record.
func (x *index) apply(r record, at span) error {
	switch r.Record {
	case recordClaim:
		e := x.entry(r.Key)
		x.lose(e)
		e.attempts, e.open, e.claim = e.attempts+1, true, r.usage()
	case recordAnswer:
		e := x.entry(r.Key)
		x.settle(e)
		e.answers = append(e.answers, at)
		delete(x.until, r.Key)
		x.count(r)
	case recordFault:
		e := x.entry(r.Key)
		if r.Paid == reply.MaybePaid {
			x.maybe.add(e.claim, r.Batch != "")
		}
		x.settle(e)
		x.faults[r.Class]++
		x.pause(r)
	case recordBatch:
		x.batches = append(x.batches, r.Batch)
		for i, key := range r.Keys {
			e := x.entry(key)
			x.lose(e)
			e.attempts, e.batch, e.claim = e.attempts+1, len(x.batches), Usage{r.Prompts[i], 0, r.Completion}
			x.waiting.batch = x.waiting.batch.plus(e.claim)
		}
	default:
		return failure.Inputf("it is damaged: there are no records %q", r.Record)
	}
	if r.Line != "" {
		e := x.entry(r.Key)
		e.lines = append(e.lines, maphash.String(x.seed, r.Line))
	}
	return nil
}

// count adds an answer's cost, and learns from it.
func (x *index) count(r record) {
	x.answers++
	x.spent.add(r.usage(), r.Batch != "")
	if r.Estimated {
		x.estimated++
	}
	if r.Served != "" && (x.served[r.Served] > 0 || len(x.served) < 100) {
		x.served[r.Served]++
	}
	switch {
	case r.Finish == "": // a refusal by the endpoint, which costs nothing
	case r.Estimated:
		x.estimator.learn(0, r.usage())
	default:
		x.estimator.learn(r.Expected, r.usage())
	}
}

// pause keeps the time until which a fault holds requests back.
func (x *index) pause(r record) {
	if r.Wait == nil {
		return
	}
	until := time.UnixMilli(r.At).Add(time.Duration(*r.Wait * float64(time.Second)))
	x.until[r.Key] = until
	if r.Class == reply.RateLimit && until.After(x.pausedUntil) {
		x.pausedUntil = until
	}
}

// settle ends a claim with its outcome.
func (x *index) settle(e *entry) {
	if e.batch != 0 {
		x.waiting.batch = x.waiting.batch.minus(e.claim)
	}
	e.open, e.batch = false, 0
}

// lose counts a claim that has no outcome: the process was killed, or the answer could not be written.
func (x *index) lose(e *entry) {
	if e.open {
		x.lost++
		x.maybe.add(e.claim, false)
	}
	e.open = false
}

// seen says whether a line of a batch's results was read before.
func (x *index) seen(key, line string) bool {
	e := x.keys[key]
	return e != nil && line != "" && slices.Contains(e.lines, maphash.String(x.seed, line))
}

func (b *bill) add(u Usage, batch bool) {
	if batch {
		b.batch = b.batch.plus(u)
	} else {
		b.online = b.online.plus(u)
	}
}
