package llava_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/pictures"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// pixel is a PNG of one red pixel, in base64.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"

func newWorker(e *servetest.Engine) *llava.Worker {
	return &llava.Worker{Engine: e, Pictures: pictures.NewDecoder()}
}

// post asks a handler.
func post(h http.Handler, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return w
}

// messages are those of a stream; keep-alives are "".
func messages(stream []byte) (list []string) {
	text, ok := bytes.CutSuffix(stream, []byte{0})
	if !ok {
		return []string{string(stream)}
	}
	for _, m := range bytes.Split(text, []byte{0}) {
		list = append(list, string(m))
	}
	return list
}

// last is the last message of a stream.
func last(stream []byte) (text string, code int) {
	list := messages(stream)
	var m struct {
		Text string `json:"text"`
		Code int    `json:"error_code"`
	}
	if err := json.Unmarshal([]byte(list[len(list)-1]), &m); err != nil {
		return err.Error(), -1
	}
	return m.Text, m.Code
}

// TestStream compares with bytes that the original's worker wrote.
func TestStream(t *testing.T) {
	e := servetest.New("llava-toy")
	got := post(newWorker(e).Routes(), "/worker_generate_stream", `{"model": "x", "prompt": "é\ud800 \"q\" USER: 世 𝄞\n",
		"temperature": 0.2, "top_p": 0.7, "max_new_tokens": 512, "stop": "</s>", "images": []}`)
	want := `{"text": "\u00e9\ufffd \"q\" USER: \u4e16 \ud834\udd1e\n` + `\u4e16", "error_code": 0}` + "\x00" +
		`{"text": "\u00e9\ufffd \"q\" USER: \u4e16 \ud834\udd1e\n` + `\u4e16 \ud834\udd1e", "error_code": 0}` + "\x00"
	body := got.Body.String()
	if got.Code != 200 || got.Header().Get("Content-Type") != "" || !got.Flushed {
		t.Errorf("%d, %q", got.Code, got.Header())
	}
	if _, end, _ := strings.Cut(want, "\x00"); !strings.HasSuffix(body, end) {
		t.Errorf("%q", body)
	}
	if strings.Count(body, "\x00") == 0 || strings.ContainsFunc(body, func(r rune) bool { return r > 127 }) {
		t.Errorf("%q is not ASCII", body)
	}
	sampling := serve.Sampling{MaxTokens: 512, Temperature: 0.2, TopP: 0.7, Stop: []string{"</s>"}}
	if diff := cmp.Diff(sampling, e.Requests()[0].Sampling); diff != "" {
		t.Error(diff)
	}
}

// TestValues is section 2.2 of the protocol: how each field is read.
func TestValues(t *testing.T) {
	usual := serve.Sampling{MaxTokens: 256, Temperature: 1, TopP: 1}
	with := func(change func(*serve.Sampling)) serve.Sampling {
		s := usual
		change(&s)
		return s
	}
	for fields, want := range map[string]serve.Sampling{
		``: usual,
		`"model": 5, "unknown": {}, "images": null, "stop": null, "temperature": null`: usual,
		`"temperature": 0.5`:             with(func(s *serve.Sampling) { s.Temperature = 0.5 }),
		`"temperature": " 0.5 "`:         with(func(s *serve.Sampling) { s.Temperature = 0.5 }),
		`"temperature": 0.001`:           with(func(s *serve.Sampling) { s.Temperature = 0 }),
		`"temperature": 0.0011`:          with(func(s *serve.Sampling) { s.Temperature = 0.0011 }),
		`"temperature": -3`:              with(func(s *serve.Sampling) { s.Temperature = 0 }),
		`"top_p": "0.7"`:                 with(func(s *serve.Sampling) { s.TopP = 0.7 }),
		`"top_p": 0`:                     with(func(s *serve.Sampling) { s.Temperature = 0 }),
		`"max_new_tokens": "7"`:          with(func(s *serve.Sampling) { s.MaxTokens = 7 }),
		`"max_new_tokens": 7.9`:          with(func(s *serve.Sampling) { s.MaxTokens = 7 }),
		`"max_new_tokens": 1e30`:         with(func(s *serve.Sampling) { s.MaxTokens = 1024 }),
		`"max_new_tokens": 1025`:         with(func(s *serve.Sampling) { s.MaxTokens = 1024 }),
		`"stop": "###"`:                  with(func(s *serve.Sampling) { s.Stop = []string{"###"} }),
		`"stop": ""`:                     usual,
		`"temperature": 0, "top_p": 0.5`: with(func(s *serve.Sampling) { s.Temperature = 0 }),
	} {
		e := servetest.New("llava-toy")
		body := `{"prompt": "hello"}`
		if fields != "" {
			body = `{"prompt": "hello", ` + fields + `}`
		}
		text, code := last(post(newWorker(e).Routes(), "/worker_generate_stream", body).Body.Bytes())
		if code != 0 || text != "hellohello" {
			t.Errorf("%s: %d, %q", fields, code, text)
			continue
		}
		if diff := cmp.Diff(want, e.Requests()[0].Sampling); diff != "" {
			t.Errorf("%s: %s", fields, diff)
		}
	}
}

