package data

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// tokenizerConfig is what the JSON files beside a tokenizer.model say.
type tokenizerConfig struct {
	Class   string                `json:"tokenizer_class"`
	Legacy  *bool                 `json:"legacy"`
	AddBOS  *bool                 `json:"add_bos_token"`
	AddEOS  bool                  `json:"add_eos_token"`
	Decoder map[string]addedToken `json:"added_tokens_decoder"` // by id
	specialNames
	mapped specialNames     // special_tokens_map.json, the older place
	added  map[string]int32 // added_tokens.json, the older place
}

// specialNames is which tokens have which part to play.
type specialNames struct {
	BOS        addedToken   `json:"bos_token"`
	EOS        addedToken   `json:"eos_token"`
	UNK        addedToken   `json:"unk_token"`
	Pad        addedToken   `json:"pad_token"`
	Additional []addedToken `json:"additional_special_tokens"`
}

// addedToken is a token as Hugging Face writes it: a string, or an object with its properties.
type addedToken struct {
	Content    string `json:"content"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	SingleWord bool   `json:"single_word"`
	Special    bool   `json:"special"`
}

func (a *addedToken) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &a.Content) == nil {
		return nil
	}
	type plain addedToken // without this method
	return json.Unmarshal(b, (*plain)(a))
}

func readTokenizerConfig(folder string) (tokenizerConfig, error) {
	var c tokenizerConfig
	return c, errors.Join(
		readOptionalJSON(filepath.Join(folder, "tokenizer_config.json"), &c),
		readOptionalJSON(filepath.Join(folder, "special_tokens_map.json"), &c.mapped),
		readOptionalJSON(filepath.Join(folder, "added_tokens.json"), &c.added),
	)
}

// readOptionalJSON leaves value alone if there is no such file.
func readOptionalJSON(path string, value any) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (c tokenizerConfig) addBOS() bool { return c.AddBOS == nil || *c.AddBOS }

func (c tokenizerConfig) legacy(choice string) (bool, error) {
	switch choice {
	case "auto":
		return c.Legacy == nil || *c.Legacy, nil
	case "true", "false":
		return choice == "true", nil
	}
	return false, fmt.Errorf("legacy is %q; it must be auto, true or false", choice)
}

func (c tokenizerConfig) check() error {
	if c.Class != "" && c.Class != "LlamaTokenizer" && c.Class != "LlamaTokenizerFast" {
		return fmt.Errorf("tokenizer_config.json says tokenizer_class %q; only LlamaTokenizer is supported", c.Class)
	}
	if c.AddEOS {
		return errors.New("tokenizer_config.json says add_eos_token; the templates write their own ends, so it must be false")
	}
	return nil
}

// spelling is the first that is not empty.
func spelling(candidates ...addedToken) string {
	for _, c := range candidates {
		if c.Content != "" {
			return c.Content
		}
	}
	return ""
}

// addSpecials fills what t knows of special tokens: their ids, and the texts that are looked for before anything else.
func (t *Tokenizer) addSpecials(pieces []piece, c tokenizerConfig) error {
	if err := c.check(); err != nil {
		return err
	}
	ids := make(map[string]int32, len(pieces))
	for id, p := range pieces {
		ids[p.text] = int32(id)
	}
	if err := t.addFromFiles(ids, c); err != nil {
		return err
	}
	bos := spelling(c.BOS, c.mapped.BOS, addedToken{Content: "<s>"})
	eos := spelling(c.EOS, c.mapped.EOS, addedToken{Content: "</s>"})
	unk := spelling(c.UNK, c.mapped.UNK, addedToken{Content: "<unk>"})
	controls := []string{bos, eos, unk}
	for _, a := range slices.Concat([]addedToken{c.Pad, c.mapped.Pad}, c.Additional, c.mapped.Additional) {
		if a.Content != "" {
			controls = append(controls, a.Content)
		}
	}
	for _, text := range controls {
		id, ok := ids[text]
		if !ok {
			return fmt.Errorf("special token %q is in neither the vocabulary nor the added tokens", text)
		}
		t.addSpecial(specialToken{text: text, id: id, control: true})
	}
	t.bos, t.eos, t.unk = ids[bos], ids[eos], ids[unk]
	slices.SortFunc(t.specials, func(a, b specialToken) int {
		return cmp.Or(len(b.text)-len(a.text), strings.Compare(a.text, b.text))
	})
	return nil
}

// addFromFiles adds the tokens of added_tokens_decoder and added_tokens.json, and their ids to ids.
func (t *Tokenizer) addFromFiles(ids map[string]int32, c tokenizerConfig) error {
	for text, id := range c.added {
		if _, ok := c.Decoder[strconv.Itoa(int(id))]; !ok {
			if err := t.addToken(ids, addedToken{Content: text}, int(id)); err != nil {
				return err
			}
		}
	}
	for key, a := range c.Decoder {
		id, err := strconv.Atoi(key)
		if err != nil {
			return fmt.Errorf("added_tokens_decoder has the id %q", key)
		}
		if err := t.addToken(ids, a, id); err != nil {
			return err
		}
	}
	return nil
}

// maxAddedTokens keeps a wrong id from making a vocabulary of billions.
const maxAddedTokens = 1 << 16

func (t *Tokenizer) addToken(ids map[string]int32, a addedToken, id int) error {
	switch {
	case a.Content == "":
		return fmt.Errorf("added token %d has no text", id)
	case id < 0 || id >= len(ids)+maxAddedTokens:
		return fmt.Errorf("added token %q has the id %d, outside the vocabulary", a.Content, id)
	case a.LStrip || a.RStrip || a.SingleWord:
		return fmt.Errorf("added token %q has lstrip, rstrip or single_word set; they are not supported", a.Content)
	}
	ids[a.Content] = int32(id)
	t.addSpecial(specialToken{text: a.Content, id: int32(id), control: a.Special})
	return nil
}

// addSpecial adds s, or makes the one that is spelled the same a control token.
func (t *Tokenizer) addSpecial(s specialToken) {
	i := slices.IndexFunc(t.specials, func(other specialToken) bool { return other.text == s.text })
	if i < 0 {
		i = len(t.specials)
		t.specials = append(t.specials, s)
	}
	s.control = s.control || t.specials[i].control
	t.specials[i] = s
	t.starts[s.text[0]] = true
	for int(s.id) >= len(t.vocabulary) {
		t.vocabulary = append(t.vocabulary, vocabularyEntry{})
	}
	t.vocabulary[s.id] = vocabularyEntry{textEntry, s.text}
	if s.control {
		t.vocabulary[s.id] = vocabularyEntry{kind: controlEntry}
	}
}
