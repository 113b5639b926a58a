package prompt

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/scene"
)

// defaults are the program's own prompts.
func defaults(t testing.TB) map[answer.Kind]*Prompt {
	t.Helper()
	prompts, err := Load("", answer.Kinds[:]...)
	if err != nil {
		t.Fatal(err)
	}
	return prompts
}

// The program's examples are what it asks for: scenes in the form that it writes, and answers that it would accept from
// a model, with nothing to repair and nothing taken from the rest of the prompt.
func TestOwnExamples(t *testing.T) {
	for kind, p := range defaults(t) {
		if n := len(p.Examples); n < 2 || n > 3 {
			t.Errorf("%s: %d examples", kind, n)
		}
		for i, example := range p.Examples {
			if diff := cmp.Diff(example.Context, rewritten(t, example.Context).Context(Boxes(kind))); diff != "" {
				t.Errorf("%s, example %d, context (-in the file +as it would be written):\n%s", kind, i+1, diff)
			}
			others := answer.Against{System: p.System, English: true}
			for j, other := range p.Examples {
				if j != i {
					others.Examples = append(others.Examples, other.Answer)
				}
			}
			got := answer.ReadText(kind, example.Answer, false, answer.NewFilters(others))
			if got.Outcome != answer.Accept || len(got.Repairs) > 0 {
				t.Errorf("%s, example %d: %+v", kind, i+1, got)
			}
			copied := answer.ReadText(kind, example.Answer, false, p.Filters(true))
			if cmp.Equal(got.Turns, copied.Turns) {
				t.Errorf("%s, example %d would be accepted from a model", kind, i+1)
			}
			checkWording(t, kind, got.Turns)
		}
	}
}

// rewritten is the scene that an example's context says, read and cleaned as annotations are.
func rewritten(t *testing.T, context string) scene.Scene {
	t.Helper()
	type object struct {
		Name string          `json:"name"`
		Box  json.RawMessage `json:"box"`
	}
	row := struct {
		ID       string   `json:"id"`
		Image    string   `json:"image"`
		Captions []string `json:"captions"`
		Objects  []object `json:"objects"`
	}{ID: "1", Image: "1.jpg"}
	captions, boxes, _ := strings.Cut(context, "\n\n")
	row.Captions = strings.Split(captions, "\n")
	for line := range strings.Lines(boxes) {
		name, box, _ := strings.Cut(strings.TrimSpace(line), ": ")
		row.Objects = append(row.Objects, object{name, json.RawMessage(box)})
	}
	text, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	path := datatest.WriteFile(t, t.TempDir(), "row.jsonl", string(text))
	set, err := scene.ReadJSONL(t.Context(), path, scene.Options{})
	if err != nil || len(set.Scenes) != 1 || len(set.Dropped()) > 0 {
		t.Fatalf("%v, %+v", err, set)
	}
	return set.Scenes[0]
}

// untold are words that give away what the writer was given, or that it is a picture for a writer.
var untold = regexp.MustCompile(`(?i)\b(captions?|boxe?s of|annotat\w+|descriptions?|coordinates?|fractions?|lists?|` +
	`the lines|0\.\d+)\b`)

func checkWording(t *testing.T, kind answer.Kind, turns []answer.Turn) {
	t.Helper()
	starts := map[string]int{}
	for _, turn := range turns {
		for _, text := range []string{turn.Question, turn.Answer} {
			if found := untold.FindString(text); found != "" {
				t.Errorf("%s: %q in %q", kind, found, text)
			}
		}
		starts[strings.Fields(turn.Question + " x")[0]]++
		switch words := len(strings.Fields(turn.Answer)); {
		case kind == answer.Detail && (words < 70 || words > 200),
			kind == answer.Reasoning && (words < 80 || words > 200):
			t.Errorf("%s: %d words, which is not what the system message asks for", kind, words)
		}
	}
	if kind == answer.Conversation {
		if n := len(turns); n < 4 || n > 7 {
			t.Errorf("%d questions, which is not what the system message asks for", n)
		}
		for start, n := range starts {
			if n > 2 {
				t.Errorf("%d questions begin with %s", n, start)
			}
		}
	}
}

// Questions are enough, different, and each one line of plain words.
func TestOwnQuestions(t *testing.T) {
	brief, err := Brief("")
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string][]string{"brief": brief, "detail": defaults(t)[answer.Detail].Questions} {
		if len(list) < 12 || name == "brief" && len(list) != 12 {
			t.Errorf("%s: %d questions", name, len(list))
		}
		starts := map[string]bool{}
		for _, question := range list {
			words := strings.Fields(strings.ToLower(question))
			starts[strings.Join(words[:3], " ")] = true
			if len(question) > 120 || !strings.ContainsAny(question[len(question)-1:], ".?") {
				t.Errorf("%s: %q", name, question)
			}
		}
		if len(starts) < len(list) {
			t.Errorf("%s: of %d questions only %d begin with other words", name, len(list), len(starts))
		}
	}
	for _, kind := range []answer.Kind{answer.Conversation, answer.Reasoning} {
		if q := defaults(t)[kind].Questions; len(q) > 0 {
			t.Errorf("%s has questions %q", kind, q)
		}
	}
}

// A prompt is paid for with every request.
func TestOwnLengths(t *testing.T) {
	for kind, p := range defaults(t) {
		if n := p.Request("", Parameters{}).Tokens; n < 800 || n > 2600 {
			t.Errorf("%s: %d tokens", kind, n)
		}
	}
}
