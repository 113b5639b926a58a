package llava

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/serve"
)

// PromptWriter writes a conversation by a template, with an <image> mark for each picture, and says what text ends an
// answer. It is asked for workers of the original; the error is a sentence.
type PromptWriter func(template string, messages []serve.Message) (prompt, stop string, err error)

// Fleet are the workers of a controller, as engines.
type Fleet struct {
	controller Peer
	write      PromptWriter

	mu       sync.Mutex
	statuses map[string]known // by the address of a worker
}

// known is what a worker said of itself.
type known struct {
	status *Status
	until  time.Time // when it is asked again
}

// knowledge is how long a worker's status is believed.
const knowledge = time.Minute

// NewFleet makes one. client is that of NewClient.
func NewFleet(controller Peer, write PromptWriter) *Fleet {
	return &Fleet{controller: controller, write: write, statuses: map[string]known{}}
}

// List asks the controller, after it has asked its workers, for the models, and sorts them by name. The error ends a
// sentence about the controller.
func (f *Fleet) List(ctx context.Context) ([]*Remote, error) {
	if err := f.controller.Refresh(ctx); err != nil {
		return nil, err
	}
	models, err := f.controller.Models(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(models.Names)
	names := slices.Compact(models.Names)
	list := make([]*Remote, len(names))
	var all sync.WaitGroup
	limit := make(chan struct{}, 8)
	for i, name := range names {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			list[i] = f.remote(ctx, name, models)
		})
	}
	all.Wait()
	return list, nil
}

// remote describes a model by what our controller says, or else by what one of its workers does.
func (f *Fleet) remote(ctx context.Context, name string, models *Models) *Remote {
	r := &Remote{fleet: f}
	said := Status{Models: []string{name}}
	if k, ok := models.Details[name]; ok {
		said.Details, said.Queue = &k.Details, k.Queue
	} else if address, err := f.controller.Worker(ctx, name); err == nil && address != "" {
		if s, err := f.status(ctx, address); err == nil {
			said = *s
		}
	}
	r.model, r.Own, r.Queue = said.Model(name), said.Details != nil, int(said.Queue)
	return r
}

// status is a worker's own word, at most a minute old.
func (f *Fleet) status(ctx context.Context, address string) (*Status, error) {
	f.mu.Lock()
	k := f.statuses[address]
	f.mu.Unlock()
	if time.Now().Before(k.until) {
		return k.status, nil
	}
	s, err := Peer{f.controller.HTTP, address}.Status(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		delete(f.statuses, address)
		return nil, err
	}
	if len(f.statuses) >= maxModels { // workers come and go under new addresses
		clear(f.statuses)
	}
	f.statuses[address] = known{s, time.Now().Add(knowledge)}
	return s, nil
}

// forget has a worker that failed asked again, by us and by the controller.
func (f *Fleet) forget(address string) {
	f.mu.Lock()
	delete(f.statuses, address)
	f.mu.Unlock()
	f.controller.Refresh(context.Background()) // its failure shows at the next request
}

// find finds a worker that answers. The error is a *serve.Refusal.
func (f *Fleet) find(ctx context.Context, model string) (Peer, *Status, error) {
	for try := 0; ; try++ {
		address, err := f.controller.Worker(ctx, model)
		if err != nil {
			return Peer{}, nil, unready("The controller of the workers %v. Start it, or ask again later.", err)
		}
		if address == "" {
			return Peer{}, nil, unready("No worker serves the model %q now. Start one, or choose another model.", model)
		}
		s, err := f.status(ctx, address)
		switch {
		case err == nil && slices.Contains(s.Models, model):
			return Peer{f.controller.HTTP, address}, s, nil
		case err == nil:
			return Peer{}, nil, unready("The worker for %q says that it serves other models. Load the page again, or "+
				"choose another model.", model)
		case try > 0:
			return Peer{}, nil, unready("The worker of %q %v. Ask again in a minute, or choose another model.",
				model, err)
		}
		f.forget(address)
	}
}

func unready(format string, args ...any) error {
	return &serve.Refusal{Reason: serve.Closing, Field: "model", Text: fmt.Sprintf(format, args...),
		After: 5 * time.Second}
}
