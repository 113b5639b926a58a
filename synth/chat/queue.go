package chat

import (
	"container/heap"
	"fmt"
	"time"
)

// item is a request under way.
type item struct {
	request Request
	seen    int       // answers that done was told of
	faults  int       // since the last answer
	due     time.Time // not sent before

	rated          bool  // its share of the rates was taken
	expected, most Usage // cost, when it was sent
	attempt        int
	limit          string // the parameter that limits the answer
	probe          bool   // sent while the breaker was open
	exchange
}

// id is the key of idempotency. A gateway that honours it gives a lost answer again instead of a second one; where
// another answer is wanted, the key must be another.
func (it *item) id() string {
	if it.seen == 0 {
		return it.request.Key
	}
	return fmt.Sprintf("%s-%d", it.request.Key, it.seen+1)
}

// queue holds the requests that are under way but not in flight.
type queue struct {
	under   map[string][]*item // by key: what waits for the answer to an earlier request with the same key
	held    *item              // the next one to be sent
	again   []*item
	delayed delayed
}

// twin says whether the key is under way. If so, the request waits for that.
func (q *queue) twin(it *item) bool {
	key := it.request.Key
	waiting, under := q.under[key]
	if under {
		q.under[key] = append(waiting, it)
	} else {
		q.under[key] = nil
	}
	return under
}

// leave ends a request. One that waited for it takes its place.
func (q *queue) leave(it *item) {
	key := it.request.Key
	waiting := q.under[key]
	if len(waiting) == 0 {
		delete(q.under, key)
		return
	}
	q.under[key] = waiting[1:]
	q.put(waiting[0])
}

// put has a request sent as soon as possible.
func (q *queue) put(it *item) { q.again = append(q.again, it) }

// delay has a request sent at a time.
func (q *queue) delay(it *item, until time.Time) {
	it.due = until
	heap.Push(&q.delayed, it)
}

// ready takes a request that can be sent: one that was put, one whose time has come, or a new one. New ones come first
// while the endpoint may be out of order, which it would otherwise be asked for the same until that is given up.
// Without any it says when there will be one; zero if there is none at all.
func (q *queue) ready(now time.Time, newFirst bool, fresh func() *item) (*item, time.Time) {
	if it := q.held; it != nil {
		q.held = nil
		return it, time.Time{}
	}
	if len(q.again) > 0 {
		it := q.again[0]
		q.again = q.again[1:]
		return it, time.Time{}
	}
	due := len(q.delayed) > 0 && !q.delayed[0].due.After(now)
	if newFirst || !due {
		if it := fresh(); it != nil {
			return it, time.Time{}
		}
	}
	switch {
	case due:
		return heap.Pop(&q.delayed).(*item), time.Time{}
	case len(q.delayed) > 0:
		return nil, q.delayed[0].due
	}
	return nil, time.Time{}
}

// forgive forgets the faults of an outage: they were not the requests' own.
func (q *queue) forgive() {
	for _, it := range q.delayed {
		it.faults = 0
	}
}

// delayed is a heap by time.
type delayed []*item

func (d delayed) Len() int           { return len(d) }
func (d delayed) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delayed) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *delayed) Push(x any)        { *d = append(*d, x.(*item)) }
func (d *delayed) Pop() any {
	old := *d
	it := old[len(old)-1]
	*d = old[:len(old)-1]
	return it
}
