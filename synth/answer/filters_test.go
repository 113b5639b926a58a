package answer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"--!":                         "",
		"It's a DOG's life.":          "it's|a|dog's|life",
		"'quoted' dogs' o'":           "quoted|dogs|o",
		"rock''n roll":                "rock|n|roll",
		"dog’s":                       "dog|s",
		"3.5 m²":                      "3|5|m",
		"Ärger, ПРИВЕТ":               "ärger|привет",
		"snake_case two-part <image>": "snake|case|two|part|image",
		"a\xffb":                      "a|b",
		"'":                           "",
		"a'":                          "a",
	} {
		if got := strings.Join(slices.Collect(wordsOf(text).runs(1)), "|"); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	w := wordsOf("One two, three.")
	if got := slices.Collect(w.runs(2)); !slices.Equal(got, []string{"one two", "two three"}) {
		t.Errorf("%q", got)
	}
	if w.count() != 3 || len(slices.Collect(w.runs(4))) != 0 || wordsOf("").count() != 0 {
		t.Errorf("%+v", w)
	}
}

func TestFilters(t *testing.T) {
	const (
		system  = "Look at the picture. Say what one sees in front and at the back, without any list."
		example = "A guard with a red flag stands at the train and looks along the platform."
		clause  = "and the dog runs after the ball across the wide lawn "
	)
	against := NewFilters(Against{system, []string{"Nothing of note.", example}, true})
	for _, c := range []struct{ text, reason, inQuestion string }{
		{scene, "", ""},
		{"", "", ""},
		{"3.", "", ""},
		{"A c\ufffdt.", "encoding", ""},
		{"I\ufffdm sorry, \ufffd", "encoding", ""},
		{"I'm sorry, but no.", "refusal", ""},
		{"Unfortunately, I cannot say.", "refusal", ""},
		{`He says "I'm sorry".`, "", ""},
		{"See <image>.", "markup", "markup"},
		{"Yes. [INST]", "markup", "markup"},
		{"Yes.\n### Human", "markup", "markup"},
		{"Yes. <b>", "", ""},
		{"I'm sorry <image>", "refusal", "markup"},
		{"The bounding box shows it.", "source", "source"},
		{"As the Captions say, it is.", "source", "source"},
		{"In the provided information it is.", "source", "source"},
		{"According to the sentences it is.", "source", "source"},
		{"The ſentences? All ſentenceſ ſay so.", "source", "source"},
		{"It is given to him.", "", ""},
		{"At [0.1, 0.25, 1.0, 0].", "coordinates", "coordinates"},
		{"At (.5, 1).", "coordinates", "coordinates"},
		{"In [2001, 2002].", "", ""},
		{"<image> of the caption", "markup", "markup"},
		{"the caption says [0.1, 0.2]", "source", "source"},
		{strings.Repeat(clause, 4), "repetition", ""},
		{strings.Repeat(clause, 3), "", ""},
		{strings.Repeat("the ", 13), "repetition", ""},
		{strings.Repeat("the ", 12), "", ""},
		{"look at THE picture; say what one sees in front and", "", ""},
		{"I look at THE picture; say what one sees in front and at", "prompt_leak", ""},
		{"guard with a red flag stands at the train and looks", "", ""},
		{"a guard with a red flag stands at the train and looks along", "example_leak", ""},
		{"Le chien court après la balle sur la grande pelouse verte du parc.", "language", ""},
		{"Le chien court après la balle sur la grande pelouse verte.", "", ""}, // too short to judge
		{"Ein Hund.", "", ""},
		{"公交车是红色的", "language", ""},
		{"abcdefghi я", "", ""},
		{"abcdefghя я", "language", ""},
		{"the dog cat fox cow hen pig rat bat ape elk owl", "language", ""},   // 1 of 12 is 8 %
		{"the dog a fox cow hen pig rat bat ape elk owl", "language", ""},     // 17 %
		{"the dog a fox and hen pig rat bat ape elk owl", "", ""},             // 25 %
		{"the dog a fox and hen pig rat bat ape elk owl emu gnu yak", "", ""}, // 20 %
		{"the dog a fox and hen pig rat bat ape elk owl emu gnu yak cod", "language", ""},
	} {
		if got := against.faultIn(check(c.text)); got != c.reason {
			t.Errorf("%q: %q, want %q", c.text, got, c.reason)
		}
		if got := against.faultInQuestion(check(c.text)); got != c.inQuestion {
			t.Errorf("%q as a question: %q, want %q", c.text, got, c.inQuestion)
		}
	}
	for _, text := range []string{"公交车是红色的", system, example} {
		if got := (&Filters{}).faultIn(check(text)); got != "" {
			t.Errorf("%q: %q without filters for the prompt and language", text, got)
		}
	}
}

