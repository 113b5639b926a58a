package controller_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// TestPass has the streams that a client gets for those of a worker.
func TestPass(t *testing.T) {
	fine := func(text string) string { return string(llava.AppendMessage(nil, text, 0)) }
	fault := func(code int, text string) string { return string(llava.AppendMessage(nil, text, code)) }
	for _, test := range []struct {
		name   string
		worker func(w http.ResponseWriter, r *http.Request)
		want   string
		stays  bool // the worker in the list
	}{
		{"an answer", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			io.WriteString(w, fine(string(body))+fine("ab"))
		}, fine(`{"model": "m", "prompt": "é", "extra": [1]}`) + fine("ab"), true},
		{"keep-alives", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "\x00\x00"+fine("a")+"\x00") },
			"\x00\x00" + fine("a") + "\x00", true},
		{"no last NUL", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, fine("a")+`{"text": "ab"}`) },
			fine("a") + `{"text": "ab"}` + "\x00", true},
		{"a fault of its own", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, fault(1, "no")) },
			fault(1, "no"), true},
		{"killed in the middle of a message", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, fine("a")+`{"text": "a`)
			panic(http.ErrAbortHandler)
		}, fine("a") + fault(3, "The worker of this model has broken off its answer. Ask again."), true},
		{"silent", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			strings.Repeat("\x00", 29) + fault(3, "The worker of this model has sent nothing for 60 seconds. "+
				"Ask again."), true},
		{"broken", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
			fault(3, "The worker of this model answers with status 500. Ask again."), true},
		{"a bad request", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			io.WriteString(w, `{"detail": "The request has no prompt."}`)
		}, fault(1, "The request has no prompt."), true},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:9/",
				http.StatusTemporaryRedirect)
		},
			fault(3, "The worker of this model answers with status 307. Ask again."), true},
		{"dead", nil, fault(3, "The worker of this model does not answer. Ask again."), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld("")
				w.register(t, "http://localhost:2", false, "m", 1, 0)
				if test.worker != nil {
					worker := answers(`{"model_names":["m"],"speed":1,"queue_length":0}`, "")
					worker["/worker_generate_stream"] = test.worker
					w.network.Serve("localhost:2", worker)
				}
				code, body := w.ask("/worker_generate_stream", `{"model": "m", "prompt": "é", "extra": [1]}`)
				if code != 200 {
					t.Error(code)
				}
				if test.name == "silent" { // a keep-alive of second 60 may come before the end
					body = strings.Repeat("\x00", 29) + strings.TrimLeft(body, "\x00")
				}
				if diff := cmp.Diff(test.want, body); diff != "" {
					t.Error(diff)
				}
				want := `{"models":[]}`
				if test.stays {
					want = `{"models":["m"]}`
				}
				w.want(t, "/list_models", "", want)
			})
		})
	}
}

// TestNoWorker: the original goes on to ask the worker "", and sends a second message.
func TestNoWorker(t *testing.T) {
	w := newWorld("")
	const sentence = `No worker serves the model "m" now. Start one, or choose another model.`
	w.want(t, "/worker_generate_stream", `{"model": "m"}`, string(llava.AppendMessage(nil, sentence, 2)))
}

// TestPassSlow: the client gets a byte every 2 seconds, also of a worker that sends none for 50.
func TestPassSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("")
		w.register(t, "http://localhost:2", false, "m", 1, 0)
		worker := answers("", "")
		worker["/worker_generate_stream"] = func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(51 * time.Second)
			w.Write(llava.AppendMessage(nil, "late", 0))
		}
		w.network.Serve("localhost:2", worker)
		want := strings.Repeat("\x00", 25) + string(llava.AppendMessage(nil, "late", 0))
		w.want(t, "/worker_generate_stream", `{"model": "m"}`, want)
	})
}

// TestPassLeave: a client that goes cancels its request at the worker.
func TestPassLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("")
		e := servetest.New("m")
		w.network.Serve("localhost:2", (&llava.Worker{Engine: e}).Routes())
		w.register(t, "http://localhost:2", false, "m", 1, 0)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		r := request("/worker_generate_stream", `{"model": "m", "prompt": "endless"}`)
		w.routes.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
		if err := e.WaitIdle(t.Context()); err != nil || e.Cancelled() != 1 {
			t.Error(err, e.Cancelled())
		}
		w.want(t, "/list_models", "", `{"models":["m"]}`)
		synctest.Wait()
	})
}