// TestFaults has what ends as a status, and what as a code.
func TestFaults(t *testing.T) {
	blind := servetest.New("toy")
	blind.Served.Images = false
	for _, test := range []struct {
		name, body   string
		engine       *servetest.Engine
		status, code int
		text         string // begins so
	}{
		{"no JSON", `{"prompt":`, nil, 400, 0, "The body of the request is not a JSON"},
		{"a list", `["prompt"]`, nil, 400, 0, "The body of the request is not a JSON"},
		{"empty", ``, nil, 400, 0, "The body of the request is not a JSON"},
		{"no prompt", `{"images": []}`, nil, 400, 0, `The request has no "prompt"`},
		{"a prompt of numbers", `{"prompt": [1]}`, nil, 200, 1, "The prompt must be a string."},
		{"no prompt but null", `{"prompt": null}`, nil, 200, 1, "The prompt must be a string."},
		{"a word for a number", `{"prompt": "a", "temperature": "hot"}`, nil, 200, 1, "The temperature must"},
		{"an endless number", `{"prompt": "a", "temperature": "inf"}`, nil, 200, 1, "The temperature must be"},
		{"no number", `{"prompt": "a", "max_new_tokens": "nan"}`, nil, 200, 1, "The max_new_tokens must be"},
		{"a list of numbers", `{"prompt": "a", "top_p": [1]}`, nil, 200, 1, "The top_p must be a number."},
		{"a share above 1", `{"prompt": "a", "top_p": 1.5}`, nil, 200, 1, "The top_p must be from 0 to 1."},
		{"a stop of numbers", `{"prompt": "a", "stop": 5}`, nil, 200, 1, "The stop must be a string."},
		{"images of one string", `{"prompt": "a", "images": "abc"}`, nil, 200, 1, "The images must be a list"},
		{"more images", `{"prompt": "a", "images": ["` + pixel + `"]}`, nil, 200, 1,
			"The number of images (1) is not that of <image> marks in the prompt (0)."},
		{"fewer images", `{"prompt": "<image><image>", "images": ["` + pixel + `"]}`, nil, 200, 1,
			"The number of images (1)"},
		{"no images", `{"prompt": "<image>"}`, nil, 200, 1, "The number of images (0)"},
		{"no base64", `{"prompt": "<image>", "images": ["%"]}`, nil, 200, 1, "A picture is not base64."},
		{"no picture", `{"prompt": "<image>", "images": ["aaaa"]}`, nil, 200, 1, "Picture 1 cannot be used: "},
		{"nine pictures", `{"prompt": "` + strings.Repeat("<image>", 9) + `", "images": [` +
			strings.Repeat(`"a", `, 8) + `"a"]}`, nil, 200, 1, "A request may have 8 pictures; this one has 9."},
		{"a blind model", `{"prompt": "<image>", "images": ["` + pixel + `"]}`, blind, 200, 1,
			"This model does not look at pictures."},
		{"no tokens", `{"prompt": "a", "max_new_tokens": 0}`, nil, 200, 0,
			"aExceeds max token length. Please start a new conversation, thanks."},
		{"minus a lot", `{"prompt": "a", "max_new_tokens": -1e300}`, nil, 200, 0, "aExceeds max token length."},
		{"a long prompt", `{"prompt": "` + strings.Repeat("a ", 2100) + `"}`, nil, 200, 0,
			strings.Repeat("a ", 2100) + "Exceeds max token length."},
		{"a full queue", `{"prompt": "refuse"}`, nil, 200, 1, "The queue is full; try again later."},
		{"a broken engine", `{"prompt": "fail"}`, nil, 200, 1, "The model failed while it answered."},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := test.engine
			if e == nil {
				e = servetest.New("llava-toy")
			}
			got := post(newWorker(e).Routes(), "/worker_generate_stream", test.body)
			text, code := last(got.Body.Bytes())
			if test.status != 200 {
				var said struct{ Detail string }
				json.Unmarshal(got.Body.Bytes(), &said)
				text, code = said.Detail, 0
			}
			if got.Code != test.status || code != test.code || !strings.HasPrefix(text, test.text) {
				t.Errorf("%d, %d, %.200q", got.Code, code, text)
			}
			if strings.Contains(text, "/secret") {
				t.Errorf("%q shows internals", text)
			}
			if e.Open() != 0 {
				t.Error("a reply was not closed")
			}
		})
	}
}

func TestPictures(t *testing.T) {
	e := servetest.New("llava-toy")
	for i, image := range []string{pixel, pixel[:20] + `\n` + pixel[20:], "data:image/jpeg;base64," + pixel} {
		body := fmt.Sprintf(`{"prompt": "USER: <image>\nwhat? ASSISTANT:", "images": ["%s"]}`, image)
		text, code := last(post(newWorker(e).Routes(), "/worker_generate_stream", body).Body.Bytes())
		if code != 0 || text != "USER: <image>\nwhat? ASSISTANT:what?" {
			t.Fatalf("%d, %q", code, text)
		}
		if p := e.Requests()[i].Pictures; len(p) != 1 || !bytes.Equal(p[0].Pix, []byte{255, 0, 0}) {
			t.Errorf("%v", p)
		}
	}
}

