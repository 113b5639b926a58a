package web_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llavatrain/llavatrain/serve/controller"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/llava/llavatest"
	"github.com/llavatrain/llavatrain/serve/openai"
	"github.com/llavatrain/llavatrain/serve/pictures"
	"github.com/llavatrain/llavatrain/serve/servetest"
	"github.com/llavatrain/llavatrain/serve/web"
)

// deployment is a controller, a worker and the web program.
type deployment struct {
	network llavatest.Network
	engine  *servetest.Engine
	worker  llava.Routes
	mux     *http.ServeMux
}

func deploy(t *testing.T, log *web.Log) *deployment {
	t.Helper()
	d := &deployment{engine: servetest.New("toy"), mux: http.NewServeMux()}
	client := d.network.Client()
	c := controller.New(controller.Settings{HTTP: client})
	d.network.Serve("localhost:1", c.Routes())
	d.worker = (&llava.Worker{Engine: d.engine, Pictures: pictures.NewDecoder()}).Routes()
	d.network.Serve("localhost:2", d.worker)
	at := llava.Peer{HTTP: client, Address: "http://localhost:1"}
	if err := at.Register(t.Context(), llava.Registration{Worker: "http://localhost:2"}); err != nil {
		t.Fatal(err)
	}
	site := web.New(web.Settings{Source: web.Workers(llava.NewFleet(at, nil)), Mode: web.Reload, Log: log})
	(&openai.API{Models: site, Pictures: pictures.NewDecoder(), Metrics: openai.NewMetrics()}).Register(d.mux)
	d.mux.Handle("/", site)
	return d
}

// chat asks by the API as the page does.
func (d *deployment) chat(t *testing.T, text, picture string) *httptest.ResponseRecorder {
	t.Helper()
	parts := []any{map[string]string{"type": "text", "text": text}}
	if picture != "" {
		parts = append(parts, map[string]any{"type": "image_url", "image_url": map[string]string{"url": picture}})
	}
	body, _ := json.Marshal(map[string]any{"model": "toy", "stream": true,
		"stream_options": map[string]bool{"include_usage": true}, "messages": []any{map[string]any{"role": "user",
			"content": parts}}})
	w := httptest.NewRecorder()
	d.mux.ServeHTTP(w, httptest.NewRequest("POST", "/v1/chat/completions", bytes.NewReader(body)))
	return w
}

// said is the text of a stream, and its usage.
func said(t *testing.T, stream io.Reader) (text string, usage string, done bool) {
	t.Helper()
	all, _ := io.ReadAll(stream)
	for line := range strings.Lines(string(all)) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			return text, usage, true
		}
		var event struct {
			Choices []struct{ Delta struct{ Content string } }
			Usage   json.RawMessage
			Error   struct{ Message string }
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			t.Fatal(err)
		}
		for _, c := range event.Choices {
			text += c.Delta.Content
		}
		if event.Usage != nil {
			usage = string(event.Usage)
		}
		text += event.Error.Message
	}
	return text, usage, false
}

// TestForward: the API of the web program answers by a worker, with usage, and logs.
func TestForward(t *testing.T) {
	inUTC(t)
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		log, err := web.OpenLog(dir, false, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		d := deploy(t, log)
		var file bytes.Buffer
		png.Encode(&file, image.NewRGBA(image.Rect(0, 0, 3, 2)))
		picture := "data:image/png;base64," + base64.StdEncoding.EncodeToString(file.Bytes())
		text, usage, done := said(t, d.chat(t, "what <image> is </s> this?", picture).Body)
		if text != "what <image> is </s> this?" || !done || !strings.Contains(usage, `"prompt_tokens":`) ||
			strings.Contains(usage, `"completion_tokens":0`) {
			t.Errorf("%q, %s, %v", text, usage, done)
		}
		if p := d.engine.Requests()[0].Pictures; len(p) != 1 || p[0].W != 3 || p[0].H != 2 {
			t.Errorf("%+v", p)
		}
		if got := read(t, dir, "2000-01-01"); !strings.Contains(got, `["USER","<image>\nwhat <image> is </s> this?"]`) {
			t.Error(got)
		}
		models := httptest.NewRecorder()
		d.mux.ServeHTTP(models, httptest.NewRequest("GET", "/v1/models", nil))
		if !strings.Contains(models.Body.String(), `"id":"toy"`) {
			t.Error(models.Body)
		}
	})
}

// TestForwardFaults: a worker's refusals and its end become statuses and sentences of the API.
func TestForwardFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deploy(t, nil)
		if got := d.chat(t, "refuse", ""); got.Code != 429 || got.Header().Get("Retry-After") != "2" ||
			!strings.Contains(got.Body.String(), "The queue is full; try again later.") {
			t.Errorf("%d, %v, %s", got.Code, got.Header(), got.Body)
		}
		text, _, done := said(t, d.chat(t, "fail", "").Body)
		if !strings.HasPrefix(text, "some wordsThe model failed") || done {
			t.Errorf("%q, %v", text, done)
		}
		generate := d.worker["/worker_generate_stream"]
		d.worker["/worker_generate_stream"] = func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"text":"","error_code":0,"llavatrain":{"Events":[{"Text":"half a"}]}}`+"\x00"+`{"te`)
			d.network.Serve("localhost:2", nil)
			panic(http.ErrAbortHandler)
		}
		began := time.Now()
		text, _, done = said(t, d.chat(t, "hello", "").Body)
		took := time.Since(began)
		if text != `half aThe worker of "toy" has broken off its answer. Ask again.` || done || took > 5*time.Second {
			t.Errorf("%q, %v, after %v", text, done, took)
		}
		synctest.Wait()
		page := httptest.NewRecorder()
		d.mux.ServeHTTP(page, httptest.NewRequest("GET", "/page/models", nil))
		if !strings.HasPrefix(page.Body.String(), `{"models":[]`) {
			t.Errorf("the dead worker is listed: %s", page.Body)
		}
		d.worker["/worker_generate_stream"] = generate
		d.network.Serve("localhost:3", d.worker)
		at := llava.Peer{HTTP: d.network.Client(), Address: "http://localhost:1"}
		if err := at.Register(t.Context(), llava.Registration{Worker: "http://localhost:3"}); err != nil {
			t.Fatal(err)
		}
		if text, _, done := said(t, d.chat(t, "hello", "").Body); text != "hello" || !done {
			t.Errorf("%q, %v", text, done)
		}
	})
}

// TestManyClients: none is lost.
func TestManyClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deploy(t, nil)
		ended := make(chan error, 200)
		for i := range 200 {
			go func() {
				want := fmt.Sprint("client ", i)
				text, _, done := said(t, d.chat(t, want, "").Body)
				if text != want || !done {
					ended <- fmt.Errorf("%s: %q, %v", want, text, done)
					return
				}
				ended <- nil
			}()
		}
		for range 200 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if err := d.engine.WaitIdle(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
