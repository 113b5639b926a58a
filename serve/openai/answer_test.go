package openai

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/pictures"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// models are engines by name.
type models map[string]serve.Engine

func (m models) List() (list []serve.Model) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[name].Model())
	}
	return list
}

func (m models) Find(name string) (serve.Engine, bool) {
	e, ok := m[name]
	return e, ok
}

// newAPI serves an engine.
func newAPI(e *servetest.Engine) (*API, *http.ServeMux) {
	metrics := NewMetrics()
	a := &API{Models: models{e.Served.Name: metrics.Watch(e)}, Pictures: pictures.NewDecoder(), Metrics: metrics,
		Version: "1.2.3"}
	mux := http.NewServeMux()
	a.Register(mux)
	return a, mux
}

// ask sends a request without a network.
func ask(mux http.Handler, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func chat(mux http.Handler, text, fields string) *httptest.ResponseRecorder {
	body := fmt.Sprintf(`{"model":"toy","messages":[{"role":"user","content":%q}]%s}`, text, fields)
	return ask(mux, "POST", "/v1/chat/completions", body)
}

// created is the only part of an answer that differs from one to the next without a server's ids.
var created = regexp.MustCompile(`"created":\d+`)

func normal(text string) string { return created.ReplaceAllString(text, `"created":0`) }

// twoBytes are the log-probabilities of the two tokens of é.
const twoBytes = `{"token":"","logprob":-0.5,"bytes":[195],"top_logprobs":[` + mostLikely + `]},` +
	`{"token":"é","logprob":-1,"bytes":[169],"top_logprobs":[` + mostLikely + `]}`

const mostLikely = `{"token":"top0","logprob":0,"bytes":[116,111,112,48]}`

func TestWhole(t *testing.T) {
	for _, test := range []struct{ name, text, fields, want string }{
		{"text", "one <b>two</b>", "", `{"id":"chatcmpl-","object":"chat.completion","created":0,"model":"toy",` +
			`"choices":[{"index":0,"message":{"role":"assistant","content":"one <b>two</b>"},"logprobs":null,` +
			`"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,` +
			`"prompt_tokens_details":{"cached_tokens":0}}}`},
		{"nothing", "poem", `,"stop":"  "`, `{"id":"chatcmpl-","object":"chat.completion","created":0,"model":"toy",` +
			`"choices":[{"index":0,"message":{"role":"assistant","content":""},"logprobs":null,` +
			`"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":0,"total_tokens":2,` +
			`"prompt_tokens_details":{"cached_tokens":0}}}`},
		{"choices", "é", `,"n":2,"max_tokens":2,"logprobs":true,"top_logprobs":1`, `{"id":"chatcmpl-",` +
			`"object":"chat.completion","created":0,"model":"toy","choices":[` +
			`{"index":0,"message":{"role":"assistant","content":"é"},"logprobs":{"content":[` +
			twoBytes + `]},"finish_reason":"stop"},` +
			`{"index":1,"message":{"role":"assistant","content":"é"},"logprobs":{"content":[` +
			twoBytes + `]},"finish_reason":"length"}],"usage":{"prompt_tokens":4,"completion_tokens":4,` +
			`"total_tokens":8,"prompt_tokens_details":{"cached_tokens":0}}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := servetest.New("toy")
			_, mux := newAPI(e)
			w := chat(mux, test.text, test.fields)
			if diff := cmp.Diff(test.want, normal(w.Body.String())); diff != "" || w.Code != 200 ||
				w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d: %s", w.Code, diff)
			}
			if err := e.WaitIdle(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func event(rest string) string {
	return `data: {"id":"chatcmpl-","object":"chat.completion.chunk","created":0,"model":"toy","choices":[` + rest +
		"}\n\n"
}

func delta(index int, delta, finish string) string {
	return event(fmt.Sprintf(`{"index":%d,"delta":%s,"logprobs":null,"finish_reason":%s}]`, index, delta, finish))
}

const role = `{"role":"assistant","content":""}`

func TestStream(t *testing.T) {
	for _, test := range []struct{ name, text, fields, want string }{
		{"text", "one two", "", delta(0, role, "null") + delta(0, `{"content":"one "}`, "null") +
			delta(0, `{"content":"two"}`, "null") + delta(0, `{}`, `"stop"`) + "data: [DONE]\n\n"},
		{"usage", "one", `,"stream_options":{"include_usage":true}`, delta(0, role, "null") +
			delta(0, `{"content":"one"}`, "null") + delta(0, `{}`, `"stop"`) + event(`],"usage":{"prompt_tokens":2,`+
			`"completion_tokens":1,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}`) +
			"data: [DONE]\n\n"},
		{"half a character", "é", "", delta(0, role, "null") + delta(0, `{"content":"é"}`, "null") +
			delta(0, `{}`, `"stop"`) + "data: [DONE]\n\n"},
		{"choices", "one", `,"n":2`, delta(0, role, "null") + delta(1, role, "null") +
			delta(0, `{"content":"one"}`, "null") + delta(0, `{}`, `"stop"`) + delta(1, `{"content":"one "}`, "null") +
			delta(1, `{"content":"(1)"}`, "null") + delta(1, `{}`, `"stop"`) + "data: [DONE]\n\n"},
		{"nothing", "", "", delta(0, role, "null") + delta(0, `{}`, `"stop"`) + "data: [DONE]\n\n"},
		{"queue", "queue one", "", ": waiting 3\n\n: waiting 2\n\n: waiting 1\n\n" + delta(0, role, "null") +
			delta(0, `{"content":"one"}`, "null") + delta(0, `{}`, `"stop"`) + "data: [DONE]\n\n"},
		{"too long", "endless", `,"max_tokens":1`, delta(0, role, "null") + delta(0, `{"content":"word "}`, "null") +
			delta(0, `{}`, `"length"`) + "data: [DONE]\n\n"},
		{"fault", "fail", "", delta(0, role, "null") + delta(0, `{"content":"some "}`, "null") +
			delta(0, `{"content":"words"}`, "null") + `data: {"error":{"code":null,"message":"The engine failed ` +
			`while it answered. Send the request again; the server's log says more.","param":null,` +
			`"type":"server_error"}}` + "\n\n"},
		{"log-probability", "one", `,"logprobs":true`, delta(0, role, "null") + event(`{"index":0,"delta":`+
			`{"content":"one"},"logprobs":{"content":[{"token":"one","logprob":-0.5,"bytes":[111,110,101],`+
			`"top_logprobs":[]}]},`+
			`"finish_reason":null}]`) + delta(0, `{}`, `"stop"`) + "data: [DONE]\n\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := servetest.New("toy")
			_, mux := newAPI(e)
			w := chat(mux, test.text, `,"stream":true`+test.fields)
			if diff := cmp.Diff(test.want, normal(w.Body.String())); diff != "" || w.Code != 200 ||
				w.Header().Get("Content-Type") != "text/event-stream" || w.Header().Get("Cache-Control") != "no-cache" {
				t.Errorf("%d, %v: %s", w.Code, w.Header(), diff)
			}
			if err := e.WaitIdle(t.Context()); err != nil || e.Cancelled() != 0 {
				t.Error(err, e.Cancelled())
			}
		})
	}
}

// TestWaiting: a client whose answer takes long hears that it waits, before the answer and within it.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := servetest.New("toy")
		gate := make(chan struct{})
		e.Gate = gate
		_, mux := newAPI(e)
		go func() {
			for range 2 {
				time.Sleep(5 * time.Second)
				gate <- struct{}{}
			}
		}()
		w := chat(mux, "one two", `,"stream":true`)
		quiet := strings.Repeat(": waiting\n\n", 2)
		want := quiet + delta(0, role, "null") + delta(0, `{"content":"one "}`, "null") + quiet +
			delta(0, `{"content":"two"}`, "null") + delta(0, `{}`, `"stop"`) + "data: [DONE]\n\n"
		if diff := cmp.Diff(want, normal(w.Body.String())); diff != "" {
			t.Error(diff)
		}
	})
}

