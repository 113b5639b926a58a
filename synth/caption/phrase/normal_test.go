package phrase

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestNormal(t *testing.T) {
	for _, c := range []struct{ phrase, want string }{
		{"A red ball", "red ball"},
		{"the red ball,", "red ball"},
		{"THE Red\u00a0 \tBALL", "red ball"},
		{"a man’s hat", "man's hat"},
		{"a man 's hat", "man's hat"},
		{"a T - shirt", "t-shirt"},
		{"a T – shirt", "t-shirt"},
		{"the boys ' toys", "boys' toys"},
		{"- a ball -", "ball"},
		{"a “ball” (red)", "ball red"},
		{"red ball ,'s", "red ball's"},
		{"the .'s", "'s"},
		{"all the people", "all the people"}, // only determiners at the start are dropped
		{"no one", "no one"},
		{"The", ""},
		{"another one", ""},
		{"the other man", "other man"},
		{"...", ""},
		{"", ""},
	} {
		if got := Normal(c.phrase); got != c.want {
			t.Errorf("Normal(%q) is %q, want %q", c.phrase, got, c.want)
		}
	}
}

func TestNormalForms(t *testing.T) {
	var expected struct {
		Forms map[string]string `json:"normal_forms"`
	}
	readJSON(t, &expected, "parity-synth", "filter", "expected.json")
	if len(expected.Forms) == 0 {
		t.Fatal("no normal forms recorded")
	}
	for phrase, want := range expected.Forms {
		if got := Normal(phrase); got != want {
			t.Errorf("Normal(%q) is %q, want %q", phrase, got, want)
		}
	}
}

func TestNormalFormsOfSentences(t *testing.T) {
	for _, k := range knownSentences(t) {
		if diff := cmp.Diff(slices.Sorted(slices.Values(k.Phrases)), normalForms(k.Spacy)); diff != "" {
			t.Errorf("%q: -want +got\n%s", k.Caption, diff)
		}
	}
}

// normalForms are the normal forms of phrases, sorted, each once.
func normalForms(phrases []string) []string {
	forms := []string{}
	for _, phrase := range phrases {
		if form := Normal(phrase); form != "" {
			forms = append(forms, form)
		}
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

func TestListsAreTheRecordedOnes(t *testing.T) {
	var recorded struct{ Leading, Pronouns string }
	readJSON(t, &recorded, "parity-synth", "lists.json")
	if diff := cmp.Diff(set(recorded.Leading), lists().leading); diff != "" {
		t.Errorf("leading: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(set(recorded.Pronouns), lists().pronouns); diff != "" {
		t.Errorf("pronouns: -want +got\n%s", diff)
	}
}

// checkNormal checks what is true of every normal form.
func checkNormal(t interface{ Errorf(string, ...any) }, phrase string) {
	form := Normal(phrase)
	if again := Normal(form); again != form {
		t.Errorf("Normal(%q) is %q, and its normal form %q", phrase, form, again)
	}
	first, _ := utf8.DecodeRuneInString(phrase)
	if dressed := Normal("  The " + phrase + " ,"); dressed != form && unicode.IsLetter(first) && plain(first) != '\'' {
		t.Errorf("Normal(%q) is %q, but %q with an article and a comma", phrase, form, dressed)
	}
	for _, word := range strings.Split(form, " ") {
		if form != "" && (word == "" || word != strings.Trim(word, punctuation) ||
			strings.ContainsFunc(word, unicode.IsSpace)) {
			t.Errorf("Normal(%q) is %q: the word %q is not plain", phrase, form, word)
		}
	}
}

func TestNormalOfAnyPhrase(t *testing.T) {
	parts := rapid.SampledFrom([]string{"a", "The", "ball", "it", "one", "'s", "'", "’", "-", "—", " ", "\u2003", ".",
		",", "\"", "“", "É", "İ", "ß", "Σ", "Ⱥ", "\xff", "\u0130", "\u01c5", "n't", "t-shirt", "…", "\x00"})
	rapid.Check(t, func(t *rapid.T) {
		checkNormal(t, strings.Join(rapid.SliceOf(parts).Draw(t, "parts"), ""))
	})
}

func FuzzNormal(f *testing.F) {
	for _, seed := range []string{"A red ball", "the boys ' toys", "a T - shirt", "“it”", "red ball.\" 's"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, phrase string) { checkNormal(t, phrase) })
}

func TestSimpleLowerCaseIsFinal(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if plain(plain(r)) != plain(r) {
			t.Errorf("%U becomes %U, and that %U", r, plain(r), plain(plain(r)))
		}
	}
}

func BenchmarkNormal(b *testing.B) {
	known := knownSentences(b)
	for i := 0; b.Loop(); i++ {
		for _, phrase := range known[i%len(known)].Spacy {
			Normal(phrase)
		}
	}
}