func TestEmptyAnswer(t *testing.T) {
	body := post(newWorker(servetest.New("toy")).Routes(), "/worker_generate_stream", `{"prompt": ""}`).Body.String()
	if body != `{"text": "", "error_code": 0}`+"\x00" {
		t.Errorf("%q: the original's page fails without a message", body)
	}
}

// TestKeepAlive: the original's clients hang up after 5 seconds without a byte.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := servetest.New("toy")
		e.Pace = 7 * time.Second
		var got []byte
		began, lastByte := time.Now(), time.Now()
		w := &watched{ResponseRecorder: httptest.NewRecorder(), written: func(p []byte) {
			if pause := time.Since(lastByte); pause > llava.KeepAlive {
				t.Errorf("silent for %v after %v", pause, time.Since(began))
			}
			lastByte = time.Now()
			got = append(got, p...)
		}}
		newWorker(e).Routes().ServeHTTP(w, httptest.NewRequest("POST", "/worker_generate_stream",
			strings.NewReader(`{"prompt": "slow one two"}`)))
		want := []string{"", "", "", `{"text": "slow one twoone ", "error_code": 0}`, "", "", "",
			`{"text": "slow one twoone two", "error_code": 0}`}
		if diff := cmp.Diff(want, messages(got)); diff != "" {
			t.Error(diff)
		}
	})
}

// watched is a client that says when it was written to.
type watched struct {
	*httptest.ResponseRecorder
	written func(p []byte)
}

func (w *watched) Write(p []byte) (int, error) {
	w.written(p)
	return w.ResponseRecorder.Write(p)
}

// slowEngine takes its time to prepare a request.
type slowEngine struct{ *servetest.Engine }

func (e slowEngine) Submit(r serve.Request) (*serve.Reply, error) {
	time.Sleep(7 * time.Second)
	return e.Engine.Submit(r)
}

// TestSlowSubmit has keep-alives while a request is prepared, and closes the reply of a client that has gone.
func TestSlowSubmit(t *testing.T) {
	for _, patience := range []time.Duration{time.Second, 9 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			e := servetest.New("toy")
			worker := &llava.Worker{Engine: slowEngine{e}}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(patience, cancel)
			w := httptest.NewRecorder()
			worker.Routes().ServeHTTP(w, httptest.NewRequest("POST", "/worker_generate_stream",
				strings.NewReader(`{"prompt": "endless"}`)).WithContext(ctx))
			if body := w.Body.String(); !strings.HasPrefix(body, "\x00\x00\x00") {
				t.Errorf("%.100q", body)
			}
			if err := e.WaitIdle(t.Context()); err != nil || e.Cancelled() != 1 {
				t.Errorf("%v, %d cancelled", err, e.Cancelled())
			}
		})
	}
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := servetest.New("llava-toy")
		routes := newWorker(e).Routes()
		reply, err := e.Submit(serve.Request{Prompt: "endless"})
		if err != nil {
			t.Fatal(err)
		}
		got := post(routes, "/worker_get_status", "").Body.String()
		reply.Close()
		want := `{"model_names":["llava-toy"],"speed":1,"queue_length":1,"llavatrain":{"template":"vicuna_v1",` +
			`"image_tokens":16,"max_positions":2048,"multimodal":true,"max_tokens":2000,"stop_text":"\u003c/s\u003e",` +
			`"created":1700000000}}`
		if got != want {
			t.Errorf("%s", got)
		}
	})
}

func TestRoutes(t *testing.T) {
	routes := newWorker(servetest.New("toy")).Routes()
	for _, test := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/worker_get_status", 405, `{"detail":"Method Not Allowed"}`},
		{"PUT", "/worker_generate_stream", 405, `{"detail":"Method Not Allowed"}`},
		{"POST", "/", 404, `{"detail":"Not Found"}`},
		{"GET", "/worker_get_status/", 404, `{"detail":"Not Found"}`},
	} {
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
		if w.Code != test.status || w.Body.String() != test.body {
			t.Errorf("%s %s: %d, %s", test.method, test.path, w.Code, w.Body)
		}
	}
}

// TestChanged: a worker sends a heart beat when a request begins and when it ends.
func TestChanged(t *testing.T) {
	e := servetest.New("toy")
	var queue []int
	w := newWorker(e)
	w.Changed = func() { queue = append(queue, e.Open()) }
	post(w.Routes(), "/worker_generate_stream", `{"prompt": "a"}`)
	post(w.Routes(), "/worker_generate_stream", `{"prompt": "refuse"}`)
	if diff := cmp.Diff([]int{1, 0}, queue); diff != "" {
		t.Error(diff)
	}
}
