package controller

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/serve/llava"
)

// ask is a worker's status, from itself.
func (c *Controller) ask(ctx context.Context, w *worker) (*llava.Status, error) {
	if w.local != nil {
		s := w.local()
		return &s, nil
	}
	return llava.Peer{HTTP: c.HTTP, Address: w.name}.Status(ctx)
}

// askAll asks workers at the same time, and hands over each answer as it comes; the status is nil if there is none.
func (c *Controller) askAll(ctx context.Context, workers []*worker, heard func(at int, s *llava.Status)) {
	var all sync.WaitGroup
	for at, w := range workers {
		all.Go(func() {
			s, err := c.ask(ctx, w)
			if err != nil {
				s = nil
			}
			heard(at, s)
		})
	}
	all.Wait()
}

// refresh asks every worker, and drops those that do not answer within 5 seconds. Who comes while the workers are being
// asked waits for the same answers: a page asks whenever it is loaded.
func (c *Controller) refresh(ctx context.Context) {
	c.mu.Lock()
	running := c.refreshing
	if running == nil {
		running = make(chan struct{})
		c.refreshing = running
		// The answers are for all, also if the first to ask goes.
		go c.refreshNow(context.WithoutCancel(ctx), slices.Clone(c.workers), running)
	}
	c.mu.Unlock()
	select {
	case <-running:
	case <-ctx.Done():
	}
}

func (c *Controller) refreshNow(ctx context.Context, workers []*worker, done chan struct{}) {
	c.askAll(ctx, workers, func(at int, s *llava.Status) { c.heard(workers[at], s) })
	c.mu.Lock()
	c.refreshing = nil
	c.mu.Unlock()
	close(done)
}

// heard takes a worker's answer, nil if there was none. A worker that has registered again meanwhile stays as it is.
func (c *Controller) heard(w *worker, s *llava.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.index(w.name)
	switch {
	case at < 0 || c.workers[at] != w:
	case s != nil:
		w.status, w.beat = *s, time.Now()
	default:
		c.workers = slices.Delete(c.workers, at, at+1)
		c.note("The worker %s does not give its status and is dropped.", w.name)
	}
}

// suspect asks a worker that broke an answer off, and drops it if it is dead.
func (c *Controller) suspect(ctx context.Context, name string) {
	c.mu.Lock()
	at := c.index(name)
	if at < 0 {
		c.mu.Unlock()
		return
	}
	w := c.workers[at]
	c.mu.Unlock()
	c.askAll(ctx, []*worker{w}, func(_ int, s *llava.Status) { c.heard(w, s) })
}
