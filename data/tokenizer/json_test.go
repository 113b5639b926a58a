package tokenizer

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// unzip reads a .gz file of testdata.
func unzip(t testing.TB, name string) []byte { return datatest.Unzip(t, "testdata/"+name) }

// families are the small vocabularies of testdata/tokenizer_make.py, with the token that ends an answer.
var families = map[string]string{
	"llama3": "<|eot_id|>", "qwen2": "<|im_end|>", "gpt2": "<|endoftext|>", "odd": "<|end|>",
	"phi3": "<|end|>", "mistral": "</s>", "words": "</s>", "whole": "</s>",
	"smollm": "<|im_end|>", "unknown": "<|im_end|>", "falcon": "<|endoftext|>", "deepseek2": "<|end|>",
	"deepseek3": "<|end|>", "nemo": "</s>", "gptoss": "<|return|>", "phi4": "<|im_end|>", "gemma": "</s>",
}

func familyTokenizer(t testing.TB, family string) *Tokenizer {
	t.Helper()
	config := tokenizerConfig{specialNames: specialNames{EOS: addedToken{Content: families[family]}}}
	tokenizer, err := openTokenizerJSON(unzip(t, "tokenizer_"+family+".json.gz"), config, "auto")
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

type familyGolden struct {
	Family        string
	IDs           [][]int32
	Decoded       []*string // nil: the text itself
	Random        [][]int32
	RandomDecoded []string `json:"random_decoded"`
}

func readFamilyGoldens(t testing.TB) (texts []string, goldens []familyGolden) {
	t.Helper()
	lines := json.NewDecoder(bytes.NewReader(unzip(t, "tokenizer_golden.jsonl.gz")))
	var head struct{ Texts []string }
	if err := lines.Decode(&head); err != nil {
		t.Fatal(err)
	}
	for lines.More() {
		var g familyGolden
		if err := lines.Decode(&g); err != nil {
			t.Fatal(err)
		}
		goldens = append(goldens, g)
	}
	return head.Texts, goldens
}

// TestTokenizerJSONMatchesHuggingFace compares with Hugging Face's tokenizers 0.23.3 (testdata/tokenizer_make.py).
func TestTokenizerJSONMatchesHuggingFace(t *testing.T) {
	texts, goldens := readFamilyGoldens(t)
	if len(texts) != 620 || len(goldens) != len(families) {
		t.Errorf("%d texts for %d families", len(texts), len(goldens))
	}
	for _, golden := range goldens {
		t.Run(golden.Family, func(t *testing.T) {
			tokenizer := familyTokenizer(t, golden.Family)
			for i, text := range texts {
				tokens := tokenizer.Encode(text)
				if diff := cmp.Diff(golden.IDs[i], idsOf(tokens)); diff != "" {
					t.Errorf("%q (-Hugging Face +this):\n%s", text, diff)
				}
				if tokenizer.Missing(text) == "" {
					checkOffsets(t, text, tokens)
				}
				want := text
				if golden.Decoded[i] != nil {
					want = *golden.Decoded[i]
				}
				if got := tokenizer.Decode(golden.IDs[i]); got != want {
					t.Errorf("%q decodes to %q, want %q", text, got, want)
				}
			}
			for i, ids := range golden.Random {
				if got := tokenizer.Decode(ids); got != golden.RandomDecoded[i] {
					t.Errorf("%v decodes to %q, want %q", ids, got, golden.RandomDecoded[i])
				}
			}
		})
	}
}

// TestMissing: a text has a character without a token if, and only if, Hugging Face's library loses some of it.
func TestMissing(t *testing.T) {
	texts, goldens := readFamilyGoldens(t)
	for _, golden := range goldens {
		if golden.Family != "smollm" && golden.Family != "unknown" {
			continue
		}
		tokenizer := familyTokenizer(t, golden.Family)
		lost := 0
		for i, text := range texts {
			if strings.Contains(text, "<|im_") || strings.Contains(text, "<unk>") {
				continue // decoding leaves these out
			}
			missing := tokenizer.Missing(text)
			if whole := golden.Decoded[i] == nil; (missing == "") != whole || !strings.Contains(text, missing) {
				t.Errorf("%s: %q misses %q; all of it is in the ids: %t", golden.Family, text, missing, whole)
			}
			if missing != "" {
				lost++
			}
		}
		if lost < 100 {
			t.Errorf("%s: %d texts have a character without a token", golden.Family, lost)
		}
	}
	for _, test := range []struct{ family, text, want string }{
		{"smollm", "the cat", ""},
		{"smollm", "a \x00 and \u0301", "\x00"},
		{"smollm", "<|im_end|>a\U00013460<|im_end|>\x00", "\U00013460"},
		{"gpt2", "\x00", ""},
		{"phi3", "\x00", ""},
	} {
		if got := familyTokenizer(t, test.family).Missing(test.text); got != test.want {
			t.Errorf("%s: %q misses %q, want %q", test.family, test.text, got, test.want)
		}
	}
	if got := tinyTokenizer(t, true).Missing("\x00"); got != "" {
		t.Errorf("a tokenizer.model misses %q", got)
	}
}

// TestMissingWholeWord: with ignore_merges a word that is a token needs no tokens for its bytes.
func TestMissingWholeWord(t *testing.T) {
	content := changed(t, "gptoss", func(file object) {
		vocabulary := file["model"].(object)["vocab"].(object)
		vocabulary["ĀĀ"] = vocabulary["Ā"]
		delete(vocabulary, "Ā")
	})
	config := tokenizerConfig{specialNames: specialNames{EOS: addedToken{Content: families["gptoss"]}}}
	tokenizer, err := openTokenizerJSON(content, config, "auto")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"\x00\x00": "", "a \x00": "\x00"} {
		if got := tokenizer.Missing(text); got != want || (len(tokenizer.Encode(text)) == 1) != (want == "") {
			t.Errorf("%q misses %q, want %q", text, got, want)
		}
	}
}

