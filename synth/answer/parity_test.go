package answer

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// recorded is a line of ../../../shared/parity-synth/responses/cases.jsonl, whose results come from another
// implementation of the rules.
type recorded struct {
	Name    string
	Status  int
	Headers map[string]string
	Body    string
	Expect  map[Kind]expected
}

type expected struct {
	Outcome, Reason string
	Repairs         []string
	Turns           [][2]string
	Paid            string
	Retry           bool
	Wait            *float64
}

// outcome is what the two packages together make of a recorded answer.
func (r recorded) outcome(kind Kind, against *Filters) expected {
	headers := map[string][]string{}
	for name, value := range r.Headers {
		headers[name] = []string{value}
	}
	got, fault := reply.Read(r.Status, headers, []byte(r.Body))
	if fault == nil {
		result := Read(kind, got, against)
		e := expected{Outcome: string(result.Outcome), Reason: result.Reason, Repairs: result.Repairs,
			Paid: string(reply.IsPaid)}
		for _, turn := range result.Turns {
			e.Turns = append(e.Turns, [2]string{turn.Question, turn.Answer})
		}
		return e
	}
	e := expected{Outcome: "fault", Reason: string(fault.Class), Paid: string(fault.Paid)}
	if fault.Class.Treatment().Settles {
		e.Outcome = string(Reject)
		return e
	}
	e.Retry = fault.Class.Treatment().Retry
	if fault.Wait != reply.NoWait {
		seconds := fault.Wait.Seconds()
		e.Wait = &seconds
	}
	return e
}

func TestRecordedAnswers(t *testing.T) {
	cases, against := recordedAnswers(t)
	compared := 0
	for _, c := range cases {
		if len(c.Expect) != len(Kinds) {
			t.Errorf("%s has results for %d kinds", c.Name, len(c.Expect))
		}
		for kind, want := range c.Expect {
			if diff := cmp.Diff(want, c.outcome(kind, against), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s, %s: (-want +got)\n%s", c.Name, kind, diff)
			}
			compared++
		}
	}
	t.Logf("%d results of %d answers compared", compared, len(cases))
	if compared == 0 {
		t.Error("nothing was compared")
	}
}

func recordedAnswers(t testing.TB) ([]recorded, *Filters) {
	t.Helper()
	content, err := os.ReadFile(datatest.Shared(t, "parity-synth", "responses", "prompts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var prompts struct{ Prompt, Example []string }
	if err := json.Unmarshal(content, &prompts); err != nil {
		t.Fatal(err)
	}
	var against Against
	against.English, against.Examples = true, prompts.Example
	for _, system := range prompts.Prompt {
		against.System += system + "\n"
	}
	cases := datatest.JSONLines[recorded](t, datatest.Shared(t, "parity-synth", "responses", "cases.jsonl"))
	return cases, NewFilters(against)
}

// The program's copies of the word list and the patterns are the recorded ones.
func TestLists(t *testing.T) {
	content, err := os.ReadFile(datatest.Shared(t, "parity-synth", "lists.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]string
	if err := json.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(listsJSON, &got); err != nil {
		t.Fatal(err)
	}
	for name, value := range got {
		if want[name] != value {
			t.Errorf("%s is %q, recorded is %q", name, value, want[name])
		}
	}
}

// What was accepted, written in the asked form, is accepted again without repairs and gives the same turns.
func TestAcceptedAnswersAreReadAgain(t *testing.T) {
	cases, against := recordedAnswers(t)
	again := 0
	for _, c := range cases {
		for _, kind := range Kinds {
			got, fault := reply.Read(c.Status, nil, []byte(c.Body))
			if fault != nil {
				continue
			}
			first := Read(kind, got, against)
			if first.Outcome != Accept {
				continue
			}
			second := ReadText(kind, rendered(first.Turns), false, against)
			if second.Outcome != Accept || len(second.Repairs) > 0 || !slices.Equal(first.Turns, second.Turns) {
				t.Errorf("%s, %s: %+v, then %+v", c.Name, kind, first, second)
			}
			again++
		}
	}
	if again == 0 {
		t.Error("nothing was accepted")
	}
}

// rendered writes turns in the form that prompts ask for.
func rendered(turns []Turn) (text string) {
	for i, turn := range turns {
		if turn.Question == "" {
			return turn.Answer
		}
		if i > 0 {
			text += "\n===\n"
		}
		text += "Question:\n" + turn.Question + "\n===\nAnswer:\n" + turn.Answer
	}
	return text
}
