package llava

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Times of calls that answer at once.
const (
	callTime    = 5 * time.Second
	refreshTime = 15 * time.Second // the original's controller asks its workers one after the other
	maxAnswer   = 4 << 20          // bytes
)

// NewClient is an HTTP client for calls between the programs: it follows no redirects, uses no proxies, and sends the
// token, if it is not "", to other machines, to this one only if always. A worker on this machine may have registered
// without a token, and must not learn it.
func NewClient(token string, always bool) *http.Client {
	return &http.Client{
		Transport: &bearer{token: token, always: always, inner: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: callTime, KeepAlive: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout: callTime,
			MaxIdleConnsPerHost: 32,
			IdleConnTimeout:     30 * time.Second,
			DisableCompression:  true,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bearer sends a token.
type bearer struct {
	token  string
	always bool
	inner  *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" && (b.always || !Loopback(r.URL.Hostname())) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.inner.RoundTrip(r)
}

// CloseIdleConnections lets http.Client close them.
func (b *bearer) CloseIdleConnections() { b.inner.CloseIdleConnections() }

// Loopback reports whether a host of a URL is this machine: localhost, or an address of its loopback.
func Loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && address.Unmap().IsLoopback()
}

// CheckAddress refuses a program's address that is not http(s)://HOST:PORT[/PATH]. The error ends a sentence.
func CheckAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case CheckName(address) != nil:
		return fmt.Errorf("must be printable and have 1 to %d characters", MaxName)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "":
		return fmt.Errorf("must be of the form http://HOST:PORT")
	case u.User != nil || strings.ContainsAny(address, "?#"):
		return fmt.Errorf("must have no user, query or fragment")
	}
	return nil
}

// Peer is a controller or a worker at its address.
type Peer struct {
	HTTP    *http.Client
	Address string
}

// url is the address of a path.
func (p Peer) url(path string) string { return strings.TrimSuffix(p.Address, "/") + path }

// StatusError is an answer with a status other than 200.
type StatusError struct {
	Status int
	Detail string // the sentence of the answer, "" if it has none; not to be trusted
}

func (e *StatusError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("answers with status %d", e.Status)
	}
	return fmt.Sprintf("answers with status %d: %q", e.Status, e.Detail)
}

// statusError reads the sentence of an answer with a status.
func statusError(response *http.Response) *StatusError {
	var said struct{ Detail string }
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
	json.Unmarshal(text, &said)
	return &StatusError{Status: response.StatusCode, Detail: said.Detail}
}

// call posts in, nothing if it is nil, and reads out. Its errors, as those of all methods, end a sentence about the
// peer.
func (p Peer) call(ctx context.Context, within time.Duration, path string, in, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("does not answer within %v", within))
	defer cancel()
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	response, err := p.post(ctx, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return statusError(response)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("breaks off its answer")
	}
	if json.Unmarshal(text, out) != nil {
		return fmt.Errorf("does not speak LLaVA's protocol")
	}
	return nil
}

// post sends a request. Its errors say nothing of addresses.
func (p Peer) post(ctx context.Context, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url(path), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("has an address that cannot be used")
	}
	r.Header.Set("User-Agent", "LLaVA Client")
	r.Header.Set("Content-Type", "application/json")
	if n := hops(ctx); n != "" {
		r.Header.Set(hopsHeader, n)
	}
	response, err := p.HTTP.Do(r)
	switch {
	case err == nil:
		return response, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, fmt.Errorf("does not answer")
}

// Status asks for a worker's status, which is checked.
func (p Peer) Status(ctx context.Context) (*Status, error) {
	s := new(Status)
	if err := p.call(ctx, callTime, "/worker_get_status", nil, s); err != nil {
		return nil, err
	}
	return s, s.Check()
}

// Refresh has a controller ask every worker for its status.
func (p Peer) Refresh(ctx context.Context) error {
	var nothing any
	return p.call(ctx, refreshTime, "/refresh_all_workers", nil, &nothing)
}

// Models are what a controller's workers serve. Ours says more about them under "llavatrain".
type Models struct {
	Names   []string         `json:"models"`
	Details map[string]Known `json:"llavatrain,omitempty"`
}

// Known is what our controller knows of a model.
type Known struct {
	Details
	Queue float64 `json:"queue_length"` // of all its workers
}

// Models lists them.
func (p Peer) Models(ctx context.Context) (*Models, error) {
	m := new(Models)
	if err := p.call(ctx, callTime, "/list_models", nil, m); err != nil {
		return nil, err
	}
	s := Status{Models: m.Names}
	return m, s.Check()
}

// Worker is the address of a worker for the model, "" if none serves it. The controller counts a request for it.
func (p Peer) Worker(ctx context.Context, model string) (string, error) {
	var found struct{ Address string }
	err := p.call(ctx, callTime, "/get_worker_address", map[string]string{"model": model}, &found)
	if err == nil && found.Address != "" {
		if err = CheckAddress(found.Address); err != nil {
			err = fmt.Errorf("names a worker whose address %w", err)
		}
	}
	return found.Address, err
}

// Registration is what a worker sends to its controller.
type Registration struct {
	Worker    string  `json:"worker_name"` // its address
	CheckBeat bool    `json:"check_heart_beat"`
	Status    *Status `json:"worker_status"`
}

// Register registers a worker.
func (p Peer) Register(ctx context.Context, r Registration) error {
	var nothing any
	return p.call(ctx, callTime, "/register_worker", r, &nothing)
}

// Beat is a worker's sign of life.
type Beat struct {
	Worker string  `json:"worker_name"`
	Queue  float64 `json:"queue_length"`
}

// Beat sends one; false says that the controller does not know the worker.
func (p Peer) Beat(ctx context.Context, b Beat) (bool, error) {
	var known struct{ Exist *bool }
	err := p.call(ctx, callTime, "/receive_heart_beat", b, &known)
	if err == nil && known.Exist == nil {
		err = fmt.Errorf("does not speak LLaVA's protocol")
	}
	return err == nil && *known.Exist, err
}

// Generate asks for an answer: body is the request's. The answer, whatever its status, must be closed.
func (p Peer) Generate(ctx context.Context, body []byte) (*http.Response, error) {
	return p.post(ctx, "/worker_generate_stream", body)
}
