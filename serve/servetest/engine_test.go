package servetest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// ask reads a whole answer, and its events.
func ask(t *testing.T, e *servetest.Engine, r serve.Request) (map[int]string, []serve.Event, error) {
	t.Helper()
	reply, err := e.Submit(r)
	if err != nil {
		return nil, nil, err
	}
	defer reply.Close()
	texts, all := map[int]string{}, []serve.Event(nil)
	for {
		events, err := reply.Next(context.Background())
		for _, event := range events {
			texts[event.Choice] += event.Text
		}
		all = append(all, events...)
		if err == io.EOF {
			return texts, all, nil
		}
		if err != nil {
			return texts, all, err
		}
	}
}

func user(text string) serve.Request {
	return serve.Request{Messages: []serve.Message{{Role: "user", Text: text}}}
}

func TestRules(t *testing.T) {
	for _, test := range []struct {
		name, want string
		finish     serve.Finish
		request    serve.Request
	}{
		{"echo", "what is this?", serve.Stopped, user("what is this?")},
		{"prompt", "what is this?", serve.Stopped,
			serve.Request{Prompt: "A chat. USER: <image>\nwhat is this? ASSISTANT:", Pictures: []*picture.RGB{{}}}},
		{"poem", servetest.Text, serve.Stopped, user("poem please")},
		{"slow", "one two", serve.Stopped, user("slow one two")},
		{"queue", "one two", serve.Stopped, user("queue one two")},
		{"endless", "word word word ", serve.TooLong,
			serve.Request{Prompt: "endless", Sampling: serve.Sampling{MaxTokens: 3}}},
		{"longest", "one two ", serve.TooLong,
			serve.Request{Prompt: "one two three", Sampling: serve.Sampling{MaxTokens: 2}}},
		{"stop", "one ", serve.Stopped,
			serve.Request{Prompt: "one two three", Sampling: serve.Sampling{Stop: []string{"two"}}}},
		{"nothing", "", serve.Stopped, user("")},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := servetest.New("toy")
				texts, events, err := ask(t, e, test.request)
				last := events[len(events)-1]
				if err != nil || texts[0] != test.want || last.Finish != test.finish {
					t.Errorf("%q, %v, %q", texts[0], err, last.Finish)
				}
				if err := e.WaitIdle(t.Context()); err != nil || e.Open() != 0 || e.Cancelled() != 0 {
					t.Errorf("%v: %d open, %d cancelled", err, e.Open(), e.Cancelled())
				}
			})
		})
	}
}

func TestFaults(t *testing.T) {
	e := servetest.New("toy")
	texts, _, err := ask(t, e, user("fail"))
	if texts[0] != "some words" || err != servetest.ErrFail {
		t.Errorf("%v, %v", texts[0], err)
	}
	refusal := new(serve.Refusal)
	if _, _, err := ask(t, e, user("refuse")); !errors.As(err, &refusal) || refusal.Reason != serve.Busy {
		t.Errorf("%v", err)
	}
	if _, _, err := ask(t, e, user(strings.Repeat("a ", 3000))); !errors.As(err, &refusal) ||
		refusal.Reason != serve.ContextFull {
		t.Errorf("%v", err)
	}
	if err := e.WaitIdle(t.Context()); err != nil || e.Status().FinishedSick != 1 {
		t.Errorf("%v, %+v", err, e.Status())
	}
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := servetest.New("toy")
		reply, err := e.Submit(user("endless"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reply.Next(t.Context()); err != nil || e.Open() != 1 || e.Status().Running != 1 {
			t.Fatal(err, e.Open(), e.Status())
		}
		reply.Close()
		if err := e.WaitIdle(t.Context()); err != nil || e.Cancelled() != 1 {
			t.Errorf("%v, %d", err, e.Cancelled())
		}
	})
}

func TestChoices(t *testing.T) {
	e := servetest.New("toy")
	r := user("é a")
	r.Sampling = serve.Sampling{Choices: 2, Logprobs: true, TopLogprobs: 2}
	texts, events, err := ask(t, e, r)
	if err != nil || texts[0] != "é a" || texts[1] != "é a (1)" {
		t.Errorf("%v, %v", texts, err)
	}
	if events[0].Choice != 0 || events[1].Choice != 1 {
		t.Error("the choices do not take turns")
	}
	if tokens := events[0].Tokens; events[0].Text != "" || len(tokens[0].Top) != 2 || tokens[0].Text != "" ||
		!bytes.Equal(tokens[0].Bytes, []byte{0xc3}) || events[2].Text != "é" {
		t.Errorf("%+v", events)
	}
}

func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if joined := string(bytes.Join(servetest.Pieces(text), nil)); joined != text {
			t.Errorf("%q became %q", text, joined)
		}
	})
}
