package profile

import (
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Stopwatch records when each part of a step ran, in steps taken for that purpose. A nil Stopwatch, as in runs, records
// nothing.
type Stopwatch struct {
	Waits bool // for the device at each lap: without the GPU's work, a part's time means little
	laps  []lap
	last  time.Time
}

// lap is one part of a step.
type lap struct {
	part         string
	began, ended time.Time
}

// Start begins the first part of a step.
func (w *Stopwatch) Start() {
	if w == nil {
		return
	}
	w.last = w.now()
}

// Lap ends a part, which began at the last lap or at Start.
func (w *Stopwatch) Lap(part string) {
	if w == nil {
		return
	}
	now := w.now()
	w.laps = append(w.laps, lap{part, w.last, now})
	w.last = now
}

func (w *Stopwatch) now() time.Time {
	if w.Waits {
		torch.Synchronize()
	}
	return time.Now()
}

// Shares returns each part's share of the total time.
func (w *Stopwatch) Shares() map[string]float64 {
	total, shares := 0.0, map[string]float64{}
	for _, l := range w.laps {
		took := l.ended.Sub(l.began).Seconds()
		total, shares[l.part] = total+took, shares[l.part]+took
	}
	for part := range shares {
		shares[part] /= total
	}
	return shares
}
