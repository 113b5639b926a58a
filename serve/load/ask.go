package load

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Kinds of failures, besides "status 429" and the like.
const (
	noConnection = "connection"
	timedOut     = "timeout"
	cutOff       = "cut"          // the stream ended before the answer
	noStream     = "not a stream" // of events
	badEvent     = "bad event"
	errorEvent   = "error event"
	notSent      = "not sent"
)

const (
	connecting  = 10 * time.Second
	longest     = 10 * time.Minute // of a request
	maxMessage  = 300              // characters of a failure's message
	maxBody     = 64 << 10         // bytes that are read of an error
	patience    = time.Second      // for the end of a stream after its last event
	keptForNext = 4096             // bytes that are read to use a connection again
)

// outcome is what came of a request.
type outcome struct {
	kind, message string // of a failure; "": the answer is whole
	pictures      int
	ended         time.Time
	whole         time.Duration // since the request was due
	first         time.Duration // to the first text; 0 if there was none
	gaps          []time.Duration
	usage         *usage // nil if the server did not say
}

// tokens is how many the answer has: by the server, or else by the pieces that it came in.
func (o *outcome) tokens() int {
	switch {
	case o.usage != nil:
		return o.usage.Completion
	case o.first == 0:
		return 0
	}
	return len(o.gaps) + 1
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Details    *struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// ok reports whether the server counted, and the numbers can be true.
func (u *usage) ok() bool {
	const most = 1 << 30
	if u == nil || u.Details != nil && (u.Details.Cached < 0 || u.Details.Cached > u.Prompt) {
		return false
	}
	return u.Prompt >= 0 && u.Prompt <= most && u.Completion >= 0 && u.Completion <= most
}

// piece is an event of an answer. Reasoning is what models that think aloud say before, as vLLM and llama-server call
// it.
type piece struct {
	Choices []struct {
		Delta struct {
			Content   string `json:"content"`
			Reasoning string `json:"reasoning_content"`
		} `json:"delta"`
		Finish string `json:"finish_reason"`
	} `json:"choices"`
	Usage  *usage          `json:"usage"`
	Error  json.RawMessage `json:"error"`
	Object string          `json:"object"` // "error" in older servers
}

// client asks one server.
type client struct {
	http *http.Client
	base string
	key  string
}

// newClient makes a client that keeps its connections, and follows no redirection: the key goes where it was meant to.
func newClient(base, key string) *client {
	return &client{base: base, key: key, http: &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: connecting}).DialContext,
			TLSHandshakeTimeout:    connecting,
			MaxIdleConnsPerHost:    mostOpen,
			IdleConnTimeout:        4 * time.Second, // uvicorn, below vLLM, closes idle connections after 5
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if r.Header.Set("User-Agent", "llavatrain"); body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := c.http.Do(r)
	if outer := new(url.Error); errors.As(err, &outer) {
		err = outer.Err // without the address
	}
	return response, err
}

// ask sends a question, and reads the answer while it comes.
func (c *client) ask(ctx context.Context, q question, due time.Time) (o outcome) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	defer func() {
		if o.ended.IsZero() {
			o.ended = time.Now()
		}
		o.whole, o.pictures = o.ended.Sub(due), q.pictures
		o.message = printable(o.message)
	}()
	response, err := c.send(ctx, http.MethodPost, "/chat/completions", q.body)
	if err != nil {
		return outcome{kind: kindOf(err, noConnection), message: err.Error()}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody))
		return outcome{kind: fmt.Sprint("status ", response.StatusCode), message: said(body)}
	}
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if media != "text/event-stream" {
		return outcome{kind: noStream, message: fmt.Sprintf("the answer is %q and no stream of events", media)}
	}
	o.read(response.Body, due)
	defer time.AfterFunc(patience, cancel).Stop() // a server that goes on talking is not listened to
	io.CopyN(io.Discard, response.Body, keptForNext)
	return o
}

// read reads an answer. It is whole after [DONE], or where the server does not say that, after a finish_reason.
func (o *outcome) read(r io.Reader, due time.Time) {
	finished, last := false, time.Time{}
	err := readEvents(r, func(data []byte) (bool, error) {
		if string(data) == "[DONE]" {
			return false, nil
		}
		var p piece
		if err := json.Unmarshal(data, &p); err != nil {
			o.kind = badEvent
			o.message = "an event is no JSON of a chat completion: " + string(data[:min(len(data), 200)])
			return false, nil
		}
		if p.Error != nil && string(p.Error) != "null" || p.Object == "error" {
			o.kind, o.message = errorEvent, said(data)
			return false, nil
		}
		text := false
		for _, choice := range p.Choices {
			text = text || choice.Delta.Content != "" || choice.Delta.Reasoning != ""
			finished = finished || choice.Finish != ""
		}
		if p.Usage.ok() {
			o.usage = p.Usage
		}
		if now := time.Now(); text && last.IsZero() {
			o.first, last = max(1, now.Sub(due)), now
		} else if text {
			o.gaps, last = append(o.gaps, now.Sub(last)), now
		}
		return true, nil
	})
	o.ended = time.Now()
	switch {
	case err == nil || o.kind != "" || finished && errors.Is(err, io.EOF):
	case errors.Is(err, io.EOF):
		o.kind, o.message = cutOff, "the stream ended before the answer did"
	case errors.Is(err, errTooLong):
		o.kind, o.message = badEvent, err.Error()
	default:
		o.kind, o.message = kindOf(err, cutOff), "the connection broke: "+err.Error()
	}
}

// kindOf is the kind of an error of the connection.
func kindOf(err error, usual string) string {
	var network net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout() {
		return timedOut
	}
	return usual
}

// said is the sentence in the body of an error, by OpenAI's form or FastAPI's, or else the body.
func said(body []byte) string {
	var form struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  string          `json:"detail"`
	}
	json.Unmarshal(body, &form) // what is not JSON is shown as it is
	var inner struct {
		Message string `json:"message"`
	}
	plain := ""
	json.Unmarshal(form.Error, &inner)
	json.Unmarshal(form.Error, &plain)
	return cmp.Or(inner.Message, plain, form.Message, form.Detail, string(body), "(no text)")
}

// printable is text of a server as a terminal may show it: one line, not too long.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), 4*maxMessage)])
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxMessage {
		text = string(runes[:maxMessage]) + "…"
	}
	return text
}
