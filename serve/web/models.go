package web

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/llava"
)

// Model is one that is served.
type Model struct {
	serve.Engine
	Known bool // false: by workers of the original, which do not say what they serve
	Queue int  // requests that run or wait
}

// Source lists the models that are served now, sorted by name. The error ends a sentence about what was asked.
type Source func(ctx context.Context) ([]Model, error)

// Workers are the models of a controller.
func Workers(fleet *llava.Fleet) Source {
	return func(ctx context.Context) ([]Model, error) {
		list, err := fleet.List(ctx)
		models := make([]Model, len(list))
		for i, r := range list {
			models[i] = Model{Engine: r, Known: r.Own, Queue: r.Queue}
		}
		return models, err
	}
}

// Here is the model of an engine in this process.
func Here(e serve.Engine) Source {
	return func(context.Context) ([]Model, error) {
		s := e.Status()
		return []Model{{Engine: e, Known: true, Queue: s.Running + s.Waiting}}, nil
	}
}

// ListMode is when models are listed.
type ListMode string

// The modes, by the original's names.
const (
	Once   ListMode = "once"   // at the server's start
	Reload ListMode = "reload" // whenever the page is loaded
)

// ParseListMode reads a mode's name; "" is Once.
func ParseListMode(name string) (ListMode, error) {
	switch m := ListMode(name); m {
	case "":
		return Once, nil
	case Once, Reload:
		return m, nil
	}
	return "", fmt.Errorf("model list mode %q is neither %s nor %s", name, Once, Reload)
}

const (
	again    = 5 * time.Second // after a list, in which a model that is not in it is not looked for
	listTime = 30 * time.Second
)

// catalogue is the list of models as the page and the API see it.
type catalogue struct {
	source Source
	mode   ListMode
	wrap   func(serve.Engine) serve.Engine

	asking sync.Mutex // held while the source is asked
	mu     sync.Mutex
	models []Model
	listed time.Time // when the source was last asked with success
}

// load is what a page gets that is loaded.
func (c *catalogue) load(ctx context.Context) ([]Model, error) {
	began := time.Now()
	c.asking.Lock()
	defer c.asking.Unlock()
	models, listed := c.now()
	if len(models) > 0 && c.mode == Once || listed.After(began) { // or another page has just asked
		return models, nil
	}
	// The list is for all pages, also if this one has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), listTime)
	defer cancel()
	models, err := c.source(ctx)
	if err != nil {
		return nil, err
	}
	for i := range models {
		models[i].Engine = c.wrap(models[i].Engine)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.models, c.listed = models, time.Now()
	return models, nil
}

func (c *catalogue) now() ([]Model, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.models, c.listed
}

// known is the list, which is loaded if there is none.
func (c *catalogue) known(ctx context.Context) []Model {
	models, _ := c.now()
	if len(models) == 0 {
		models, _ = c.load(ctx)
	}
	return models
}

// find is the model's engine, which is looked for among new workers if it is not listed.
func (c *catalogue) find(ctx context.Context, name string) (serve.Engine, bool) {
	models := c.known(ctx)
	at := index(models, name)
	if _, listed := c.now(); at < 0 && c.mode == Reload && time.Since(listed) > again {
		models, _ = c.load(ctx)
		at = index(models, name)
	}
	if at < 0 {
		return nil, false
	}
	return models[at].Engine, true
}

func index(models []Model, name string) int {
	return slices.IndexFunc(models, func(m Model) bool { return m.Model().Name == name })
}