// What is asked before a pattern is searched for must be in all that the pattern finds.
func TestShortcuts(t *testing.T) {
	for name, c := range map[string]struct {
		pattern string
		found   func(*Filters, checked) bool
	}{
		"source":      {lists().source.String(), (*Filters).source},
		"markup":      {lists().markup.String(), (*Filters).markup},
		"coordinates": {lists().coordinates.String(), (*Filters).coordinates},
	} {
		rapid.Check(t, func(t *rapid.T) {
			text := rapid.SampledFrom([]string{"", "a\n", "é,\n"}).Draw(t, "before") +
				rapid.StringMatching(c.pattern).Draw(t, "match")
			if !c.found(nil, check(text)) {
				t.Fatalf("%s does not find %q", name, text)
			}
		})
	}
}

func TestRows(t *testing.T) {
	var rows Rows
	for i, c := range []struct {
		kind  Kind
		turns []Turn
		isNew bool
	}{
		{Conversation, busTurns, true},
		{Conversation, []Turn{{"which BUS", "The red one!"}, {"Who waits?", "\nthree people"}}, false},
		{Conversation, []Turn{{"Which car?", "The red one."}, busTurns[1]}, true},
		{Conversation, busTurns[:1], true},
		{Conversation, []Turn{{"Which bus? The", "red one."}, busTurns[1]}, true},
		{Conversation, []Turn{{"Which bus?", "The red one. Who waits? Three people."}}, true},
		{Conversation, []Turn{{"Which bus?", "The red one. Who"}, {"waits?", "Three people."}}, true},
		{Reasoning, busTurns[:1], true},
		{Reasoning, busTurns[:1], false},
		{Detail, []Turn{{"", scene}}, true},
		{Detail, []Turn{{"", strings.ToUpper(scene)}}, false},
		{Detail, []Turn{{"", scene + " Yes."}}, true},
	} {
		if got := rows.Add(c.kind, c.turns); got != c.isNew {
			t.Errorf("%d: new: %v, want %v", i, got, c.isNew)
		}
	}
}

func TestInvented(t *testing.T) {
	names := NewNames([]string{"person", "dog", "hot dog", "bus", "knife", "cherry", "traffic light", "light", "car",
		"couch", "Teddy Bear", "teddy bear", "", "--"})
	for _, c := range []struct {
		answer string
		known  []string
		want   string
	}{
		{"", nil, ""},
		{"A cat sleeps.", nil, ""},
		{"A Dog sleeps on a couch.", nil, "couch|dog"},
		{"A dog sleeps on a couch.", []string{"two dogs on a bed", "couch"}, ""},
		{"A dog sleeps on a couch.", []string{"dog-tired", "table"}, "couch"},
		{"Buses, couches, knives, cherries, dogs and people.", nil, "bus|cherry|couch|dog|knife|person"},
		{"He eats a hot dog.", nil, "hot dog"},
		{"He eats a hot dog.", []string{"dog"}, "hot dog"},
		{"A dog eats hot dogs.", []string{"hot dog"}, "dog"},
		{"A hot day.", nil, ""},
		{"It is hot", nil, ""},
		{"Traffic lights and a light in traffic", nil, "light|traffic light"},
		{"Take care of the hotdog.", nil, ""},
		{"a teddy bear", nil, "Teddy Bear"},
		{"traffic hot light", nil, "light"},
	} {
		got := strings.Join(names.Invented([]Turn{{"A bus?", "Yes."}, {"And?", c.answer}}, c.known), "|")
		if got != c.want {
			t.Errorf("%q, known %q: %s, want %s", c.answer, c.known, got, c.want)
		}
	}
	var several []Turn
	for i := range 3 {
		several = append(several, Turn{"", fmt.Sprintf("%d dogs", i)}, Turn{"", "a bus"})
	}
	if got := names.Invented(several, []string{"a person"}); !slices.Equal(got, []string{"bus", "dog"}) {
		t.Errorf("%q", got)
	}
}