// TestLongWords would not end in an hour if the time to merge grew with the square of the length.
func TestLongWords(t *testing.T) {
	for family := range families {
		tokenizer := familyTokenizer(t, family)
		for _, text := range []string{strings.Repeat("ab", 1<<18), strings.Repeat(" ", 1<<19),
			strings.Repeat("\u0301", 1<<17), strings.Repeat("\n a", 1<<17)} {
			if tokenizer.Missing(text) != "" {
				continue
			}
			tokens := tokenizer.Encode(text)
			checkOffsets(t, text, tokens)
			got := tokenizer.Decode(idsOf(tokens))
			if strings.TrimLeft(got, " ") != strings.TrimLeft(text, " ") { // Metaspace may take or add one
				t.Errorf("%s: %.6q… comes back as %.6q…", family, text, got)
			}
		}
	}
}

// TestClasses counts the characters of each class among all of Unicode, as Hugging Face's patterns (\p{L}, \p{N}, \s)
// match them. Go's own tables grow with its versions.
func TestClasses(t *testing.T) {
	counts := map[class]int{}
	for r := range rune(utf8.MaxRune + 1) {
		if utf8.ValidRune(r) {
			counts[classOf(r)]++
		}
	}
	want := map[class]int{letterClass: 141028, numberClass: 1911, spaceClass: 25,
		otherClass: 0x110000 - 0x800 - 141028 - 1911 - 25}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("characters of each class (-want +got):\n%s", diff)
	}
}

// FuzzByteLevelRoundTrip: byte-level vocabularies lose nothing. Qwen's would but for NFC, so its text is normalized
// first.
func FuzzByteLevelRoundTrip(f *testing.F) {
	texts, _ := readFamilyGoldens(f)
	for _, text := range texts {
		f.Add(text)
	}
	tokenizers := map[string]*Tokenizer{}
	for _, family := range []string{"llama3", "gpt2", "qwen2", "smollm", "falcon", "deepseek2", "deepseek3", "gptoss",
		"phi4"} {
		tokenizers[family] = familyTokenizer(f, family)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for family, tokenizer := range tokenizers {
			want := strings.ToValidUTF8(text, "")
			if family == "qwen2" {
				want = composed(want).text
			}
			tokens := tokenizer.Encode(want)
			if tokenizer.Missing(want) != "" {
				continue
			}
			checkOffsets(t, want, tokens)
			if tokenizer.ControlIn(want) != "" {
				continue // decoding leaves it out
			}
			if got := tokenizer.Decode(idsOf(tokens)); got != want {
				t.Errorf("%q comes back as %q", want, got)
			}
			if !utf8.ValidString(tokenizer.Decode(idsOf(tokenizer.Encode(text)))) {
				t.Errorf("%q comes back as bad UTF-8", text)
			}
		}
	})
}

func BenchmarkTokenizerJSON(b *testing.B) {
	content, err := os.ReadFile(datatest.Shared(b, "design", "llava.md"))
	if err != nil {
		b.Fatal(err)
	}
	for _, family := range []string{"llama3", "qwen2", "phi3", "mistral", "smollm", "gptoss", "deepseek3"} {
		b.Run(family, func(b *testing.B) {
			tokenizer := familyTokenizer(b, family)
			tokens := 0
			for b.Loop() {
				tokens += len(tokenizer.Encode(string(content)))
			}
			b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
