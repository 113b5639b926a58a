package tokenizer

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestPiecesMatchHuggingFace compares what pre-tokenizers cut texts into (testdata/tokenizer_make.py).
func TestPiecesMatchHuggingFace(t *testing.T) {
	texts, _ := readFamilyGoldens(t)
	lines := json.NewDecoder(bytes.NewReader(unzip(t, "tokenizer_pieces.jsonl.gz")))
	count := 0
	for ; lines.More(); count++ {
		var golden struct {
			Component component
			Letters   bool    // behind ByteLevel
			Pieces    [][]int // lengths in characters or letters
		}
		if err := lines.Decode(&golden); err != nil {
			t.Fatal(err)
		}
		cut, err := parseCutter(golden.Component, golden.Letters)
		if err != nil {
			t.Errorf("%s: %v", golden.Component.raw, err)
			continue
		}
		for i, text := range texts {
			got := []int{}
			for at := 0; at < len(text); {
				n := cut(text[at:])
				if golden.Letters {
					got = append(got, n)
				} else {
					got = append(got, utf8.RuneCountInString(text[at:at+n]))
				}
				at += n
			}
			if diff := cmp.Diff(golden.Pieces[i], got); diff != "" {
				t.Errorf("%s cuts %q (-Hugging Face +this):\n%s", golden.Component.raw, text, diff)
			}
		}
	}
	if count != 32 {
		t.Errorf("%d pre-tokenizers, want 32", count)
	}
}

// TestScannersAreTheirPatterns: the code of a pattern does what its expression does.
func TestScannersAreTheirPatterns(t *testing.T) {
	texts, _ := readFamilyGoldens(t)
	for pattern, scanner := range patterns {
		e, err := parseExpression(pattern, false)
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			text := strings.Join(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(texts), rapid.String(),
				rapid.StringOf(rapid.RuneFrom([]rune("aA1 \n\r\t'sS.\u0301ſ")))), 1, 4).Draw(t, "texts"), "")
			for at := 0; at < len(text); {
				n, want := scanner(text[at:]), e.word(text[at:])
				if n != want {
					t.Fatalf("%q: the scanner cuts %q, the expression %q", pattern, text[at:at+n], text[at:at+want])
				}
				at += n
			}
		})
	}
}

// TestExpressionRefuses: what is not read exactly as Oniguruma reads it is an error.
func TestExpressionRefuses(t *testing.T) {
	for _, test := range []struct{ pattern, want string }{
		{``, "matches the empty text"},
		{`a|`, "matches the empty text"},
		{`(?:a?|b)c*$`, "matches the empty text"},
		{`a)`, `")" at byte 1`},
		{`(a`, "a group has no end"},
		{`(?<n>a)`, `"(?<n>a)" at byte 0`},
		{`(?>a)`, `"(?>a)" at byte 0`},
		{`(?<!a)b`, `"(?<!a)b" at byte 0`},
		{`(?!ab)c`, `lookahead "(?!ab)" is not supported`},
		{`(?!a+)c`, `lookahead "(?!a+)" is not supported`},
		{`(ab)+`, `"+" at byte 4`},
		{`(ab)?+`, `"?+" at byte 4`},
		{`a+?`, `"+?" at byte 1`},
		{`a{2}{3}`, `"{2}{3}" at byte 1`},
		{`a{2}+`, `"{2}+" at byte 1`},
		{`a{,2}`, `"{,2"`},
		{`a{3,2}`, `"{3,2"`},
		{`a{0}`, `"{0"`},
		{`$+`, `"+" at byte 1`},
		{`.`, `"." at byte 0`},
		{`^a`, `"^" at byte 0`},
		{`*a`, `"*" at byte 0`},
		{`[a`, `at byte 2`},
		{`[a[b]]`, `"[b]]" at byte 2`},
		{`[a&&b]`, `"&&b]" at byte 2`},
		{`[[:alpha:]]`, `"[:alpha:]]" at byte 1`},
		{`[]`, "class of no character"},
		{`[b-a]`, `"-a]"`},
		{`[\s-a]`, `"-a]"`},
		{`[a-\s]`, `"-\\s]"`},
		{`\w`, `"\\w" at byte 0`},
		{`\b`, `"\\b" at byte 0`},
		{`a\`, "ends with a backslash"},
		{`\p{Greek}`, `property "Greek"`},
		{`\pL`, `property "L"`},
		{`\p{L`, `property "L"`},
		{`(?i:straße)`, `"(?i:straße)" is not supported`},
		{`(?i:fist)`, `"(?i:fist)" is not supported`},
		{`(?i:\p{Lu})`, `is not supported`},
		{`(?i:[a-z])`, `is not supported`},
		{strings.Repeat("(", 9) + "a" + strings.Repeat(")", 9), "nested too deeply"},
		{`a*b*c*d*e*f*g*h`, "7 repetitions and groups in a row"},
		{"a\xff", "not UTF-8"},
	} {
		_, err := parseExpression(test.pattern, false)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error is %v, want %q", test.pattern, err, test.want)
		}
	}
}

// TestCoversAll: which patterns leave no text out, so that removing the rest removes nothing.
func TestCoversAll(t *testing.T) {
	for pattern, want := range map[string]bool{
		gpt2Pattern: true, `\s|\S`: true, `\s+|\S+`: true, `\p{L}|\P{L}x?`: true, `a?+\p{L}+|\P{L}`: false,
		`b++\p{L}*|\P{L}|[^b]`: true, `\s+`: false, `\s+|\S\S`: false, `\s+|\S{2,}`: false, `\s+$|\S`: false,
		`\s(?!a)|\S`: false, `(?:\s|\S)`: false, `\s(?:a)?|\S`: true,
	} {
		e, err := parseExpression(pattern, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.coversAll(); got != want {
			t.Errorf("%q covers all: %t, want %t", pattern, got, want)
		}
	}
}

// TestProperties counts the characters of each set among all of Unicode, as Hugging Face's library has them.
func TestProperties(t *testing.T) {
	sets := map[string]runeRanges{"numeric": numeric.ranges, "punctuation": punctuation.ranges}
	for name, members := range properties {
		sets[name] = members().ordered()
	}
	counts := map[string]int{}
	for name, ranges := range sets {
		for _, r := range ranges {
			counts[name] += int(r.last - r.first + 1)
		}
	}
	want := map[string]int{"L": 141028, "Lu": 1858, "Ll": 2258, "Lt": 31, "Lm": 404, "Lo": 136477, "M": 2501, "N": 1911,
		"Nd": 760, "P": 855, "S": 8514, "numeric": 1924, "punctuation": 726}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("characters of each set (-want +got):\n%s", diff)
	}
}
