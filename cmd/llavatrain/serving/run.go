package serving

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
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

// newLoading answers while a model is loaded: the API says that it is busy.
func newLoading() http.Handler {
	mux := http.NewServeMux()
	api := &openai.API{Models: nothing{}, Version: program.Version, Metrics: openai.NewMetrics(),
		Busy: func() string { return "loading" }}
	api.Register(mux)
	return mux
}

// public are the requests that need no token: the page's files, and the probe.
func public(r *http.Request) bool { return web.IsFile(r) || r.URL.Path == "/health" }

// run listens, lets open set the handler, and serves until a signal. The server listens before a model is loaded, so
// that an address that cannot be used is found first; it answers meanwhile.
func run(p *program.Program, parent context.Context, flags *serverFlags, h *late,
	open func(ctx context.Context, s *guard.Server) (io.Closer, error)) error {
	if err := flags.settle(p.Err); err != nil {
		return err
	}
	flags.Public = public
	h.loading = newLoading()
	s, err := guard.New(flags.Settings, h)
	if err != nil {
		return err
	}
	ctx, stop := p.Interruptible(parent)
	defer stop()
	serving := make(chan error, 1)
	go func() { serving <- s.Serve(ctx) }()
	closer, err := open(ctx, s)
	if err != nil {
		s.Close()
		<-serving
	} else {
		err = <-serving
		if err == nil {
			err = context.Cause(ctx)
		}
	}
	if closer != nil {
		err = errors.Join(err, closer.Close())
	}
	return err
}
