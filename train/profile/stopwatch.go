package profile

import (
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Stopwatch notes when each part of a step ran. Only steps of their own are timed with it; nil, as in runs, times nothing.
type Stopwatch struct {
	Waits bool // for the device at each lap: without a card's work in it, a part's time means little
	laps  []lap
	last  time.Time
}

// lap is one part of a step.
type lap struct {
	part         string
	began, ended time.Time
}

func (w *Stopwatch) Start() {
	if w == nil {
		return
	}
	w.last = w.now()
}

// Lap gives the time since the last lap to a part.
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

// Shares is each part's share of all the time.
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
