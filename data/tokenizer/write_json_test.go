package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// fastFile is the part of a tokenizer.json that readers use.
type fastFile struct {
	Added []struct {
		ID      int32
		Content string
		Special bool
	} `json:"added_tokens"`
	Normalizer *struct {
		Normalizers []struct{ Type string }
	}
	PreTokenizer *struct {
		Type   string
		Scheme string `json:"prepend_scheme"`
	} `json:"pre_tokenizer"`
	Model struct {
		Vocab  map[string]int32
		Merges [][2]string
	}
}

// encode is BPE as the tokenizers library does it: of all neighbours, those whose merge is first in the list become
// one.
func (f fastFile) encode(text string) (ids []int32) {
	rank := map[[2]string]int{}
	for i, pair := range f.Model.Merges {
		rank[pair] = i
	}
	var parts []string
	for _, r := range text {
		if _, known := f.Model.Vocab[string(r)]; known {
			parts = append(parts, string(r))
			continue
		}
		for _, b := range []byte(string(r)) {
			parts = append(parts, fmt.Sprintf("<0x%02X>", b))
		}
	}
	for {
		best, at := len(rank), -1
		for i := 0; i+1 < len(parts); i++ {
			if r, ok := rank[[2]string{parts[i], parts[i+1]}]; ok && r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			break
		}
		parts = slices.Replace(parts, at, at+2, parts[at]+parts[at+1])
	}
	for _, part := range parts {
		ids = append(ids, f.Model.Vocab[part])
	}
	return ids
}

// The list of merges in tokenizer.json makes the ids that SentencePiece's scores make.
func TestFastTokenizerEncodesAlike(t *testing.T) {
	for _, legacy := range []bool{true, false} {
		tokenizer := tinyTokenizer(t, legacy)
		text, err := tokenizer.Fast()
		if err != nil {
			t.Fatal(err)
		}
		var fast fastFile
		if err := json.Unmarshal(text, &fast); err != nil {
			t.Fatal(err)
		}
		for _, words := range []string{"the cat", "A chat between a curious user and an assistant.",
			"What is on the table? Two red cups!", "  spaces   within ", "Größe 中文 naïve 🙂",
			"aaaaaaa tttthhhheee"} {
			var want []int32
			for _, token := range tokenizer.Encode(words) {
				want = append(want, token.ID)
			}
			if got := fast.encode(space + strings.ReplaceAll(words, " ", space)); !slices.Equal(got, want) {
				t.Errorf("legacy %v, %q: %v, want %v", legacy, words, got, want)
			}
		}
		if everywhere := fast.Normalizer != nil &&
			fast.Normalizer.Normalizers[0].Type == "Prepend"; everywhere != legacy {
			t.Errorf("legacy %v: normalizer %+v", legacy, fast.Normalizer)
		}
		if first := fast.PreTokenizer != nil && fast.PreTokenizer.Scheme == "first"; first == legacy {
			t.Errorf("legacy %v: pre-tokenizer %+v", legacy, fast.PreTokenizer)
		}
		if len(fast.Added) < 3 || fast.Added[2].Content != "</s>" || !fast.Added[2].Special ||
			len(fast.Model.Vocab) != tokenizer.VocabSize() {
			t.Errorf("%d pieces, added tokens %+v", len(fast.Model.Vocab), fast.Added)
		}
	}
}
