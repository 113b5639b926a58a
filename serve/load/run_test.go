package load

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/openai"
	"github.com/llavatrain/llavatrain/serve/pictures"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// usual are settings that nothing is wrong with.
func usual(url string) Settings {
	return Settings{URL: url, Clients: 1, Requests: 1, Words: 3, MaxTokens: 8, Picture: New, Size: 20}
}

// one is a single model.
type one struct{ serve.Engine }

func (o one) List() []serve.Model                   { return []serve.Model{o.Model()} }
func (o one) Find(name string) (serve.Engine, bool) { return o.Engine, name == o.Model().Name }

// serveToy serves a toy engine by OpenAI's API.
func serveToy(t *testing.T) (*servetest.Engine, string) {
	e, mux := servetest.New("toy"), http.NewServeMux()
	metrics := openai.NewMetrics()
	api := &openai.API{Models: one{metrics.Watch(e)}, Pictures: pictures.NewDecoder(), Metrics: metrics}
	api.Register(mux)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return e, server.URL
}

func TestRun(t *testing.T) {
	e, url := serveToy(t)
	s := usual(url + "/")
	s.Clients, s.Requests, s.WarmUp, s.Share, s.Words, s.MaxTokens = 4, 20, 2, 0.5, 5, 3
	r, err := Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	asked := e.Requests()
	with, texts := 0, map[string]bool{}
	for _, q := range asked {
		with += len(q.Pictures)
		texts[q.Messages[0].Text] = true
		if n := len(strings.Fields(q.Messages[0].Text)); n != 5 || q.Sampling.MaxTokens != 3 || q.Sampling.IgnoreEnd {
			t.Errorf("asked %+v", q)
		}
	}
	if len(asked) != 22 || with != 11 || len(texts) != 22 {
		t.Errorf("%d requests, %d pictures, %d texts", len(asked), with, len(texts))
	}
	if r.Answered != 20 || r.Failed != 0 || r.Pictures != 10 || r.CompletionTokens != 60 || r.Uncounted != 0 ||
		r.PromptTokens != 20*6+10*16 || r.URL != url+"/v1" || r.Model != "toy" || r.MostOpen > 4 || r.MostOpen < 1 {
		t.Errorf("result %+v", r)
	}
	if r.First == nil || r.Latency == nil || r.Latency.P50 < r.First.P50 || r.Latency.Max < r.Latency.P99 ||
		r.Seconds <= 0 || r.CompletionRate <= 0 || r.PictureRate <= 0 || r.MeanOpen <= 0 || r.MeanOpen > 4 {
		t.Errorf("result %+v", r)
	}
}

// Every server is asked the same; another seed asks other things.
func TestRunRepeats(t *testing.T) {
	ask := func(seed uint64) (texts []string) {
		e, url := serveToy(t)
		s := usual(url)
		s.Requests, s.Seed, s.IgnoreEnd = 5, seed, true
		if _, err := Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		for _, q := range e.Requests() {
			texts = append(texts, q.Messages[0].Text)
			if !q.Sampling.IgnoreEnd {
				t.Error("answers may end")
			}
		}
		return texts
	}
	if first, again, other := ask(1), ask(1), ask(2); !slices.Equal(first, again) || slices.Equal(first, other) {
		t.Errorf("%q, %q, %q", first, again, other)
	}
}

