package controller_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/controller"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/llava/llavatest"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// world is a controller with workers on a network in memory.
type world struct {
	*controller.Controller
	network llavatest.Network
	routes  llava.Routes
	log     strings.Builder
}

func newWorld(dispatch controller.Dispatch) *world {
	w := &world{}
	w.Controller = controller.New(controller.Settings{Dispatch: dispatch, HTTP: w.network.Client(), Log: &w.log,
		Token: "right"})
	w.routes = w.Routes()
	w.network.Serve("localhost:1", w.routes)
	return w
}

// request is one of a program on the same machine.
func request(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:5000"
	return r
}

// ask posts a request, and returns status and body.
func (w *world) ask(path, body string) (int, string) {
	got := httptest.NewRecorder()
	w.routes.ServeHTTP(got, request(path, body))
	return got.Code, got.Body.String()
}

// want posts a request whose answer is known.
func (w *world) want(t *testing.T, path, body, want string) {
	t.Helper()
	if status, got := w.ask(path, body); status != 200 || got != want {
		t.Errorf("%s %s: %d, %s, not %s", path, body, status, got, want)
	}
}

// register adds a worker with a status.
func (w *world) register(t *testing.T, address string, beat bool, model string, speed, queue float64) {
	t.Helper()
	w.want(t, "/register_worker", fmt.Sprintf(`{"worker_name": %q, "check_heart_beat": %v, "worker_status": `+
		`{"model_names": [%q], "speed": %v, "queue_length": %v}}`, address, beat, model, speed, queue), "null")
}

// answers is a worker of the original: its status, and its stream.
func answers(status, stream string) llava.Routes {
	return llava.Routes{
		"/worker_get_status":      func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, status) },
		"/worker_generate_stream": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, stream) },
	}
}

// TestExchanges has the requests and answers of the original's controller (scripts/reference/serve_original.py).
func TestExchanges(t *testing.T) {
	w := newWorld("")
	w.network.Serve("localhost:3", answers(`{"model_names": ["b", "a"], "speed": 2, "queue_length": 1}`, ""))
	for _, step := range []struct{ path, body, want string }{
		{"/list_models", ``, `{"models":[]}`},
		{"/get_worker_address", `{"model": "a"}`, `{"address":""}`},
		{"/worker_get_status", ``, `{"model_names":[],"speed":0,"queue_length":0}`},
		{"/receive_heart_beat", `{"worker_name": "http://localhost:2", "queue_length": 0}`, `{"exist":false}`},
		{"/register_worker", `{"worker_name": "http://localhost:2", "check_heart_beat": true, "worker_status": ` +
			`{"model_names": ["a"], "speed": 1, "queue_length": 0}}`, `null`},
		{"/receive_heart_beat", `{"worker_name": "http://localhost:2", "queue_length": 5}`, `{"exist":true}`},
		{"/list_models", `{}`, `{"models":["a"]}`},
		{"/get_worker_address", `{"model": "a", "more": 1}`, `{"address":"http://localhost:2"}`},
		{"/get_worker_address", `{"model": "b"}`, `{"address":""}`},
		{"/register_worker", `{"worker_name": "http://localhost:3", "check_heart_beat": false}`, `null`},
		{"/register_worker", `{"worker_name": "http://localhost:4", "check_heart_beat": true, "worker_status": null}`,
			`null`}, // nobody answers there
		{"/list_models", `not JSON`, `{"models":["a","b"]}`},
		{"/get_worker_address", `{"model": "a"}`, `{"address":"http://localhost:3"}`},
		{"/worker_get_status", ``, `{"model_names":["b","a"],"speed":2,"queue_length":1}`},
		{"/refresh_all_workers", ``, `null`},
		{"/receive_heart_beat", `{"worker_name": "http://localhost:2", "queue_length": 0}`, `{"exist":false}`},
		{"/list_models", ``, `{"models":["a","b"]}`},
	} {
		w.want(t, step.path, step.body, step.want)
	}
	want := "The worker http://localhost:2 serves [\"a\"].\n" +
		"The worker http://localhost:3 serves [\"b\" \"a\"].\n" +
		"The worker http://localhost:4 does not answer, and is not registered.\n" +
		"The worker http://localhost:2 does not give its status and is dropped.\n"
	if diff := cmp.Diff(want, w.log.String()); diff != "" {
		t.Error(diff)
	}
}

