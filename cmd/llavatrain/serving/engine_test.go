package serving

import (
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/serve"
)

func TestStepsAreCountedByTheSameBounds(t *testing.T) {
	if !slices.Equal(model.StepBounds, serve.StepBounds) {
		t.Errorf("the engine counts by %v, its metrics by %v", model.StepBounds, serve.StepBounds)
	}
}

func TestTurns(t *testing.T) {
	say := func(role, text string, pictures int) serve.Message {
		return serve.Message{Role: role, Text: text, Pictures: pictures}
	}
	for _, c := range []struct {
		messages []serve.Message
		system   string
		want     []data.ChatTurn
		refused  bool
	}{
		{[]serve.Message{say("user", "a", 1)}, "", []data.ChatTurn{{Text: "a", Images: 1}}, false},
		{[]serve.Message{say("system", "s", 0), say("system", "t", 0), say("user", "a", 0)}, "s\nt",
			[]data.ChatTurn{{Text: "a"}}, false},
		{[]serve.Message{say("user", "a", 1), say("assistant", "b", 0), say("user", "c", 2)}, "",
			[]data.ChatTurn{{Text: "a", Images: 1, Answer: "b"}, {Text: "c", Images: 2}}, false},
		{[]serve.Message{say("user", "a", 1), say("user", "b", 1)}, "", []data.ChatTurn{{Text: "a\nb", Images: 2}},
			false},
		{[]serve.Message{say("assistant", "b", 0), say("user", "c", 2)}, "", nil, true},
		{[]serve.Message{say("user", "a", 1), say("assistant", "b", 0)}, "", nil, true},
		{[]serve.Message{say("system", "a", 0)}, "", nil, true},
		{nil, "", nil, true},
	} {
		system, got, err := turns(c.messages)
		if system != c.system && !c.refused || !slices.Equal(got, c.want) || (err != nil) != c.refused {
			t.Errorf("%v: system %q, turns %v, error %v", c.messages, system, got, err)
		}
	}
}
