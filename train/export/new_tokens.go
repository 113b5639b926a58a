package export

import (
	"cmp"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/train/input"
)

// addedToken is a token that a model's tokenizer files get in addition to their own.
type addedToken struct {
	id      int64
	text    string
	special bool // left out of answers
}

// entry is the token as Hugging Face writes it.
func (a addedToken) entry() object {
	return object{
		"content": a.text, "lstrip": false, "rstrip": false, "normalized": false, "single_word": false,
		"special": a.special,
	}
}

// writeNewTokens adds the tokens of model.language.tokenizer.add to the tokenizer files of a folder.
func writeNewTokens(p *input.Preprocessor, dir string) error {
	var tokens []addedToken
	for _, token := range p.Tokenizer.NewTokens() {
		tokens = append(tokens, addedToken{int64(token.ID), token.Text, false})
	}
	if len(tokens) == 0 {
		return nil
	}
	return writeTokens(dir, tokens)
}

// writeTokens adds tokens to the tokenizer files of a folder, to each where its readers look.
func writeTokens(dir string, tokens []addedToken) error {
	tokens = slices.SortedFunc(slices.Values(tokens), func(a, b addedToken) int { return cmp.Compare(a.id, b.id) })
	earlier, err := readObject(filepath.Join(dir, "added_tokens.json"))
	if err != nil {
		return err
	}
	return errors.Join(
		editObject(filepath.Join(dir, "tokenizer_config.json"), func(config object) {
			decoder, ok := config["added_tokens_decoder"].(object)
			if !ok {
				decoder = ofOlderFile(earlier) // which is not read beside this key
			}
			for _, token := range tokens {
				decoder[strconv.FormatInt(token.id, 10)] = token.entry()
			}
			config["added_tokens_decoder"] = decoder
		}),
		editObject(filepath.Join(dir, "added_tokens.json"), func(added object) {
			for _, token := range tokens {
				added[token.text] = token.id
			}
		}),
		addToFast(filepath.Join(dir, "tokenizer.json"), tokens))
}

// ofOlderFile is the content of added_tokens.json, ids by text, as the key added_tokens_decoder.
func ofOlderFile(added object) object {
	decoder := object{}
	for text, id := range added {
		if id, ok := id.(json.Number); ok {
			decoder[id.String()] = addedToken{text: text}.entry()
		}
	}
	return decoder
}

// addToFast adds the tokens to a tokenizer.json, if there is one, by ascending id: readers number new tokens in the
// order of the list.
func addToFast(path string, tokens []addedToken) error {
	if !checkpoints.Exists(path) {
		return nil
	}
	return editObject(path, func(fast object) {
		added, _ := fast["added_tokens"].([]any)
		there := map[string]bool{}
		for _, other := range added {
			other, _ := other.(object)
			text, _ := other["content"].(string)
			there[text] = true
		}
		for _, token := range tokens {
			if entry := token.entry(); !there[token.text] {
				entry["id"] = token.id
				added = append(added, entry)
			}
		}
		fast["added_tokens"] = added
	})
}