func TestBadRequests(t *testing.T) {
	const status = `{"model_names": ["a"], "speed": 1, "queue_length": 0}`
	const address = "The worker_name is the worker's address, and "
	named := func(name string) string {
		return fmt.Sprintf(`{"worker_name": %q, "check_heart_beat": true, "worker_status": %s}`, name, status)
	}
	with := func(status string) string {
		return `{"worker_name": "http://localhost:2", "check_heart_beat": true, "worker_status": ` + status + `}`
	}
	for _, test := range []struct {
		path, body string
		status     int
		detail     string // begins so
	}{
		{"/register_worker", ``, 400, "The body of the request is not a JSON object."},
		{"/register_worker", `[]`, 400, "The body of the request is not a JSON object."},
		{"/register_worker", `null`, 400, "The body of the request is not a JSON object."},
		{"/register_worker", `{"worker_name": "http://localhost:2"}`, 400, `The request has no "check_heart_beat".`},
		{"/register_worker", `{"check_heart_beat": true}`, 400, `The request has no "worker_name".`},
		{"/register_worker", `{"worker_name": 5, "check_heart_beat": true}`, 400, `The value of "worker_name" has the`},
		{"/register_worker", `{"worker_name": "a", "check_heart_beat": "yes"}`, 400, `The value of "check_heart_beat"`},
		{"/register_worker", named("localhost:2"), 400, address + "must be of the form"},
		{"/register_worker", named("http://localhost"), 400, address + "must be of the form"},
		{"/register_worker", named("file:///etc/passwd"), 400, address + "must be of the form"},
		{"/register_worker", named("http://u:p@localhost:2"), 400, address + "must have no user"},
		{"/register_worker", named("http://localhost:2/?a=b"), 400, address + "must have no user"},
		{"/register_worker", named("http://localhost:2/#"), 400, address + "must have no user"},
		{"/register_worker", named("http://localhost:2/\n"), 400, address + "must be printable"},
		{"/register_worker", named("http://localhost:2/" + strings.Repeat("a", 200)), 400, "The worker_name is the"},
		{"/register_worker", named(""), 400, address + "must be printable"},
		{"/register_worker", named("http://10.0.0.9:2"), 403, "A worker on another machine"},
		{"/register_worker", named("http://localhost.evil.example:2"), 403, "A worker on another machine"},
		{"/register_worker", named("http://169.254.169.254:80"), 403, "A worker on another machine"},
		{"/register_worker", with(`[]`), 400, "The body of the request is not a JSON object."},
		{"/register_worker", with(`{"speed": 1, "queue_length": 0}`), 400, `The request has no "model_names".`},
		{"/register_worker", with(`{"model_names": ["a"], "queue_length": 0}`), 400, `The request has no "speed".`},
		{"/register_worker", with(`{"model_names": "a", "speed": 1, "queue_length": 0}`), 400,
			`The value of "model_names" has the wrong type.`},
		{"/register_worker", with(`{"model_names": ["a\u0007"], "speed": 1, "queue_length": 0}`), 400,
			"The worker names a model whose name must be printable"},
		{"/register_worker", with(`{"model_names": [""], "speed": 1, "queue_length": 0}`), 400,
			"The worker names a model whose name must have 1 to 200 characters"},
		{"/register_worker", with(`{"model_names": ["a"], "speed": -1, "queue_length": 0}`), 400,
			"The worker says a speed or queue_length that is less than 0"},
		{"/register_worker", with(`{"model_names": ["a"], "speed": 1, "queue_length": -1}`), 400,
			"The worker says a speed or queue_length that is less than 0"},
		{"/get_worker_address", `{}`, 400, `The request has no "model".`},
		{"/get_worker_address", `{"model": 5}`, 400, `The value of "model" has the wrong type.`},
		{"/receive_heart_beat", `{"worker_name": "a"}`, 400, `The request has no "queue_length".`},
		{"/receive_heart_beat", `{"worker_name": "a", "queue_length": "b"}`, 400, `The value of "queue_length"`},
		{"/receive_heart_beat", `{"worker_name": "a", "queue_length": -1}`, 400, "The queue_length must be 0 or more."},
		{"/worker_generate_stream", `{"prompt": "a"}`, 400, `The request has no "model".`},
		{"/worker_generate_stream", `{"prompt": "a"`, 400, "The body of the request is not a JSON object."},
		{"/nothing", ``, 404, "Not Found"},
	} {
		w := newWorld("")
		code, body := w.ask(test.path, test.body)
		var said struct{ Detail string }
		json.Unmarshal([]byte(body), &said)
		if code != test.status || !strings.HasPrefix(said.Detail, test.detail) {
			t.Errorf("%s %s: %d, %s", test.path, test.body, code, body)
		}
		if calls := w.network.Calls(); len(calls) > 0 {
			t.Errorf("%s: %s was asked", test.body, calls)
		}
		w.want(t, "/list_models", "", `{"models":[]}`)
	}
}

