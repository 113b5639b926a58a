package controller

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/serve/llava"
)

const (
	expiry     = 30 * time.Second // without a beat, and between looks at the beats
	maxWorkers = 256
)

// Dispatch is how a worker is chosen.
type Dispatch string

// The ways, by the original's names.
const (
	ShortestQueue Dispatch = "shortest_queue" // the least requests for the speed; the first to register wins a tie
	Lottery       Dispatch = "lottery"        // drawn, with the speed as weight
)

// ParseDispatch reads a way's name; "" is ShortestQueue.
func ParseDispatch(name string) (Dispatch, error) {
	switch d := Dispatch(name); d {
	case "":
		return ShortestQueue, nil
	case ShortestQueue, Lottery:
		return d, nil
	}
	return "", fmt.Errorf("dispatch method %q is neither %s nor %s", name, ShortestQueue, Lottery)
}

// Settings of a controller.
type Settings struct {
	Dispatch Dispatch
	HTTP     *http.Client // to ask workers: llava.NewClient
	Token    string       // who sends it may name a worker on any machine; "": nobody may
	Log      io.Writer    // a line for every worker that comes or goes; nil: none
}

// Controller keeps the list. Its methods may be called from any goroutine.
type Controller struct {
	Settings

	mu         sync.Mutex
	workers    []*worker     // in order of their registration
	refreshing chan struct{} // is closed when the workers have been asked; nil: they are not being asked
}

// worker is an entry of the list. Registering again replaces it.
type worker struct {
	name      string // its address
	status    llava.Status
	checkBeat bool
	beat      time.Time           // the last sign of life
	local     func() llava.Status // of a worker in this process; nil: it is asked
}

// New makes a controller without workers.
func New(s Settings) *Controller {
	if s.Dispatch == "" {
		s.Dispatch = ShortestQueue
	}
	return &Controller{Settings: s}
}

// Run drops workers without beats, until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	look := time.NewTicker(expiry)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			c.expire(time.Now())
		case <-ctx.Done():
			return
		}
	}
}

func (c *Controller) expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers = slices.DeleteFunc(c.workers, func(w *worker) bool {
		late := w.checkBeat && now.Sub(w.beat) > expiry
		if late {
			c.note("The worker %s has sent no heart beat for %d seconds and is dropped.", w.name, expiry/time.Second)
		}
		return late
	})
}

// AddLocal adds a worker of this process, which is never dropped.
func (c *Controller) AddLocal(address string, status func() llava.Status) {
	c.put(&worker{name: address, status: status(), local: status})
}

// put adds or replaces a worker; false if there are too many.
func (c *Controller) put(w *worker) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.beat = time.Now()
	if at := c.index(w.name); at >= 0 {
		c.workers[at] = w
		return true
	}
	if len(c.workers) >= maxWorkers {
		return false
	}
	c.workers = append(c.workers, w)
	c.note("The worker %s serves %q.", w.name, w.status.Models)
	return true
}

// index is the place of a worker, -1 if there is none. The caller holds c.mu.
func (c *Controller) index(name string) int {
	return slices.IndexFunc(c.workers, func(w *worker) bool { return w.name == name })
}

// note writes a line of the log. The caller holds c.mu.
func (c *Controller) note(format string, args ...any) {
	if c.Log != nil {
		fmt.Fprintf(c.Log, format+"\n", args...)
	}
}

// beaten notes a heart beat; false if there is no such worker.
func (c *Controller) beaten(b llava.Beat) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.index(b.Worker)
	if at < 0 {
		return false
	}
	c.workers[at].status.Queue, c.workers[at].beat = b.Queue, time.Now()
	return true
}

// choose is a worker for the model, "" if none serves it. Its queue counts a request more until its next beat.
func (c *Controller) choose(model string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var fit []*worker
	sum := 0.0
	for _, w := range c.workers {
		if w.local != nil {
			w.status = w.local()
		}
		if slices.Contains(w.status.Models, model) {
			fit = append(fit, w)
			sum += w.status.Speed
		}
	}
	if c.Dispatch == Lottery {
		return draw(fit, sum)
	}
	var best *worker
	for _, w := range fit {
		// Of a worker without speed the original divides by 0.
		if w.status.Speed > 0 && (best == nil || w.status.Queue/w.status.Speed < best.status.Queue/best.status.Speed) {
			best = w
		}
	}
	if best == nil {
		return ""
	}
	best.status.Queue++
	return best.name
}

// draw draws a worker by its speed.
func draw(workers []*worker, sum float64) string {
	if sum < 1e-4 {
		return ""
	}
	at := rand.Float64() * sum
	for _, w := range workers {
		if at -= w.status.Speed; at < 0 {
			return w.name
		}
	}
	for _, w := range slices.Backward(workers) { // of a sum that was rounded up
		if w.status.Speed > 0 {
			return w.name
		}
	}
	return ""
}

// list is what is served, in order of the names, with what our workers say of it.
func (c *Controller) list() llava.Models {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := llava.Models{Names: []string{}, Details: map[string]llava.Known{}}
	for _, w := range c.workers {
		if w.local != nil {
			w.status = w.local()
		}
		for _, name := range w.status.Models {
			all.Names = append(all.Names, name)
			if d := w.status.Details; d != nil {
				all.Details[name] = llava.Known{Details: *d, Queue: all.Details[name].Queue + w.status.Queue}
			}
		}
	}
	slices.Sort(all.Names)
	all.Names = slices.Compact(all.Names)
	return all
}

// snapshot are the workers of now.
func (c *Controller) snapshot() []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.workers)
}