// TestPlace: the place in the queue is said again until it changes.
func TestPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := servetest.New("toy")
		gate := make(chan struct{})
		e.Gate = gate
		_, mux := newAPI(e)
		go func() {
			gate <- struct{}{}
			time.Sleep(3 * time.Second)
			close(gate)
		}()
		w := chat(mux, "queue one", `,"stream":true`)
		want := ": waiting 3\n\n: waiting 3\n\n: waiting 2\n\n: waiting 1\n\n" + delta(0, role, "null") +
			delta(0, `{"content":"one"}`, "null") + delta(0, `{}`, `"stop"`) + "data: [DONE]\n\n"
		if diff := cmp.Diff(want, normal(w.Body.String())); diff != "" {
			t.Error(diff)
		}
	})
}

// TestErrors: an error before the first byte has its own status, streamed or not.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name, text        string
		status            int
		kind, code, after string
	}{
		{"busy", "refuse", 429, "rate_limit_error", "rate_limit_exceeded", "2"},
		{"context", strings.Repeat("a ", 3000), 400, "invalid_request_error", "context_length_exceeded", ""},
		{"long words", "slow", 200, "", "", ""},
	} {
		for _, stream := range []string{"false", "true"} {
			e := servetest.New("toy")
			_, mux := newAPI(e)
			w := chat(mux, test.text, `,"stream":`+stream)
			if w.Code != test.status || w.Header().Get("Retry-After") != test.after {
				t.Errorf("%s: status %d, %v", test.name, w.Code, w.Header())
			}
			if test.status != 200 {
				checkError(t, w.Body.Bytes(), test.kind, test.code)
			}
			if err := e.WaitIdle(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	_, mux := newAPI(servetest.New("toy"))
	w := chat(mux, "fail", "")
	checkError(t, w.Body.Bytes(), "server_error", nil)
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

// checkError wants an error of OpenAI's form.
func checkError(t *testing.T, body []byte, kind string, code any) {
	t.Helper()
	var read map[string]map[string]any
	if err := json.Unmarshal(body, &read); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	e := read["error"]
	if keys := slices.Sorted(maps.Keys(e)); !slices.Equal(keys, []string{"code", "message", "param", "type"}) ||
		e["type"] != kind || e["code"] != code || e["message"] == "" {
		t.Errorf("%s, want %s %v", body, kind, code)
	}
}

// TestRefusals: each reason has a status and a code.
func TestRefusals(t *testing.T) {
	for reason, want := range map[serve.Reason]string{
		serve.Invalid:     `400 "invalid_value" "invalid_request_error"`,
		serve.ContextFull: `400 "context_length_exceeded" "invalid_request_error"`,
		serve.BadPicture:  `400 "invalid_image" "invalid_request_error"`,
		serve.Busy:        `429 "rate_limit_exceeded" "rate_limit_error" after 1`,
		serve.Closing:     `503 null "server_error" after 5`,
		serve.Failed:      `500 null "server_error"`,
	} {
		w := httptest.NewRecorder()
		writeError(w, &serve.Refusal{Reason: reason, Field: "field", Text: "text"})
		var body map[string]map[string]json.RawMessage
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		e := body["error"]
		got := fmt.Sprintf("%d %s %s", w.Code, e["code"], e["type"])
		if after := w.Header().Get("Retry-After"); after != "" {
			got += " after " + after
		}
		if got != want || string(e["message"]) != `"text"` || string(e["param"]) != `"field"` {
			t.Errorf("%s, want %s", got, want)
		}
		if reasons[reason] == "" {
			t.Errorf("reason %d has no label", reason)
		}
	}
}

// TestGone: a client that goes cancels its request, whatever it waits for.
func TestGone(t *testing.T) {
	for _, stream := range []string{"true", "false"} {
		e := servetest.New("toy")
		_, mux := newAPI(e)
		server := httptest.NewServer(mux)
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "POST", server.URL+"/v1/chat/completions",
			strings.NewReader(`{"model":"toy","messages":[{"role":"user","content":"endless"}],"stream":`+stream+`}`))
		if stream == "true" {
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			bufio.NewReader(answer.Body).ReadString('\n')
			cancel()
			answer.Body.Close()
		} else {
			go func() {
				for e.Open() == 0 {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			if _, err := http.DefaultClient.Do(r); err == nil {
				t.Error("an endless answer ended")
			}
		}
		if err := e.WaitIdle(t.Context()); err != nil || e.Cancelled() != 1 {
			t.Errorf("%v, %d cancelled", err, e.Cancelled())
		}
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	}
}

// TestUntoldContext lists a model of a worker that does not say how long its context is.
func TestUntoldContext(t *testing.T) {
	e := servetest.New("toy")
	e.Served.MaxPositions = 0
	_, mux := newAPI(e)
	want := `{"id":"toy","object":"model","created":1700000000,"owned_by":"llavatrain"}`
	if w := ask(mux, "GET", "/v1/models/toy", ""); w.Body.String() != want {
		t.Errorf("%s, not %s", w.Body, want)
	}
}

func TestPaths(t *testing.T) {
	e := servetest.New("team/toy")
	a, mux := newAPI(e)
	model := `{"id":"team/toy","object":"model","created":1700000000,"owned_by":"llavatrain","max_model_len":2048}`
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string // the body, or "" for an error
		code               any
	}{
		{"GET", "/v1/models", "", 200, `{"object":"list","data":[` + model + `]}`, nil},
		{"GET", "/v1/models/team/toy", "", 200, model, nil},
		{"GET", "/v1/models/team%2Ftoy", "", 200, model, nil},
		{"HEAD", "/v1/models", "", 200, `{"object":"list","data":[` + model + `]}`, nil},
		{"GET", "/v1/models/other", "", 404, "", "model_not_found"},
		{"GET", "/v1/models/%1b%0a", "", 404, "", "model_not_found"},
		{"POST", "/v1/models", "{}", 405, "", nil},
		{"GET", "/v1/chat/completions", "", 405, "", nil},
		{"POST", "/v1/chat/completions", `{"model":"x","messages":[{"role":"user","content":"a"}]}`, 404, "",
			"model_not_found"},
		{"POST", "/v1/embeddings", "{}", 404, "", "unknown_url"},
		{"GET", "/v1", "", 404, "", "unknown_url"},
		{"GET", "/health", "", 200, `{"status":"ok"}`, nil},
		{"GET", "/version", "", 200, `{"version":"1.2.3"}`, nil},
	} {
		w := ask(mux, test.method, test.path, test.body)
		if w.Code != test.status || test.want != "" && w.Body.String() != test.want {
			t.Errorf("%s %s: %d %s", test.method, test.path, w.Code, w.Body)
		}
		if test.want == "" {
			checkError(t, w.Body.Bytes(), "invalid_request_error", test.code)
		}
	}
	a.Busy = func() string { return "draining" }
	if w := ask(mux, "GET", "/health", ""); w.Code != 503 || w.Body.String() != `{"status":"draining"}` {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if w := chat(mux, "a", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	a.Busy, a.Models = nil, models{}
	if w := chat(mux, "a", ""); w.Code != 404 || !strings.Contains(w.Body.String(), "No model is served now") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if w := ask(mux, "GET", "/v1/models", ""); w.Body.String() != `{"object":"list","data":[]}` {
		t.Errorf("%s", w.Body)
	}
}

func TestContentType(t *testing.T) {
	_, mux := newAPI(servetest.New("toy"))
	for kind, status := range map[string]int{"": 200, "application/json": 200, "Application/JSON; charset=utf-8": 200,
		"text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, ";": 415} {
		r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(asking(`"n":1`)))
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		w := httptest.NewRecorder()
		if mux.ServeHTTP(w, r); w.Code != status {
			t.Errorf("%q: %d", kind, w.Code)
		}
	}
}

// TestLogprobNumbers: JSON has no infinity.
func TestLogprobNumbers(t *testing.T) {
	for _, value := range []float64{math.Inf(-1), math.NaN(), -1e6} {
		if got := wireTokenOf(serve.Token{Logprob: value}); got.Logprob != leastLogprob ||
			!bytes.Contains(marshal(got), []byte("-9999")) {
			t.Errorf("%v: %v", value, got)
		}
	}
}

// TestStreamIsFlushed: the first words of an answer do not wait for the last.
func TestStreamIsFlushed(t *testing.T) {
	e := servetest.New("toy")
	gate := make(chan struct{})
	e.Gate = gate
	_, mux := newAPI(e)
	server := httptest.NewServer(mux)
	defer server.Close()
	go func() { gate <- struct{}{} }()
	answer, err := http.Post(server.URL+"/v1/chat/completions", "application/json",
		strings.NewReader(`{"model":"toy","messages":[{"role":"user","content":"one two"}],"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(answer.Body)
	for text := ""; !strings.Contains(text, "one "); {
		if text, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	if rest, err := io.ReadAll(lines); err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("%q, %v", rest, err)
	}
	answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}