// TestTrust: who may name which worker.
func TestTrust(t *testing.T) {
	for _, test := range []struct {
		peer, worker, token string
		status              int
	}{
		{"127.0.0.1:5", "http://localhost:2", "", 200},
		{"127.0.0.1:5", "http://[::1]:2", "", 200},
		{"[::1]:5", "https://127.1.2.3:2/path", "", 200},
		{"127.0.0.1:5", "http://10.0.0.9:2", "", 403},
		{"127.0.0.1:5", "http://10.0.0.9:2", "wrong", 403},
		{"127.0.0.1:5", "http://10.0.0.9:2", "right", 200},
		{"10.0.0.9:5", "http://10.0.0.9:2", "", 403},
		{"10.0.0.9:5", "http://localhost:2", "", 403},
		{"10.0.0.9:5", "http://10.0.0.9:2", "right", 200},
	} {
		w := newWorld("")
		r := request("/register_worker", fmt.Sprintf(`{"worker_name": %q, "check_heart_beat": true, "worker_status": `+
			`{"model_names": ["a"], "speed": 1, "queue_length": 0}}`, test.worker))
		r.RemoteAddr = test.peer
		r.Header.Set("Authorization", "Bearer "+test.token)
		got := httptest.NewRecorder()
		w.routes.ServeHTTP(got, r)
		if got.Code != test.status {
			t.Errorf("%+v: %d, %s", test, got.Code, got.Body)
		}
	}
}

func TestShortestQueue(t *testing.T) {
	w := newWorld(controller.ShortestQueue)
	w.register(t, "http://localhost:2", true, "m", 1, 0)
	w.register(t, "http://localhost:3", true, "m", 1, 3)
	w.register(t, "http://localhost:4", true, "m", 0, 0) // without speed: never
	w.register(t, "http://localhost:5", true, "other", 9, 0)
	chosen := ""
	for range 8 {
		_, body := w.ask("/get_worker_address", `{"model": "m"}`)
		chosen += map[string]string{`{"address":"http://localhost:2"}`: "A",
			`{"address":"http://localhost:3"}`: "B"}[body]
	}
	if chosen != "AAAABABA" { // as the original's controller
		t.Error(chosen)
	}
	w.want(t, "/receive_heart_beat", `{"worker_name": "http://localhost:3", "queue_length": 0}`, `{"exist":true}`)
	w.want(t, "/get_worker_address", `{"model": "m"}`, `{"address":"http://localhost:3"}`)
	w.register(t, "http://localhost:2", true, "m", 100, 50) // half a request for the speed
	w.want(t, "/get_worker_address", `{"model": "m"}`, `{"address":"http://localhost:2"}`)
}

func TestLottery(t *testing.T) {
	w := newWorld(controller.Lottery)
	w.register(t, "http://localhost:2", true, "m", 1, 1e9)
	w.register(t, "http://localhost:3", true, "m", 3, 0)
	w.register(t, "http://localhost:4", true, "m", 0, 0)
	w.register(t, "http://localhost:5", true, "slow", 0.00005, 0)
	counts := map[string]int{}
	for range 4000 {
		_, body := w.ask("/get_worker_address", `{"model": "m"}`)
		counts[body]++
	}
	if n := counts[`{"address":"http://localhost:2"}`]; n < 800 || n > 1200 || len(counts) != 2 { // 7 deviations
		t.Error(counts)
	}
	w.want(t, "/get_worker_address", `{"model": "slow"}`, `{"address":""}`)
	w.want(t, "/get_worker_address", `{"model": "none"}`, `{"address":""}`)
}

