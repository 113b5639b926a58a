package llava_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/llava/llavatest"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// vicuna writes a prompt as the original's template of that name.
func vicuna(template string, messages []serve.Message) (prompt, stop string, err error) {
	if template == "mistral_orca" {
		return "", "", errors.New("There is no such template.")
	}
	prompt = template
	for _, m := range messages {
		prompt += " " + map[string]string{"user": "USER", "assistant": "ASSISTANT", "system": "SYSTEM"}[m.Role] + ": " +
			strings.Repeat("<image>\n", m.Pictures) + m.Text
	}
	return prompt + " ASSISTANT:", "</s>", nil
}

// controller answers as one whose workers are all at the address.
func controller(address string, models ...string) llava.Routes {
	return llava.Routes{
		"/refresh_all_workers": func(w http.ResponseWriter, r *http.Request) { llava.WriteJSON(w, nil) },
		"/list_models": func(w http.ResponseWriter, r *http.Request) {
			llava.WriteJSON(w, map[string]any{"models": models})
		},
		"/get_worker_address": func(w http.ResponseWriter, r *http.Request) {
			llava.WriteJSON(w, map[string]string{"address": address})
		},
	}
}

// original answers as the original's worker with the model, with the stream.
func original(model, stream string) llava.Routes {
	return llava.Routes{
		"/worker_get_status": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"model_names":[%q],"speed":1,"queue_length":0}`, model)
		},
		"/worker_generate_stream": func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(stream))
			if strings.HasSuffix(stream, "BREAK") {
				panic(http.ErrAbortHandler)
			}
		},
	}
}

// remote is the only model of a controller whose worker is the handler.
func remote(t *testing.T, worker http.Handler, name string) (*llava.Remote, *llavatest.Network) {
	t.Helper()
	n := new(llavatest.Network)
	n.Serve("controller:1", controller("http://worker:2", name))
	n.Serve("worker:2", worker)
	fleet := llava.NewFleet(llava.Peer{HTTP: n.Client(), Address: "http://controller:1/"}, vicuna)
	list, err := fleet.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatal(err, list)
	}
	return list[0], n
}

// ask reads a whole answer.
func ask(t *testing.T, e serve.Engine, r serve.Request) (texts map[int]string, events []serve.Event, err error) {
	t.Helper()
	reply, err := e.Submit(r)
	if err != nil {
		return nil, nil, err
	}
	defer reply.Close()
	texts = map[int]string{}
	for {
		some, err := reply.Next(t.Context())
		for _, e := range some {
			texts[e.Choice] += e.Text
		}
		events = append(events, some...)
		if err == io.EOF {
			return texts, events, nil
		}
		if err != nil {
			return texts, events, err
		}
	}
}

func user(text string, pictures int) serve.Request {
	r := serve.Request{Messages: []serve.Message{{Role: "user", Text: text, Pictures: pictures}}}
	for range pictures {
		r.Pictures = append(r.Pictures, &picture.RGB{W: 2, H: 1, Pix: []uint8{1, 2, 3, 4, 5, 6}})
	}
	return r
}

// TestOwn: over a worker of ours an answer is the same as from its engine.
func TestOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := int64(math.MaxInt64)
		for _, r := range []serve.Request{
			user("what <image> is </s> this?", 2), user(servetest.Poem, 0), user("queue a b", 0),
			{Client: "token", Messages: []serve.Message{{Role: "system", Text: "s"}, {Role: "user", Text: "é a b"}},
				Sampling: serve.Sampling{MaxTokens: 2, Temperature: 0.3, TopP: 0.4, TopK: 5, MinP: 0.1, Seed: &seed,
					RepetitionPenalty: 1.1, Choices: 3, Stop: []string{"b"}, StopTokens: []int32{7}, IgnoreEnd: true,
					Logprobs: true, TopLogprobs: 2}},
		} {
			e, direct := servetest.New("toy"), servetest.New("toy")
			far, _ := remote(t, newWorker(e).Routes(), "toy")
			wantTexts, wantEvents, err := ask(t, direct, r)
			if err != nil {
				t.Fatal(err)
			}
			texts, events, err := ask(t, far, r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantTexts, texts) + cmp.Diff(wantEvents, events); diff != "" {
				t.Error(diff)
			}
			got := e.Requests()[0]
			if r.Client != "" && got.Client != "127.0.0.1 token" {
				t.Errorf("the client is %q", got.Client)
			}
			if got.Client = r.Client; r.Sampling.Seed == nil {
				got.Sampling.Seed = nil
			}
			if diff := cmp.Diff(r, got); diff != "" {
				t.Error(diff)
			}
			if m := far.Model(); !m.Created.Equal(direct.Served.Created) {
				t.Errorf("%+v", m)
			} else if m.Created = direct.Served.Created; m != direct.Served {
				t.Errorf("%+v", m)
			}
		}
	})
}

// TestOwnRefusals: a refusal of the worker's engine comes as it was.
func TestOwnRefusals(t *testing.T) {
	far, _ := remote(t, newWorker(servetest.New("toy")).Routes(), "toy")
	_, _, want := ask(t, servetest.New("toy"), user("refuse", 0))
	_, _, got := ask(t, far, user("refuse", 0))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, events, err := ask(t, far, user("fail", 0))
	refusal := new(serve.Refusal)
	if !errors.As(err, &refusal) || refusal.Reason != serve.Failed || strings.Contains(err.Error(), "/secret") ||
		len(events) != 2 {
		t.Errorf("%v, %v", err, events)
	}
}

// TestOwnLies: a worker that only says that it is ours must not send what an engine does not.
func TestOwnLies(t *testing.T) {
	for _, events := range []string{`[{"Choice": 1, "Text": "a"}]`, `[{"Choice": -1}]`, `[{"Place": -1}]`, `[{}]`} {
		worker := original("toy", `{"text": "", "error_code": 0, "llavatrain": {"Events": `+events+`}}`+"\x00")
		worker["/worker_get_status"] = newWorker(servetest.New("toy")).Routes()["/worker_get_status"]
		far, _ := remote(t, worker, "toy")
		_, _, err := ask(t, far, user("hello", 0))
		if err == nil || err.Error() != `The worker of "toy" has broken off its answer. Ask again.` {
			t.Errorf("%s: %v", events, err)
		}
	}
}

// TestOwnChecks: what our programs do not send, others may.
func TestOwnChecks(t *testing.T) {
	for _, body := range []string{
		`{}`,
		`{"Messages": [{"Role": "tool", "Text": "a"}]}`,
		`{"Messages": [{"Role": "user", "Pictures": -1}, {"Role": "user", "Pictures": 1}]}`,
		`{"Messages": [{"Role": "user", "Pictures": 1}]}`,
		`{"Messages": [{"Role": "user"}], "Sampling": {"Temperature": 3}}`,
		`{"Messages": [{"Role": "user"}], "Sampling": {"TopP": -1}}`,
		`{"Messages": [{"Role": "user"}], "Sampling": {"Choices": 17}}`,
		`{"Messages": [{"Role": "user"}], "Sampling": {"TopLogprobs": 21}}`,
		`{"Messages": [{"Role": "user"}], "Sampling": {"MaxTokens": -1}}`,
		`{"Messages": [{"Role": "user"}], "Client": "` + strings.Repeat("a", 300) + `"}`,
	} {
		e := servetest.New("toy")
		got := post(newWorker(e).Routes(), "/worker_generate_stream", `{"prompt": "", "llavatrain": `+body+`}`)
		if _, code := last(got.Body.Bytes()); code != 1 || len(e.Requests()) != 0 {
			t.Errorf("%s: %d, %d requests", body, code, len(e.Requests()))
		}
	}
}

// TestForeign reads streams of the original's workers.
func TestForeign(t *testing.T) {
	const prompt = "llava_v1 USER: hello ASSISTANT:"
	message := func(text string) string { return string(llava.AppendMessage(nil, prompt+text, 0)) }
	for _, test := range []struct {
		name, stream, want string
		reason             serve.Reason // with err
		err                string       // begins so
	}{
		{"an answer", message(" A") + message(" A tree") + message(" A tree"), "A tree", 0, ""},
		{"keep-alives", "\x00\x00" + message("a") + "\x00", "a", 0, ""},
		{"no last NUL", strings.TrimSuffix(message("a"), "\x00"), "a", 0, ""},
		{"a stop text", message("a") + message("a</s> USER: b"), "a", 0, ""},
		{"the stop text taken back", message("a</") + message("a"), "a", 0, ""},
		{"an empty answer", message(""), "", 0, ""},
		{"no message", "", "", serve.Failed, `The worker of "llava-v1" has broken off its answer.`},
		{"half a message", message("a") + message("a b")[:20] + "BREAK", "a", serve.Failed, "The worker of"},
		{"a worker killed", message("a") + "BREAK", "a", serve.Failed, "The worker of"},
		{"no JSON", "Internal Server Error", "", serve.Failed, "The worker of"},
		{"too long", message("Exceeds max token length. Please start a new conversation, thanks."), "",
			serve.ContextFull, "Exceeds max token length"},
		{"one sentence for all", string(llava.AppendMessage(nil,
			"**NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE.**", 1)), "", serve.Failed,
			`The worker of "llava-v1" failed with code 1. It does not say why`},
		{"a sentence", message("a") + string(llava.AppendMessage(nil, "Out of memory.", 3)), "a", serve.Failed,
			`The worker of "llava-v1" failed with code 3. It says: Out of memory.`},
		{"an endless message", strings.Repeat("a", 9<<20), "", serve.Failed,
			`The worker of "llava-v1" has sent a message`},
	} {
		t.Run(test.name, func(t *testing.T) {
			far, _ := remote(t, original("llava-v1", test.stream), "llava-v1")
			texts, events, err := ask(t, far, user("hello", 0))
			refusal := new(serve.Refusal)
			switch {
			case texts[0] != test.want:
				t.Errorf("%q, %v", texts[0], err)
			case test.err == "" && (err != nil || events[len(events)-1].Finish != serve.Stopped):
				t.Errorf("%v, %+v", err, events)
			case test.err != "" && (!errors.As(err, &refusal) || refusal.Reason != test.reason ||
				!strings.HasPrefix(err.Error(), test.err)):
				t.Errorf("%v", err)
			}
			if far.Own || far.Model().Template != "llava_v1" || !far.Model().Images {
				t.Errorf("%+v", far)
			}
		})
	}
}

// TestForeignRequest: the original's worker gets what its web program sends.
func TestForeignRequest(t *testing.T) {
	var got map[string]any
	worker := original("llava-v1", string(llava.AppendMessage(nil, "", 0)))
	worker["/worker_generate_stream"] = func(w http.ResponseWriter, r *http.Request) {
		json.NewDecoder(r.Body).Decode(&got)
		w.Write(llava.AppendMessage(nil, got["prompt"].(string)+"x", 0))
	}
	far, _ := remote(t, worker, "llava-v1")
	q := user("what?", 1)
	q.Pictures[0] = &picture.RGB{W: 2000, H: 1000, Pix: make([]uint8, 3*2000*1000)}
	q.Sampling = serve.Sampling{Temperature: 0.2, TopP: 0.7, MaxTokens: 512}
	if texts, _, err := ask(t, far, q); err != nil || texts[0] != "x" {
		t.Fatal(texts, err)
	}
	images := got["images"].([]any)
	file, _ := base64.StdEncoding.DecodeString(images[0].(string))
	if p, err := picture.Decode(file); err != nil || p.W != 1344 || p.H != 672 {
		t.Errorf("%v", err)
	}
	delete(got, "images")
	want := map[string]any{"model": "llava-v1", "prompt": "llava_v1 USER: <image>\nwhat? ASSISTANT:",
		"temperature": 0.2, "top_p": 0.7, "max_new_tokens": 512.0, "stop": "</s>"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestForeignRefusals are requests that the original's protocol cannot say.
func TestForeignRefusals(t *testing.T) {
	sampled := func(s serve.Sampling) serve.Request {
		r := user("hello", 0)
		r.Sampling = s
		return r
	}
	for field, r := range map[string]serve.Request{
		"n":                  sampled(serve.Sampling{Choices: 2}),
		"logprobs":           sampled(serve.Sampling{Logprobs: true}),
		"top_k":              sampled(serve.Sampling{TopK: 1}),
		"min_p":              sampled(serve.Sampling{MinP: 0.1}),
		"repetition_penalty": sampled(serve.Sampling{RepetitionPenalty: 2}),
		"ignore_eos":         sampled(serve.Sampling{IgnoreEnd: true}),
		"stop_token_ids":     sampled(serve.Sampling{StopTokens: []int32{1}}),
		"messages":           user("what is <image>?", 0),
	} {
		far, n := remote(t, original("llava-v1", ""), "llava-v1")
		_, err := far.Submit(r)
		refusal := new(serve.Refusal)
		if !errors.As(err, &refusal) || refusal.Reason != serve.Invalid || refusal.Field != field {
			t.Errorf("%s: %v", field, err)
		}
		for _, call := range n.Calls() {
			if strings.Contains(call, "generate") {
				t.Error(call)
			}
		}
	}
	blind, _ := remote(t, original("vicuna", ""), "vicuna")
	_, err := blind.Submit(user("what?", 1))
	if err == nil || !strings.HasPrefix(err.Error(), "This model does not look") {
		t.Error(err)
	}
	orca, _ := remote(t, original("llava-mistral-orca", ""), "llava-mistral-orca")
	if _, err := orca.Submit(user("what?", 0)); err == nil || err.Error() != "There is no such template." {
		t.Error(err)
	}
}

// TestUnready has controllers and workers that fail before the answer.
func TestUnready(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(n *llavatest.Network)
		want   string
	}{
		{"no controller", func(n *llavatest.Network) { n.Serve("controller:1", nil) },
			"The controller of the workers does not answer."},
		{"no worker", func(n *llavatest.Network) { n.Serve("controller:1", controller("", "toy")) },
			`No worker serves the model "toy" now.`},
		{"a dead worker", func(n *llavatest.Network) { n.Serve("controller:1", controller("http://nobody:3", "toy")) },
			`The worker of "toy" does not answer. Ask again in a minute`},
		{"a worker that lies", func(n *llavatest.Network) {
			n.Serve("controller:1", controller("http://other:3", "toy"))
			n.Serve("other:3", original("other", ""))
		}, `The worker for "toy" says that it serves other models.`},
		{"an address that is none", func(n *llavatest.Network) {
			n.Serve("controller:1", controller("http://me:you@other:3/?a", "toy"))
		}, "The controller of the workers names a worker whose address must have no user, query"},
		{"no controller at all", func(n *llavatest.Network) { n.Serve("controller:1", original("a", "b")) },
			"The controller of the workers answers with status 404: \"Not Found\"."},
	} {
		far, n := remote(t, newWorker(servetest.New("toy")).Routes(), "toy")
		test.change(n)
		_, err := far.Submit(user("hello", 0))
		refusal := new(serve.Refusal)
		if !errors.As(err, &refusal) || refusal.Reason != serve.Closing || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestWorkerStatuses: a worker's status becomes a refusal of the same kind.
func TestWorkerStatuses(t *testing.T) {
	for status, want := range map[int]serve.Reason{429: serve.Busy, 503: serve.Closing, 413: serve.BadPicture,
		401: serve.Failed, 500: serve.Failed, 302: serve.Failed} {
		worker := original("llava", "")
		worker["/worker_generate_stream"] = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }
		far, _ := remote(t, worker, "llava")
		_, _, err := ask(t, far, user("hello", 0))
		refusal := new(serve.Refusal)
		if !errors.As(err, &refusal) || refusal.Reason != want {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestKilled: the controller is asked to forget a worker that broke off, and a new one is found.
func TestKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worker := newWorker(servetest.New("toy")).Routes()
		generate := worker["/worker_generate_stream"]
		worker["/worker_generate_stream"] = func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }
		far, n := remote(t, worker, "toy")
		if _, _, err := ask(t, far, user("hello", 0)); err == nil {
			t.Fatal("no error")
		}
		synctest.Wait()
		if refreshes := strings.Count(strings.Join(n.Calls(), " "), "refresh"); refreshes != 2 {
			t.Errorf("%d refreshes", refreshes)
		}
		worker["/worker_generate_stream"] = generate
		if texts, _, err := ask(t, far, user("hello", 0)); err != nil || texts[0] != "hello" {
			t.Error(texts, err)
		}
	})
}

// TestSilence: a worker that sends nothing for 60 seconds is given up, one that keeps alive is not.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worker := original("llava", "")
		worker["/worker_generate_stream"] = func(w http.ResponseWriter, r *http.Request) {
			s := llava.NewStream(w)
			for range 10 {
				time.Sleep(50 * time.Second)
				s.Alive()
			}
			<-r.Context().Done()
		}
		far, _ := remote(t, worker, "llava")
		began := time.Now()
		_, _, err := ask(t, far, user("hello", 0))
		if err == nil || err.Error() != `The worker of "llava" has sent nothing for 60 seconds. Ask again.` {
			t.Error(err)
		}
		if took := time.Since(began); took != 560*time.Second {
			t.Error(took)
		}
		synctest.Wait()
	})
}

// TestLeave: closing the reply cancels the request at the worker's engine.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := servetest.New("toy")
		far, _ := remote(t, newWorker(e).Routes(), "toy")
		reply, err := far.Submit(user("endless", 0))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reply.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		reply.Close()
		if err := e.WaitIdle(t.Context()); err != nil || e.Cancelled() != 1 {
			t.Error(err, e.Cancelled())
		}
		if _, err := reply.Next(t.Context()); err == nil {
			_, err = reply.Next(t.Context())
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}
