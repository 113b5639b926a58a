package alike

import (
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
)

func TestText(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", ""}, {" \n\t", ""}, {"...", ""}, {"?!", ""},
		{"A man rides a horse.", "a man rides a horse"},
		{"a  man\nrides\u00a0a horse", "a man rides a horse"},
		{"\"A man, (riding) a horse!\"", "a man riding a horse"},
		{"A MAN’S dog", "a man's dog"}, {"a man's dog", "a man's dog"},
		{"a black–and—white dog", "a black-and-white dog"},
		{"co\u00adoperate\u200b", "cooperate"},
		{"5 - 3", "5 - 3"}, {"5-3", "5-3"}, {"−5", "-5"}, {"5 %", "5 %"}, {"3.5", "3.5"}, {"x²", "x²"},
		{"E\u0301TE\u0301", "été"}, {"\u00c9T\u00c9", "été"},
		{"那是什么？", "那是什么"}, {"¿Qué?", "qué"},
		{"a\x00b", "a b"},
	} {
		if got := Text(test.text); got != test.want {
			t.Errorf("%q becomes %q, want %q", test.text, got, test.want)
		}
	}
}

// A normal form is its own, and neither case, white space nor punctuation between words changes it.
func TestTextProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		normal := Text(text)
		if again := Text(normal); again != normal {
			t.Fatalf("%q becomes %q, then %q", text, normal, again)
		}
		if normal != strings.TrimSpace(normal) || strings.Contains(normal, "  ") {
			t.Fatalf("%q becomes %q", text, normal)
		}
	})
	word := rapid.StringOfN(rapid.RuneFrom(nil, unicode.Latin), 1, 8, -1)
	between := rapid.StringOfN(rapid.SampledFrom([]rune(" \n\t\u00a0\u3000.,!?\"“”()")), 0, 4, -1)
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(word).Draw(t, "words")
		changed := between.Draw(t, "before")
		for _, w := range words {
			changed += w + between.Draw(t, "after") + " "
		}
		if a, b := Text(strings.Join(words, " ")), Text(changed); a != b {
			t.Fatalf("%q and %q: %q, %q", words, changed, a, b)
		}
	})
}

func TestQuestion(t *testing.T) {
	for _, text := range []string{
		"Is there a dog?", "<image>\nIs there a dog?", "Is there a dog?\n<image>", "is there a DOG",
		"Is there a dog?\nAnswer the question using a single word or phrase.",
		"<image>\nIs there a dog?\nAnswer with the option's letter from the given choices directly.",
	} {
		if got := Question(text); got != "is there a dog" {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	alone := "Answer the question using a single word or phrase."
	if got := Question(alone); got != Text(alone) {
		t.Errorf("%q becomes %q", alone, got)
	}
}

func TestKey(t *testing.T) {
	keys := map[uint64]string{}
	for _, text := range []string{"", "a", "b", "a b", "ab"} {
		key := Key(text)
		if before, ok := keys[key]; ok || (key == 0) != (text == "") {
			t.Errorf("%q and %q have the key %d", before, text, key)
		}
		keys[key] = text
	}
	if Key("a man rides a horse") != 0x7c3f385a9294b9bd {
		t.Errorf("the key has changed: %#x", Key("a man rides a horse"))
	}
}

func TestCaption(t *testing.T) {
	turns := func(texts ...string) (list []rows.Turn) {
		for i, text := range texts {
			list = append(list, rows.Turn{Role: []string{"human", "gpt"}[i%2], Text: text})
		}
		return list
	}
	system := append([]rows.Turn{{Role: "system", Text: "Be brief."}}, turns("What?", "A dog on a sofa.")...)
	one := []picture.Image{{Path: "a.jpg"}}
	for _, test := range []struct {
		name string
		row  rows.Record
		want string
	}{
		{"caption", rows.Record{Images: one, Turns: turns("Describe.\n<image>", "A cat on a bed.")}, "a cat on a bed"},
		{"system message", rows.Record{Images: one, Turns: system}, "a dog on a sofa"},
		{"Chinese", rows.Record{Images: one, Turns: turns("<image>", "一只狗。")}, ""},
		{"Chinese of four", rows.Record{Images: one, Turns: turns("<image>", "沙发上的狗。")}, "沙发上的狗"},
		{"three words", rows.Record{Images: one, Turns: turns("What?", "A big dog.")}, ""},
		{"no picture", rows.Record{Turns: turns("What?", "A dog on a sofa.")}, ""},
		{"two questions", rows.Record{Images: one, Turns: turns("What?", "A dog on a sofa.", "And?", "A cat.")}, ""},
		{"nothing", rows.Record{Images: one}, ""},
	} {
		if got := Caption(test.row); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