func TestParseDispatch(t *testing.T) {
	for name, want := range map[string]controller.Dispatch{"": "shortest_queue", "lottery": "lottery",
		"shortest_queue": "shortest_queue", "fastest": ""} {
		if got, err := controller.ParseDispatch(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// TestExpiry: a worker without beats is dropped 30 to 60 seconds after its last one.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("")
		w.network.Serve("localhost:5", answers(`{"model_names":["refreshed"],"speed":1,"queue_length":0}`, ""))
		ctx, cancel := context.WithCancel(t.Context())
		go w.Run(ctx)
		time.Sleep(10 * time.Second)
		w.register(t, "http://localhost:2", true, "silent", 1, 0)
		w.register(t, "http://localhost:3", false, "unchecked", 1, 0)
		w.register(t, "http://localhost:4", true, "beating", 1, 0)
		w.register(t, "http://localhost:5", true, "refreshed", 1, 0)
		time.Sleep(19 * time.Second) // 29 s
		w.want(t, "/receive_heart_beat", `{"worker_name": "http://localhost:4", "queue_length": 0}`, `{"exist":true}`)
		w.want(t, "/list_models", "", `{"models":["beating","refreshed","silent","unchecked"]}`)
		time.Sleep(30*time.Second + time.Second/2) // 59.5 s: nobody has looked
		w.want(t, "/list_models", "", `{"models":["beating","refreshed","silent","unchecked"]}`)
		time.Sleep(time.Second) // 60.5 s: the beat of second 29 is too old as well
		w.want(t, "/list_models", "", `{"models":["unchecked"]}`)
		w.register(t, "http://localhost:2", true, "silent", 1, 0)
		time.Sleep(29 * time.Second) // 89.5 s
		w.want(t, "/receive_heart_beat", `{"worker_name": "http://localhost:2", "queue_length": 0}`, `{"exist":true}`)
		time.Sleep(2 * time.Second)
		w.want(t, "/list_models", "", `{"models":["silent","unchecked"]}`)
		cancel()
	})
}

// hanging takes requests and does not answer.
var hanging = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })

// TestRefreshIsABeat: a refresh counts as a beat, and does not lose who registers meanwhile.
func TestRefreshIsABeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("")
		go w.Run(t.Context())
		slow := answers(`{"model_names":["slow"],"speed":1,"queue_length":7}`, "")
		status := slow["/worker_get_status"]
		slow["/worker_get_status"] = func(rw http.ResponseWriter, r *http.Request) {
			time.Sleep(4 * time.Second)
			status(rw, r)
		}
		w.network.Serve("localhost:2", slow)
		w.register(t, "http://localhost:2", true, "slow", 1, 0)
		w.register(t, "http://localhost:3", true, "hanging", 1, 0)
		w.network.Serve("localhost:3", hanging)
		time.Sleep(25 * time.Second)
		var asked atomic.Int32
		for range 3 { // three pages are loaded at once
			go func() {
				w.want(t, "/refresh_all_workers", "", "null")
				asked.Add(1)
			}()
		}
		time.Sleep(2 * time.Second)
		w.register(t, "http://localhost:4", true, "new", 1, 0)
		w.want(t, "/list_models", "", `{"models":["hanging","new","slow"]}`) // nobody is lost while others are asked
		time.Sleep(4 * time.Second)
		if asked.Load() != 3 {
			t.Error("a refresh takes longer than 5 seconds")
		}
		w.want(t, "/list_models", "", `{"models":["new","slow"]}`)
		time.Sleep(14 * time.Second) // 45 s
		w.want(t, "/receive_heart_beat", `{"worker_name": "http://localhost:4", "queue_length": 0}`, `{"exist":true}`)
		time.Sleep(16 * time.Second) // 61 s: one expiry at 30 s and one at 60 s
		w.want(t, "/list_models", "", `{"models":["new"]}`)
		if n := strings.Count(strings.Join(w.network.Calls(), "\n"), "localhost:2/worker_get_status"); n != 1 {
			t.Errorf("%d status calls", n)
		}
	})
}

