package chat

import (
	"math"
	"time"
)

// breaker decides from the faults that are tried again whether the endpoint is out of order. Then nothing is sent but a
// probe now and then.
type breaker struct {
	row    int      // faults in a row
	recent [50]bool // which of the last requests ended in a fault
	count  int      // of all requests
	faults int      // among recent
	pause  time.Duration

	open  bool
	since time.Time // when it opened
	next  time.Time // nothing is sent before
}

const (
	breakerRow   = 10 // faults in a row that open it
	cautiousRow  = 5  // faults in a row that slow everything down
	firstPause   = 5 * time.Second
	longestPause = 300 * time.Second
)

// good counts a request that the endpoint answered, and says whether that closed the breaker.
func (b *breaker) good() (closed bool) {
	if b.open {
		*b = breaker{}
		return true
	}
	b.row, b.next = 0, time.Time{}
	b.record(false)
	return false
}

// bad counts a fault. It says whether there is a new time before which nothing is sent.
func (b *breaker) bad(now time.Time, probe bool, patience time.Duration) (waits bool) {
	b.row++
	b.record(true)
	switch {
	case b.open && !probe: // it was in flight when the breaker opened
		return false
	case b.open:
		b.pause = min(2*b.pause, longestPause)
	case b.row >= breakerRow || b.faults > len(b.recent)/2:
		b.open, b.since, b.pause = true, now, firstPause
	case b.row >= cautiousRow:
		b.next = now.Add(2 * time.Second << (b.row - cautiousRow))
		return true
	default:
		return false
	}
	b.next = now.Add(b.pause)
	if end := b.since.Add(patience); b.next.After(end) && now.Before(end) {
		b.next = end // one last time
	}
	return true
}

func (b *breaker) record(fault bool) {
	at := &b.recent[b.count%len(b.recent)]
	if *at {
		b.faults--
	}
	if fault {
		b.faults++
	}
	*at = fault
	b.count++
}

// room is how many requests may be in flight while the breaker is closed: few while faults come in a row, so that an
// outage does not swallow many.
func (b *breaker) room() int {
	if b.row == 0 {
		return math.MaxInt
	}
	return max(1, cautiousRow-b.row)
}

// over says whether the endpoint has been out of order for the whole of a time.
func (b *breaker) over(now time.Time, patience time.Duration) bool {
	return b.open && !now.Before(b.since.Add(patience))
}
