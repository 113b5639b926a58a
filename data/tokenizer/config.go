package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// tokenizerConfig is the content of the JSON files beside a tokenizer.model or tokenizer.json.
type tokenizerConfig struct {
	Class   string                `json:"tokenizer_class"`
	Legacy  *bool                 `json:"legacy"`
	AddBOS  *bool                 `json:"add_bos_token"`
	AddEOS  bool                  `json:"add_eos_token"`
	Decoder map[string]addedToken `json:"added_tokens_decoder"` // by id
	specialNames
	mapped   specialNames     // special_tokens_map.json, the older place
	added    map[string]int32 // added_tokens.json, the older place
	defaults specialNames     // defaults of the tokenizer's class
}

// specialNames holds the tokens that have a role.
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
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// conditional reports whether the token's position depends on more than its text.
func (a addedToken) conditional() bool { return a.LStrip || a.RStrip || a.SingleWord }

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

// readOptionalJSON leaves value unchanged if there is no such file.
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

// addBOS is add_bos_token, or otherwise if the file does not have it.
func (c tokenizerConfig) addBOS(otherwise bool) bool {
	if c.AddBOS == nil {
		return otherwise
	}
	return *c.AddBOS
}

// needsJSON reports that transformers' slow LlamaTokenizer does not suit these files, so that a tokenizer.json is
// preferred to a tokenizer.model.
func (c tokenizerConfig) needsJSON() bool {
	for _, a := range c.Decoder {
		if a.conditional() {
			return true
		}
	}
	return !c.llama()
}

func (c tokenizerConfig) llama() bool {
	return c.Class == "" || c.Class == "LlamaTokenizer" || c.Class == "LlamaTokenizerFast"
}

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
	if c.AddEOS {
		return errors.New("tokenizer_config.json sets add_eos_token; it must be false, " +
			"since the templates end texts themselves")
	}
	return nil
}

// spelling is the first name that is not empty.
func spelling(candidates ...addedToken) string {
	for _, c := range candidates {
		if c.Content != "" {
			return c.Content
		}
	}
	return ""
}

// addSpecials fills in t's special tokens. ids are those of the vocabulary; the tokens in the files are added to them.
func (t *Tokenizer) addSpecials(ids map[string]int32, c tokenizerConfig) error {
	if !c.llama() {
		return fmt.Errorf("tokenizer_config.json has tokenizer_class %q; with a %s only LlamaTokenizer is supported",
			c.Class, modelFile)
	}
	for _, a := range c.Decoder {
		if a.conditional() {
			return fmt.Errorf("added token %q sets lstrip, rstrip or single_word; they are not supported with a %s",
				a.Content, modelFile)
		}
	}
	c.defaults = specialNames{BOS: addedToken{Content: "<s>"}, EOS: addedToken{Content: "</s>"},
		UNK: addedToken{Content: "<unk>"}}
	return errors.Join(c.check(), t.addFromFiles(ids, c), t.addNames(ids, c))
}

// addNames finds the tokens that have a role, and makes them control tokens.
func (t *Tokenizer) addNames(ids map[string]int32, c tokenizerConfig) error {
	for _, name := range []struct {
		spellings []addedToken
		id        *int32
	}{
		{[]addedToken{c.BOS, c.mapped.BOS, c.defaults.BOS}, &t.BOS},
		{[]addedToken{c.EOS, c.mapped.EOS, c.defaults.EOS}, &t.EOS},
		{[]addedToken{c.UNK, c.mapped.UNK, c.defaults.UNK}, nil},
		{[]addedToken{c.Pad}, nil},
		{[]addedToken{c.mapped.Pad}, nil},
	} {
		id, err := t.addName(ids, spelling(name.spellings...))
		if err != nil {
			return err
		}
		if name.id != nil {
			*name.id = id
		}
	}
	for _, a := range slices.Concat(c.Additional, c.mapped.Additional) {
		if _, err := t.addName(ids, a.Content); err != nil {
			return err
		}
	}
	return nil
}

// addName makes the token with the given text a control token, and returns its id; -1 if text is empty.
func (t *Tokenizer) addName(ids map[string]int32, text string) (int32, error) {
	if text == "" {
		return -1, nil
	}
	id, ok := ids[text]
	if !ok {
		return -1, fmt.Errorf("special token %q is not in the vocabulary or the added tokens", text)
	}
	t.addSpecial(specialToken{text: text, id: id, control: true})
	return id, nil
}

// addFromFiles adds the tokens of added_tokens_decoder and added_tokens.json, and adds their ids to ids.
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

// maxAddedTokens keeps a wrong id from creating a vocabulary of billions.
const maxAddedTokens = 1 << 16

func (t *Tokenizer) addToken(ids map[string]int32, a addedToken, id int) error {
	switch {
	case a.Content == "":
		return fmt.Errorf("added token %d has no text", id)
	case id < 0 || id >= len(ids)+maxAddedTokens:
		return fmt.Errorf("added token %q has the id %d, outside the vocabulary", a.Content, id)
	}
	ids[a.Content] = int32(id)
	t.addSpecial(specialToken{
		text: a.Content, id: int32(id), control: a.Special,
		lstrip: a.LStrip, rstrip: a.RStrip, singleWord: a.SingleWord, normalized: a.Normalized,
	})
	return nil
}

// addSpecial adds s, or makes an existing token with the same text a control token.
func (t *Tokenizer) addSpecial(s specialToken) {
	i := slices.IndexFunc(t.specials, func(other specialToken) bool { return other.text == s.text })
	if i < 0 {
		i = len(t.specials)
		t.specials = append(t.specials, s)
	}
	t.specials[i].id = s.id
	t.specials[i].control = s.control || t.specials[i].control
	for int(s.id) >= len(t.vocabulary) {
		t.vocabulary = append(t.vocabulary, vocabularyEntry{})
	}
	t.vocabulary[s.id] = vocabularyEntry{textEntry, s.text}
	if t.specials[i].control {
		t.vocabulary[s.id] = vocabularyEntry{kind: controlEntry}
	}
}