func TestManyWorkers(t *testing.T) {
	w := newWorld("")
	for port := range 256 {
		w.register(t, fmt.Sprintf("http://localhost:%d", port+1000), true, "m", 1, 0)
	}
	code, body := w.ask("/register_worker", `{"worker_name": "http://localhost:2", "check_heart_beat": true,
		"worker_status": {"model_names": ["m"], "speed": 1, "queue_length": 0}}`)
	if code != 503 || !strings.Contains(body, "256 workers") {
		t.Error(code, body)
	}
	w.register(t, "http://localhost:1000", true, "again", 1, 0)
}

// TestDetails: what our workers say of their models is for our page.
func TestDetails(t *testing.T) {
	w := newWorld("")
	for _, address := range []string{"http://localhost:2", "http://localhost:3"} {
		status := llava.StatusOf(servetest.New("toy"))
		status.Queue = 2
		text, _ := json.Marshal(llava.Registration{Worker: address, Status: &status})
		w.want(t, "/register_worker", string(text), "null")
	}
	e := servetest.New("here")
	w.AddLocal("http://localhost:1", func() llava.Status { return llava.StatusOf(e) })
	w.want(t, "/list_models", "", `{"models":["here","toy"],"llavatrain":{`+
		`"here":{"template":"vicuna_v1","image_tokens":16,"max_positions":2048,"multimodal":true,"max_tokens":2000,`+
		`"stop_text":"\u003c/s\u003e","created":1700000000,"queue_length":0},`+
		`"toy":{"template":"vicuna_v1","image_tokens":16,"max_positions":2048,"multimodal":true,"max_tokens":2000,`+
		`"stop_text":"\u003c/s\u003e","created":1700000000,"queue_length":4}}}`)
	w.want(t, "/refresh_all_workers", "", "null") // nobody answers for the toys
	w.want(t, "/get_worker_address", `{"model":"here"}`, `{"address":"http://localhost:1"}`)
	w.want(t, "/get_worker_address", `{"model":"toy"}`, `{"address":""}`)
}

// TestCircle: a controller that is registered with itself answers, and is not asked for ever.
func TestCircle(t *testing.T) {
	w := newWorld("")
	w.register(t, "http://localhost:1", false, "m", 1, 0)
	w.want(t, "/worker_get_status", "", `{"model_names":[],"speed":0,"queue_length":0}`)
	if n := len(w.network.Calls()); n > 4 {
		t.Errorf("%d calls", n)
	}
	code, body := w.ask("/worker_generate_stream", `{"model": "m"}`)
	if code != 200 || !strings.HasSuffix(body, `"error_code": 3}`+"\x00") {
		t.Errorf("%d, %q", code, body)
	}
}

// TestTower: a controller may be a worker of another one.
func TestTower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		low, high := newWorld(""), newWorld("")
		e := servetest.New("toy")
		low.network.Serve("localhost:2", (&llava.Worker{Engine: e}).Routes())
		high.network.Serve("localhost:8", low.routes)
		low.want(t, "/register_worker", `{"worker_name": "http://localhost:2", "check_heart_beat": false}`, "null")
		high.want(t, "/register_worker", `{"worker_name": "http://localhost:8", "check_heart_beat": false}`, "null")
		high.want(t, "/list_models", "", `{"models":["toy"]}`)
		fleet := llava.NewFleet(llava.Peer{HTTP: high.network.Client(), Address: "http://localhost:1"},
			func(template string, messages []serve.Message) (string, string, error) {
				return "USER: " + messages[0].Text + " ASSISTANT:", "</s>", nil
			})
		list, err := fleet.List(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatal(err)
		}
		reply, err := list[0].Submit(serve.Request{Messages: []serve.Message{{Role: "user", Text: "one two"}}})
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Close()
		text := ""
		for err == nil {
			var events []serve.Event
			events, err = reply.Next(t.Context())
			for _, e := range events {
				text += e.Text
			}
		}
		if err != io.EOF || text != "one two" {
			t.Error(text, err)
		}
		if slices.Contains(high.network.Calls(), "localhost:2/worker_get_status") {
			t.Error("the upper controller asked the lower one's worker")
		}
	})
}