const (
	hello = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}` + "\n\n" +
		`data: {"choices":[{"index":0,"delta":{"content":"a b"}}]}` + "\n\n"
	goodbye = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	counted = `data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"prompt_tokens_details":` +
		`{"cached_tokens":3}}}` + "\n\n"
	done = "data: [DONE]\n\n"
)

// counts are those of one answer.
type counts struct{ tokens, prompt, cached, uncounted int }

// Servers that do not answer as they should, and one that does.
func TestHostile(t *testing.T) {
	stream := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			w.Write([]byte(text))
		}
	}
	status := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			w.Write([]byte(body))
		}
	}
	whole, byPieces := counts{5, 7, 3, 0}, counts{1, 0, 0, 1}
	early := "the stream ended before the answer did"
	for name, c := range map[string]struct {
		handler       http.HandlerFunc
		kind, message string
		counts        counts
	}{
		"whole":       {stream(hello + goodbye + counted + done), "", "", whole},
		"no usage":    {stream(hello + hello + goodbye + done), "", "", counts{2, 0, 0, 1}},
		"no text":     {stream(goodbye + done), "", "", counts{0, 0, 0, 1}},
		"no end mark": {stream(hello + goodbye), "", "", byPieces},
		"thoughts": {stream(`data: {"choices":[{"delta":{"reasoning_content":"h"}}]}` + "\n\n" + done), "", "",
			byPieces},
		"false counts": {stream(hello + strings.Replace(counted, ":7", ":-7", 1) + done), "", "", byPieces},
		"more cached":  {stream(hello + strings.Replace(counted, ":3", ":9", 1) + done), "", "", byPieces},
		"vast counts":  {stream(hello + strings.Replace(counted, ":5", ":5000000000", 1) + done), "", "", byPieces},
		"comments, CR": {stream(": waiting\r\n\r\n" + strings.ReplaceAll(hello+counted+done, "\n", "\r\n")), "", "",
			whole},
		"talks on":      {stream(hello + counted + done + strings.Repeat("x", 1<<16)), "", "", whole},
		"ends":          {stream(hello), cutOff, early, counts{}},
		"half an event": {stream(hello + goodbye[:len(goodbye)-2]), cutOff, early, counts{}},
		"nothing":       {stream(""), cutOff, early, counts{}},
		"no JSON": {stream("data: {a\n\n"), badEvent, "an event is no JSON of a chat completion: {a",
			counts{}},
		"other JSON": {stream("data: 1e999\n\n"), badEvent, "an event is no JSON of a chat completion: 1e999",
			counts{}},
		"long line": {stream("data: " + strings.Repeat("x", 2*maxEvent)), badEvent, errTooLong.Error(), counts{}},
		"error event": {stream(hello + `data: {"error":{"message":"the engine\u001b[2J\u202e failed"}}` + "\n\n"),
			errorEvent, "the engine [2J failed", counts{}},
		"older error": {stream(`data: {"object":"error","message":"oh"}` + "\n\n"), errorEvent, "oh", counts{}},
		"not a stream": {status(200, `{"choices":[]}`), noStream,
			`the answer is "text/plain" and no stream of events`, counts{}},
		"many requests": {status(429, `{"error":{"message":"later"}}`), "status 429", "later", counts{}},
		"FastAPI":       {status(422, `{"detail":"oh"}`), "status 422", "oh", counts{}},
		"plain error":   {status(500, `{"error":"oh"}`), "status 500", "oh", counts{}},
		"page":          {status(502, "<h1>\n\tBad   gateway</h1>"), "status 502", "<h1> Bad gateway</h1>", counts{}},
		"no words":      {status(503, ""), "status 503", "(no text)", counts{}},
		"long words": {status(500, strings.Repeat("é", 5000)), "status 500", strings.Repeat("é", maxMessage) + "…",
			counts{}},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, "status 307", "(no text)", counts{}},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, noConnection, "EOF",
			counts{}},
		"breaks off": {func(w http.ResponseWriter, r *http.Request) {
			stream(hello)(w, r)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, cutOff, "the connection broke: unexpected EOF", counts{}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					asked.Add(1)
					c.handler(w, r)
				}
			}))
			defer server.Close()
			s := usual(server.URL)
			s.Model, s.Requests = "m", 3
			r, err := Run(t.Context(), s)
			if r == nil {
				t.Fatal(err)
			}
			want := []Failure{}
			if c.kind != "" {
				want = []Failure{{c.kind, 3, c.message}}
			}
			if diff := cmp.Diff(want, r.Failures); diff != "" {
				t.Error(diff)
			}
			if errors.Is(err, failure.ErrRemote) != (c.kind != "") || c.kind == "" && err != nil {
				t.Errorf("error %v", err)
			}
			got := counts{r.CompletionTokens / 3, r.PromptTokens / 3, r.CachedTokens / 3, r.Uncounted / 3}
			if asked.Load() != 3 || r.Failed+r.Answered != 3 || got != c.counts {
				t.Errorf("asked %d times: %+v", asked.Load(), r)
			}
		})
	}
}

// Some failures are counted, and do not end the work.
func TestSomeFail(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			return
		}
		n := asked.Add(1)
		if n%3 != 0 {
			w.Header().Set("Content-Type", "text/event-stream")
			w.Write([]byte(hello + counted + done))
			return
		}
		w.WriteHeader(500 + int(n))
		w.Write([]byte("no"))
	}))
	defer server.Close()
	s := usual(server.URL)
	s.Model, s.Requests = "m", 8
	r, err := Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := []Failure{{"status 503", 1, "no"}, {"status 506", 1, "no"}}
	if diff := cmp.Diff(want, r.Failures); diff != "" || r.Answered != 6 || r.Failed != 2 || r.CompletionTokens != 30 {
		t.Errorf("%s\n%+v", diff, r)
	}
}

// A user who ends the command is not told of failures.
func TestRunIsEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			io.Copy(io.Discard, r.Body) // only then the server notices that the client has gone
			cancel()
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	s := usual(server.URL)
	s.Model, s.Requests = "m", 100
	if r, err := Run(ctx, s); r != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFind(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, c := range []struct {
		name, model, body string
		status            int
		want              string // "": no error
	}{
		{"listed", "", `{"data":[{"id":"a"},{"id":"b"}]}`, 200, ""},
		{"named", "b", `{"data":[]}`, 200, ""},
		{"named where there is no list", "b", "not found", 404, ""},
		{"none", "", `{"data":[]}`, 200, "serves no model now"},
		{"no list", "", "<html>", 200, "lists no models (status 200: <html>)"},
		{"no path", "", "not\x1bfound", 404, "lists no models (status 404: not found)"},
		{"no key", "b", `{"error":{"message":"no token"}}`, 401, "lets nobody in: no token"},
	} {
		key := ""
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if key = r.Header.Get("Authorization"); r.URL.Path != "/v1/models" {
				t.Errorf("%s: asked for %s", c.name, r.URL.Path)
			}
			w.WriteHeader(c.status)
			w.Write([]byte(c.body))
		}))
		name, err := newClient(server.URL+"/v1", "secret").find(t.Context(), c.model)
		server.Close()
		if c.want == "" && (err != nil || name != "a" && name != "b") ||
			c.want != "" && (!errors.Is(err, failure.ErrRemote) || !strings.Contains(err.Error(), c.want)) ||
			key != "Bearer secret" {
			t.Errorf("%s: %q, %v, key %q", c.name, name, err, key)
		}
	}
	if _, err := Run(t.Context(), usual(gone.URL)); !errors.Is(err, failure.ErrRemote) ||
		!strings.Contains(err.Error(), "nothing answers at "+gone.URL+"/v1: ") {
		t.Errorf("error %v", err)
	}
}

func TestBadSettings(t *testing.T) {
	for want, change := range map[string]func(*Settings){
		"either clients or a rate":  func(s *Settings) { s.Clients = 0 },
		"either clients or a rate ": func(s *Settings) { s.Rate = 1 },
		"clients must be":           func(s *Settings) { s.Clients = maxClients + 1 },
		"the rate must":             func(s *Settings) { s.Clients, s.Rate = 0, 1e7 },
		"a number of requests":      func(s *Settings) { s.Requests = 0 },
		"a number of requests or":   func(s *Settings) { s.Duration = -time.Second },
		"the warm-up":               func(s *Settings) { s.WarmUp = -1 },
		"prompts must have":         func(s *Settings) { s.Words = 0 },
		"the longest answer":        func(s *Settings) { s.MaxTokens = 0 },
		"the share of":              func(s *Settings) { s.Share = 1.1 },
		"drawn pictures":            func(s *Settings) { s.Size = 0 },
		`not "localhost:80"`:        func(s *Settings) { s.URL = "localhost:80" },
		`not "http://u:p@h"`:        func(s *Settings) { s.URL = "http://u:p@h" },
		`not "http://h/v1?a=b"`:     func(s *Settings) { s.URL = "http://h/v1?a=b" },
		`not "file:///etc"`:         func(s *Settings) { s.URL = "file:///etc" },
		`not "http://\x1b"`:         func(s *Settings) { s.URL = "http://\x1b" },
	} {
		s := usual("http://127.0.0.1:1")
		change(&s)
		if _, err := Run(t.Context(), s); !errors.Is(err, failure.ErrInput) ||
			!strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestBase(t *testing.T) {
	for url, want := range map[string]string{
		"http://h:1": "http://h:1/v1", "https://h/": "https://h/v1", "http://[::1]:8000/v1/": "http://[::1]:8000/v1",
		"https://h/openai/v1": "https://h/openai/v1",
	} {
		if got, err := (&Settings{URL: url}).base(); got != want || err != nil {
			t.Errorf("%s: %s, %v", url, got, err)
		}
	}
}
