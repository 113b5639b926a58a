package guard

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// Limits of a request's header and of a connection without a request.
const (
	maxHeader  = 64 << 10
	headerTime = 20 * time.Second
	idleTime   = 120 * time.Second
)

// Server is a guarded server.
type Server struct {
	gate     gate
	rates    rates
	bodies   bodies
	log      logger
	handler  http.Handler
	listener net.Listener
	http     http.Server
	draining atomic.Bool
	refused  [600]atomic.Int64 // by status
}

// New listens. Errors of the settings and the address are the user's. Serve must be called, or Close.
func New(s Settings, h http.Handler) (*Server, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	l, err := listen(s.address())
	if err != nil {
		return nil, err
	}
	return newServer(s, h, l), nil
}

func newServer(s Settings, h http.Handler, l net.Listener) *Server {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	server := &Server{gate: gate{s, port}, rates: rates{Rate: s.Rate}, log: logger{out: s.Log}, handler: h,
		listener: newLimiter(l)}
	server.http = http.Server{Handler: server, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: log.New(&server.log, "", 0)}
	return server
}

// URL is the server's address for this machine, without a path.
func (s *Server) URL() string {
	host := s.gate.Host
	if address, err := netip.ParseAddr(host); host == "" || err == nil && address.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, s.gate.port)
}

// Port is the port that the server listens on.
func (s *Server) Port() int {
	port, _ := strconv.Atoi(s.gate.port)
	return port
}

// Draining reports whether the server has begun to end.
func (s *Server) Draining() bool { return s.draining.Load() }

// Refused is how many requests were answered with a status of 400 or more, by status.
func (s *Server) Refused() map[int]int64 {
	counts := map[int]int64{}
	for status := range s.refused {
		if n := s.refused[status].Load(); n > 0 {
			counts[status] = n
		}
	}
	return counts
}

// Close stops listening and cuts every connection.
func (s *Server) Close() error {
	s.draining.Store(true)
	return errors.Join(s.http.Close(), ignoreClosed(s.listener.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Serve answers requests until ctx is done. Then it stops listening, lets requests end for the time of Settings.Drain,
// and cuts those that have not. It returns nil if ctx ended it.
func (s *Server) Serve(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(s.listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	s.draining.Store(true)
	if s.gate.OnDrain != nil {
		s.gate.OnDrain()
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.gate.Drain)
	defer cancel()
	if s.http.Shutdown(drain) != nil {
		s.http.Close()
	}
	<-ended
	return nil
}

// ServeHTTP answers one request. It is called by Serve, and by tests.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	began := time.Now()
	w := newWriter(rw)
	r, entry := withRecord(r)
	w.Header().Set("X-Request-Id", entry.id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	done := s.bodies.limitBody(w, r)
	defer func() {
		fault := recover()
		if fault != nil && fault != http.ErrAbortHandler {
			Note(r.Context(), "fault", fmt.Sprint(fault, " ", panicked()))
			if fault = any(http.ErrAbortHandler); w.status == 0 {
				fault = nil
				internal.Write(w)
			}
		}
		if w.status == 0 {
			w.begin(http.StatusOK)
		}
		done()
		if w.status >= 400 && w.status < len(s.refused) {
			s.refused[w.status].Add(1)
		}
		s.log.line(r, entry, w.status, began)
		if fault != nil {
			panic(fault) // net/http cuts the connection, so that half an answer does not look whole
		}
	}()
	if s.gate.allowOrigin(w, r) {
		return
	}
	if fault := s.admit(r); fault != nil {
		fault.Write(w)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// admit returns why a request is not answered, or nil.
func (s *Server) admit(r *http.Request) *Fault {
	if fault := s.gate.admit(r); fault != nil {
		return fault
	}
	if r.ContentLength > MaxBody {
		return tooLarge
	}
	if s.counts(r) {
		if wait := s.rates.take(Client(r), time.Now()); wait > 0 {
			return manyRequests(wait)
		}
	}
	return nil
}

func (s *Server) counts(r *http.Request) bool {
	if s.gate.Counted == nil {
		return r.Method == http.MethodPost
	}
	return s.gate.Counted(r)
}

var internal = &Fault{Status: http.StatusInternalServerError, Kind: "server_error", Text: "The server has a fault of " +
	"its own; its log says more under the request's X-Request-Id."}

// panicked is where the panic that is being recovered began: the first places outside the runtime.
func panicked() (places []string) {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for frame, more := frames.Next(); more && len(places) < 3; frame, more = frames.Next() {
		if len(frame.Function) < 8 || frame.Function[:8] != "runtime." {
			places = append(places, fmt.Sprintf("%s:%d", frame.Function, frame.Line))
		}
	}
	return places
}
