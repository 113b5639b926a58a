// Package llavatest is a network in memory for tests of LLaVA's programs: it works within testing/synctest, where time
// passes only when all wait.
package llavatest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// Network is an http.RoundTripper between handlers, by their host and port.
type Network struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
	calls []string
}

// Serve has a host answer; nil has it not answer any more.
func (n *Network) Serve(host string, handler http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[string]http.Handler{}
	}
	n.hosts[host] = handler
}

// Client is a client on the network, which follows no redirects.
func (n *Network) Client() *http.Client {
	return &http.Client{Transport: n,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Calls are the hosts and paths of all requests so far, each followed by its body if that is short.
func (n *Network) Calls() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.calls...)
}

// RoundTrip implements http.RoundTripper.
func (n *Network) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	call := r.URL.Host + r.URL.Path
	if len(body) > 0 && len(body) < 200 {
		call += " " + string(body)
	}
	n.calls = append(n.calls, call)
	handler := n.hosts[r.URL.Host]
	n.mu.Unlock()
	if handler == nil {
		return nil, fmt.Errorf("dial %s: connection refused", r.URL.Host)
	}
	ctx, cancel := context.WithCancel(r.Context())
	served := r.Clone(ctx)
	served.Body = io.NopCloser(bytes.NewReader(body))
	served.RemoteAddr, served.Host, served.RequestURI = "127.0.0.1:9", r.URL.Host, r.URL.RequestURI()
	reader, writer := io.Pipe()
	w := &response{header: http.Header{}, pipe: writer, sent: make(chan struct{})}
	go func() {
		defer cancel()
		defer func() {
			w.WriteHeader(http.StatusOK)
			if p := recover(); p != nil { // http.ErrAbortHandler, as the server does
				writer.CloseWithError(io.ErrUnexpectedEOF)
				return
			}
			writer.Close()
		}()
		handler.ServeHTTP(w, served)
	}()
	select {
	case <-w.sent:
	case <-r.Context().Done():
	}
	if err := r.Context().Err(); err != nil {
		reader.CloseWithError(err)
		return nil, err
	}
	stop := context.AfterFunc(r.Context(), func() { reader.CloseWithError(r.Context().Err()) })
	return &http.Response{Status: http.StatusText(w.status), StatusCode: w.status, Header: w.sentHeader, Request: r,
		ProtoMajor: 1, ProtoMinor: 1, Body: &closer{reader, func() { stop(); cancel() }}}, nil
}

// closer tells the handler that its client is gone.
type closer struct {
	*io.PipeReader
	done func()
}

func (c *closer) Close() error {
	c.done()
	return c.PipeReader.Close()
}

// response is an http.ResponseWriter.
type response struct {
	header, sentHeader http.Header
	pipe               *io.PipeWriter
	sent               chan struct{}
	once               sync.Once
	status             int
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sentHeader = status, w.header.Clone()
		close(w.sent)
	})
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// Flush implements http.Flusher.
func (w *response) Flush() { w.WriteHeader(http.StatusOK) }
