package train

import (
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// stopwatch adds up where the time of a step goes, part by part. It waits for the device at each lap, so only steps of their own are
// timed with it; nil, as in runs, times nothing.
type stopwatch struct {
	parts map[string]time.Duration
	last  time.Time
}

func (w *stopwatch) start() {
	if w == nil {
		return
	}
	torch.Synchronize()
	w.last = time.Now()
}

// lap gives the time since the last lap to a part.
func (w *stopwatch) lap(part string) {
	if w == nil {
		return
	}
	torch.Synchronize()
	now := time.Now()
	w.parts[part] += now.Sub(w.last)
	w.last = now
}

// shares is each part's share of all the time.
func (w *stopwatch) shares() map[string]float64 {
	total, shares := time.Duration(0), map[string]float64{}
	for _, d := range w.parts {
		total += d
	}
	for part, d := range w.parts {
		shares[part] = d.Seconds() / total.Seconds()
	}
	return shares
}
