package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/serve/controller"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/llava/llavatest"
	"github.com/llavatrain/llavatrain/serve/servetest"
	"github.com/llavatrain/llavatrain/serve/web"
)

// ask asks a site.
func ask(s *web.Site, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.5:1234"
	s.ServeHTTP(w, r)
	return w
}

// source is a list that tests change, and counts how often it was asked.
type source struct {
	models []web.Model
	err    error
	asked  int
}

func (s *source) list(context.Context) ([]web.Model, error) {
	s.asked++
	return s.models, s.err
}

func engines(names ...string) (list []web.Model) {
	for _, name := range names {
		list = append(list, web.Model{Engine: servetest.New(name), Known: true})
	}
	return list
}

// names are the models of page/models, the selected one with a star.
func names(t *testing.T, w *httptest.ResponseRecorder) (list []string) {
	t.Helper()
	var page struct {
		Models   []struct{ ID string }
		Selected string
	}
	if w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &page) != nil {
		t.Fatalf("%d, %s", w.Code, w.Body)
	}
	for _, m := range page.Models {
		if m.ID == page.Selected {
			m.ID += "*"
		}
		list = append(list, m.ID)
	}
	return list
}

func TestPageModels(t *testing.T) {
	e := servetest.New("toy")
	s := web.New(web.Settings{Source: web.Here(e), Embed: true})
	got := ask(s, "GET", "/page/models", "")
	want := `{"models":[{"id":"toy","known":true,"template":"vicuna_v1","images":true,"image_tokens":16,` +
		`"max_positions":2048,"queue":0}],"selected":"toy","votes":false,"embed":true,"pictures":8,` +
		`"picture_bytes":16777216,"pixels":50000000,"body_bytes":25165824}`
	if got.Code != 200 || got.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d, %v", got.Code, got.Header())
	}
	var wanted, said any
	json.Unmarshal([]byte(want), &wanted)
	json.Unmarshal(got.Body.Bytes(), &said)
	if diff := cmp.Diff(wanted, said); diff != "" {
		t.Error(diff)
	}
}

// TestModes: with once, models are listed at the start; with reload, whenever the page is loaded.
func TestModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, mode := range []web.ListMode{web.Once, web.Reload} {
			from := &source{err: errors.New("does not answer")}
			s := web.New(web.Settings{Source: from.list, Mode: mode})
			if err := s.Load(t.Context()); err == nil {
				t.Error("no error")
			}
			got := ask(s, "GET", "/page/models", "")
			const sentence = `"The controller of the models does not answer.`
			if got.Code != 502 || !strings.Contains(got.Body.String(), sentence) {
				t.Errorf("%d, %s", got.Code, got.Body)
			}
			from.err, from.models = nil, engines("a", "b")
			if diff := cmp.Diff([]string{"a*", "b"}, names(t, ask(s, "GET", "/page/models", ""))); diff != "" {
				t.Error(diff)
			}
			from.models = engines("b", "c")
			wants := map[web.ListMode][]string{web.Once: {"a", "b*"}, web.Reload: {"b*", "c"}}
			if diff := cmp.Diff(wants[mode], names(t, ask(s, "GET", "/page/models?model=b", ""))); diff != "" {
				t.Error(diff)
			}
			wants = map[web.ListMode][]string{web.Once: {"a*", "b"}, web.Reload: {"b*", "c"}}
			if diff := cmp.Diff(wants[mode], names(t, ask(s, "GET", "/page/models?model=none", ""))); diff != "" {
				t.Error(diff)
			}
			if n := map[web.ListMode]int{web.Once: 3, web.Reload: 5}[mode]; from.asked != n {
				t.Errorf("%s: asked %d times", mode, from.asked)
			}
			if e, ok := s.Find("b"); !ok || e.Model().Name != "b" || len(s.List()) != 2 {
				t.Error(ok, s.List())
			}

			from.models, from.asked = engines("b", "new"), 0
			for range 3 { // a name that is not served does not have all workers asked each time
				if _, ok := s.Find("none"); ok || from.asked != 0 {
					t.Error(ok, from.asked)
				}
			}
			time.Sleep(6 * time.Second)
			if _, ok := s.Find("new"); ok != (mode == web.Reload) {
				t.Error(mode, ok)
			}
		}
	})
}

