package chat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

const (
	maxBody    = 8 << 20   // bytes of an answer
	maxError   = 256 << 10 // bytes that are read of an error
	connecting = 10 * time.Second

	// Servers close connections that are idle, some after five seconds (uvicorn, below vLLM and SGLang), and a request
	// that is sent at that moment is lost. So we close them first.
	idle = 4 * time.Second
)

// dial is replaced by tests.
var dial = (&net.Dialer{Timeout: connecting}).DialContext

// newHTTP makes a client with a time limit for each part of an exchange: for connecting, for the first byte, and by
// send for all. It follows no redirection: the key and the prompts go where they were meant to, or nowhere.
func newHTTP(s Settings) *http.Client {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial,
		TLSHandshakeTimeout:    connecting,
		ResponseHeaderTimeout:  s.Timeout,
		IdleConnTimeout:        idle,
		MaxIdleConnsPerHost:    s.Concurrency,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// exchange is one request and what came of it: a reply, or a fault.
type exchange struct {
	headers http.Header
	status  int
	body    []byte
	reply   reply.Reply
	fault   *reply.Fault
	sent    time.Time
	took    time.Duration
}

// send sends a request and waits for the whole answer. A body that has begun in time gets a quarter more: it is being
// paid for.
func (e *endpoint) send(body []byte, id string, timeout time.Duration) exchange {
	x := exchange{sent: time.Now()}
	ctx, cancel := context.WithTimeout(context.Background(), timeout+timeout/4)
	defer cancel()
	x.fault = e.fetch(ctx, body, id, &x)
	if x.fault == nil {
		x.body = e.hide(x.body)
		x.reply, x.fault = reply.Read(x.status, x.headers, x.body)
	}
	if x.fault != nil { // once more, as a string in JSON can be written in many ways
		x.fault.Message = string(e.hide([]byte(x.fault.Message)))
		x.fault.Param, x.fault.Code = string(e.hide([]byte(x.fault.Param))), string(e.hide([]byte(x.fault.Code)))
	}
	x.reply.Request = string(e.hide([]byte(x.reply.Request)))
	x.took = time.Since(x.sent)
	return x
}

// fetch fills in status, headers and body. It returns the fault of an answer that did not come, or not whole.
func (e *endpoint) fetch(ctx context.Context, body []byte, id string, x *exchange) *reply.Fault {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.address, bytes.NewReader(body))
	if err != nil {
		return reply.Unanswered(reply.Network, err.Error())
	}
	// Of a request with a key of idempotency, net/http sends a copy when a connection breaks, unless the body cannot be
	// had again. That would be paid for and stand in no ledger.
	request.GetBody = nil
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "llavatrain")
	request.Header.Set("Idempotency-Key", id)
	e.authorize(request.Header)
	response, err := e.http.Do(request)
	if err != nil {
		return unanswered(err)
	}
	defer response.Body.Close()
	x.status, x.headers = response.StatusCode, response.Header
	if x.status < 200 || x.status > 299 {
		x.body, _ = io.ReadAll(io.LimitReader(response.Body, maxError)) // the status says enough
		return nil
	}
	x.body, err = io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil:
		return unanswered(err)
	case len(x.body) > maxBody:
		return &reply.Fault{Class: reply.BadBody, Status: x.status, Paid: reply.MaybePaid, Wait: reply.NoWait,
			Message: fmt.Sprintf("the body has more than %d MB", maxBody>>20)}
	}
	return nil
}

// unanswered is the fault of an answer that did not come. A request that found no connection was not sent, so that
// nothing is paid for it.
func unanswered(err error) *reply.Fault {
	var network net.Error
	var operation *net.OpError
	var outer *url.Error // repeats the address
	if errors.As(err, &outer) {
		err = outer.Err
	}
	class := reply.Network
	if errors.As(err, &network) && network.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		class = reply.Timeout
	}
	fault := reply.Unanswered(class, err.Error())
	if errors.As(err, &operation) && operation.Op == "dial" {
		fault.Class, fault.Paid = reply.Network, reply.NotPaid
	}
	return fault
}
