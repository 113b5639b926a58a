package answer

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// seeds are texts in each form, and broken ones.
var seeds = []string{twice, scene, thought, "<think>a</think>```json\n[{\"q\": \"a\", \"a\": \"b\"}]\n```",
	`{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}`,
	"Sure!\n```\n**Q1:** a\nA: b\n---\nQ: c\nA:\n===\n====\nBye!\n```", `{"text": "a`, "Description: “a”"}

func FuzzReadText(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	against := NewFilters(Against{scene, []string{thought}, true})
	f.Fuzz(func(t *testing.T, text string, cut bool) {
		for _, kind := range Kinds {
			sound(t, kind, text, cut, against)
		}
	})
}

type failer interface{ Errorf(string, ...any) }

// sound checks what holds of every result.
func sound(t failer, kind Kind, text string, cut bool, against *Filters) {
	got := ReadText(kind, text, cut, against)
	if got.Outcome != Accept {
		if got.Outcome != Reject && got.Outcome != Retry || got.Reason == "" || got.Repairs != nil || got.Turns != nil {
			t.Errorf("%+v", got)
		}
		return
	}
	once := slices.Compact(slices.Clone(got.Repairs))
	if got.Reason != "" || !slices.IsSorted(got.Repairs) || len(once) != len(got.Repairs) {
		t.Errorf("%+v", got)
	}
	least, most := 1, 1
	if kind == Conversation {
		least, most = fewestTurns, mostTurns
	}
	if n := len(got.Turns); n < least || n > most {
		t.Errorf("%d turns", n)
	}
	for _, turn := range got.Turns {
		if (turn.Question == "") != (kind == Detail) || turn.Answer == "" || tidy(turn.Question) != turn.Question ||
			tidy(turn.Answer) != turn.Answer || !utf8.ValidString(turn.Question+turn.Answer) ||
			strings.ContainsAny(turn.Question+turn.Answer, "\r\x00\x1b\u200b\ufeff") {
			t.Errorf("%q", turn)
		}
		if against.faultIn(check(turn.Answer)) != "" || against.faultInQuestion(check(turn.Question)) != "" {
			t.Errorf("%q has a fault", turn)
		}
	}
	againSame(t, kind, got, against)
}

// againSame checks that turns which are written in the asked form are read again without repairs, unless one of them
// holds a line that means something in that form.
func againSame(t failer, kind Kind, first Result, against *Filters) {
	for _, turn := range first.Turns {
		for line := range strings.SplitSeq(turn.Question+"\n"+turn.Answer, "\n") {
			if name, _ := markerOf(line); name > 0 || kindOf(line) > blank {
				return
			}
		}
	}
	text := rendered(first.Turns)
	a := reading{}
	if bare := a.bare(text); kind == Detail && bare != text {
		return // a second preamble, say
	}
	if _, packed := jsonText(text); packed || wrapped(text) {
		return
	}
	second := ReadText(kind, text, false, against)
	if second.Outcome != Accept || len(second.Repairs) > 0 || !slices.Equal(first.Turns, second.Turns) {
		t.Errorf("%+v, then %+v", first, second)
	}
}

func wrapped(text string) bool {
	a := reading{}
	_, failed := a.unwrap(text)
	return failed != nil || len(a.repairs) > 0
}

// Texts of pieces that mean something come nearer to the corners than random bytes do.
func TestAnyText(t *testing.T) {
	pieces := rapid.SliceOfN(rapid.SampledFrom([]string{"Question: ", "Answer: ", "Q: ", "A: ", "User: ", "AI: ", "\n",
		"\n\n", "\n===\n", "\n---\n", "\n```\n", "What is it?", "The red one.", "\u200b", " ", "\r", "<think>",
		"</think>", "{", "}", `"q": "a", "a": "b"`, "[", "]", ",", `"`, "“", "”", "Sure!", "Description:", "I'm sorry",
		"<image>", "[0.1, 0.2]", "the captions", "=", "`", thought, scene, bus, stop}), 0, 40)
	against := NewFilters(Against{"no such words", nil, true})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(pieces.Draw(t, "text"), "")
		for _, kind := range Kinds {
			sound(t, kind, text, rapid.Bool().Draw(t, "cut"), against)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("dog\nhot dog\nbus", "Dogs on a bus", "a dog")
	f.Fuzz(func(t *testing.T, names, text, known string) {
		list := strings.Split(names, "\n")
		for _, name := range NewNames(list).Invented([]Turn{{"", text}}, []string{known}) {
			if !slices.Contains(list, name) {
				t.Errorf("%q is no name", name)
			}
		}
	})
}
