package tokenizer

import (
	"slices"
	"strings"
	"testing"
)

// reopened is a tokenizer with further tokens.
func reopened(t *testing.T, from *Tokenizer, add ...string) *Tokenizer {
	t.Helper()
	if err := from.add(add); err != nil {
		t.Fatal(err)
	}
	return from
}

// A new token takes the id behind all others, in the order of the list, wherever its text stands, and decodes to it.
func TestNewTokens(t *testing.T) {
	tokenizers := map[string]*Tokenizer{"slow": tinyTokenizer(t, true), "not legacy": tinyTokenizer(t, false)}
	for family := range families {
		tokenizers[family] = familyTokenizer(t, family)
	}
	for name, before := range tokenizers {
		first := int32(before.VocabSize())
		known := before.specials[0].text
		tokenizer := reopened(t, before, "<new>", known, "<newer>")
		want := []NewToken{{first, "<new>"}, {first + 1, "<newer>"}}
		if got := tokenizer.NewTokens(); !slices.Equal(got, want) {
			t.Errorf("%s: new tokens %v, want %v", name, got, want)
		}
		var ids []int32
		for _, token := range tokenizer.Encode("a<newer>b <new><new>") {
			if token.ID >= first {
				ids = append(ids, token.ID)
			}
		}
		if want := []int32{first + 1, first, first}; !slices.Equal(ids, want) {
			t.Errorf("%s: encoded as %v, want %v", name, ids, want)
		}
		if text := tokenizer.ControlIn("a <new> b"); text != "" {
			t.Errorf("%s: rows cannot use the token, it is refused as %q", name, text)
		}
		if text := tokenizer.Decode([]int32{first + 1}); strings.TrimSpace(text) != "<newer>" {
			t.Errorf("%s: decoded as %q", name, text)
		}
	}
}

func TestNewTokensRefuse(t *testing.T) {
	for _, test := range []struct {
		add  []string
		want string
	}{
		{[]string{" \t"}, "at least one visible character"},
		{[]string{"<a>", "\xff"}, "at least one visible character"},
		{[]string{"<a>", "<b>", "<a>"}, `"<a>" is listed twice`},
		{[]string{"e"}, `"e" is a token of the vocabulary already`},
	} {
		for name, tokenizer := range map[string]*Tokenizer{
			"model": tinyTokenizer(t, true), "json": familyTokenizer(t, "qwen2"),
		} {
			if err := tokenizer.add(test.add); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %q: %v; want %q", name, test.add, err, test.want)
			}
		}
	}
}