func TestParseListMode(t *testing.T) {
	for name, want := range map[string]web.ListMode{"": "once", "once": "once", "reload": "reload", "never": ""} {
		if got, err := web.ParseListMode(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// TestWorkers lists a controller's models: one of our workers, one of the original's.
func TestWorkers(t *testing.T) {
	n := new(llavatest.Network)
	c := controller.New(controller.Settings{HTTP: n.Client()})
	n.Serve("localhost:1", c.Routes())
	n.Serve("localhost:3", llava.Routes{"/worker_get_status": func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"model_names": ["llava-v1.6-mistral-7b"], "speed": 1, "queue_length": 2}`))
	}})
	n.Serve("localhost:2", (&llava.Worker{Engine: servetest.New("toy")}).Routes())
	for _, address := range []string{"http://localhost:2", "http://localhost:3"} {
		if err := (llava.Peer{HTTP: n.Client(), Address: "http://localhost:1"}).Register(t.Context(),
			llava.Registration{Worker: address, CheckBeat: true}); err != nil {
			t.Fatal(err)
		}
	}
	fleet := llava.NewFleet(llava.Peer{HTTP: n.Client(), Address: "http://localhost:1"}, nil)
	s := web.New(web.Settings{Source: web.Workers(fleet), Mode: web.Reload})
	want := `{"models":[{"id":"llava-v1.6-mistral-7b","known":false,"template":"mistral_instruct","images":true,` +
		`"image_tokens":0,"max_positions":0,"queue":2},{"id":"toy","known":true,"template":"vicuna_v1","images":true,` +
		`"image_tokens":16,"max_positions":2048,"queue":0}],"selected":"llava-v1.6-mistral-7b"`
	if got := ask(s, "GET", "/page/models", "").Body.String(); !strings.HasPrefix(got, want) {
		t.Error(got)
	}
}

func TestFiles(t *testing.T) {
	s := web.New(web.Settings{Source: web.Here(servetest.New("toy"))})
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/index.html": "text/html; charset=utf-8",
		"/app.js": "text/javascript; charset=utf-8", "/style.css": "text/css; charset=utf-8"} {
		got := ask(s, "GET", path, "")
		header := got.Header()
		if got.Code != 200 || header.Get("Content-Type") != kind || got.Body.Len() < 100 {
			t.Errorf("%s: %d, %v", path, got.Code, header)
		}
		if header.Get("Content-Security-Policy") != "default-src 'self'; img-src 'self' data: blob:; "+
			"object-src 'none'; frame-ancestors 'none'; base-uri 'none'" ||
			header.Get("X-Content-Type-Options") != "nosniff" ||
			header.Get("Referrer-Policy") != "no-referrer" || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", path, header)
		}
		again := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("If-None-Match", header.Get("ETag"))
		s.ServeHTTP(again, r)
		if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("%s: %d", path, again.Code)
		}
	}
}

func TestHandles(t *testing.T) {
	s := web.New(web.Settings{})
	for target, want := range map[string][2]bool{ // Handles, IsFile
		"GET /": {true, true}, "HEAD /app.js": {true, true}, "POST /": {false, false},
		"GET /page/models": {true, false}, "POST /page/vote": {true, false}, "GET /v1/models": {false, false},
		"GET /page/index.html": {false, false},
		"GET /../doc.go":       {false, false}, "GET /page": {false, false}, "POST /worker_get_status": {false, false},
	} {
		method, path, _ := strings.Cut(target, " ")
		r := httptest.NewRequest(method, "/", nil)
		r.URL.Path = path
		if got := [2]bool{s.Handles(r), web.IsFile(r)}; got != want {
			t.Errorf("%s: %v", target, got)
		}
	}
	for target, status := range map[string]int{"POST /page/models": 405, "GET /page/vote": 405, "GET /nothing": 404} {
		method, path, _ := strings.Cut(target, " ")
		if got := ask(s, method, path, ""); got.Code != status {
			t.Errorf("%s: %d", target, got.Code)
		}
	}
}
