package serving

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/openai"
	"github.com/llavatrain/llavatrain/serve/web"
)

// late is a handler that is set when a model has been loaded. Until then requests are told so.
type late struct {
	handler atomic.Pointer[http.Handler]
	loading http.Handler
}

func (l *late) set(h http.Handler) { l.handler.Store(&h) }

// ServeHTTP implements http.Handler.
func (l *late) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := l.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	l.loading.ServeHTTP(w, r)
}

// newLoading answers while a model is loaded: the page is there, and the API says that it is busy.
func newLoading() http.Handler {
	mux := http.NewServeMux()
	api := &openai.API{Models: nothing{}, Version: program.Version, Metrics: openai.NewMetrics(),
		Busy: func() string { return "loading" }}
	api.Register(mux)
	page := web.New(web.Settings{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if web.IsFile(r) {
			page.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// public are the requests that need no token: the page's files, and the probe.
func public(r *http.Request) bool { return web.IsFile(r) || r.URL.Path == "/health" }

// counted are the requests that --rate limits: those that are answered by a model.
func counted(r *http.Request) bool {
	return r.URL.Path == "/v1/chat/completions" || r.URL.Path == "/worker_generate_stream"
}

// drainer is what a server answers with: Drain refuses what waits, Close ends everything.
type drainer interface {
	Drain()
	Close() error
}

// run listens, lets open set the handler, and serves until a signal. The server listens before a model is loaded, so
// that an address that cannot be used is found first; it answers meanwhile.
func run(p *program.Program, parent context.Context, flags *serverFlags, h *late,
	open func(ctx context.Context, s *guard.Server) (drainer, error)) error {
	if err := flags.settle(p.Err); err != nil {
		return err
	}
	flags.Public, flags.Counted = public, counted
	var opened atomic.Pointer[drainer]
	flags.OnDrain = func() {
		if d := opened.Load(); d != nil && *d != nil {
			(*d).Drain()
		}
	}
	h.loading = newLoading()
	s, err := guard.New(flags.Settings, h)
	if err != nil {
		return err
	}
	ctx, stop := p.InterruptibleWhile(parent, "no new requests are taken, and those in progress end")
	defer stop()
	serving := make(chan error, 1)
	go func() { serving <- s.Serve(ctx) }()
	d, err := open(ctx, s)
	if err != nil {
		s.Close()
		<-serving
	} else {
		opened.Store(&d)
		if err = <-serving; err == nil {
			err = runs.ErrInterrupted
		}
	}
	if d != nil {
		err = errors.Join(err, d.Close())
	}
	return err
}
