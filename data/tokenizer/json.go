package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
)

// tokenizerJSON is Hugging Face's tokenizer.json (huggingface/tokenizers, tokenizers/src/tokenizer/serialization.rs).
// Padding and truncation are not read: transformers sets its own for each call.
type tokenizerJSON struct {
	Version       string          `json:"version"`
	Truncation    json.RawMessage `json:"truncation"`
	Padding       json.RawMessage `json:"padding"`
	Added         []jsonToken     `json:"added_tokens"`
	Normalizer    component       `json:"normalizer"`
	PreTokenizer  component       `json:"pre_tokenizer"`
	PostProcessor component       `json:"post_processor"`
	Decoder       component       `json:"decoder"`
	Model         component       `json:"model"`
}

type jsonToken struct {
	ID int `json:"id"`
	addedToken
}

// UnmarshalJSON exists because addedToken has one that ignores the id.
func (j *jsonToken) UnmarshalJSON(b []byte) error {
	var id struct {
		ID *int `json:"id"`
	}
	if err := json.Unmarshal(b, &id); err != nil {
		return err
	}
	if id.ID == nil {
		return errors.New("an added token has no id")
	}
	j.ID = *id.ID
	return json.Unmarshal(b, &j.addedToken)
}

// openTokenizerJSON makes a tokenizer from a tokenizer.json and the files beside it.
func openTokenizerJSON(content []byte, config tokenizerConfig, legacy string) (*Tokenizer, error) {
	if legacy != "auto" {
		return nil, fmt.Errorf("legacy is %q, but a %s defines where spaces go: it must be auto", legacy, jsonFile)
	}
	var file tokenizerJSON
	if err := strictJSON(content, &file); err != nil {
		return nil, fmt.Errorf("not a Hugging Face tokenizer: %w", err)
	}
	p, err := file.pipeline()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{stretches: p, bytes: p.decoder.bytes, leading: p.decoder.leading,
		unknown: vocabularyEntry{kind: absentEntry}}
	model, err := parseBPE(file.Model)
	if err != nil {
		return nil, err
	}
	if p.bpe, err = model.bpe(p); err != nil {
		return nil, err
	}
	p.mergers.New = func() any { return newMerger(p.bpe) }
	if err := t.addVocabulary(model.Vocab, p.decoder.entry); err != nil {
		return nil, err
	}
	if err := t.addTokens(file.Added, model.Vocab, config); err != nil {
		return nil, err
	}
	if err := t.takeBOS(file.PostProcessor, config); err != nil {
		return nil, err
	}
	return t, t.sortTokens(p)
}

// addVocabulary fills the table used to decode ids.
func (t *Tokenizer) addVocabulary(vocabulary map[string]int32, entry func(text string) vocabularyEntry) error {
	t.vocabulary = make([]vocabularyEntry, len(vocabulary))
	for text, id := range vocabulary {
		if id < 0 || int(id) >= len(vocabulary)+maxAddedTokens {
			return fmt.Errorf("token %q has the id %d, outside the vocabulary", text, id)
		}
		for int(id) >= len(t.vocabulary) {
			t.vocabulary = append(t.vocabulary, vocabularyEntry{})
		}
		if t.vocabulary[id].kind != absentEntry {
			return fmt.Errorf("token %q has the id %d, as does another token", text, id)
		}
		t.vocabulary[id] = entry(text)
	}
	return nil
}

// addTokens adds the added tokens of the file, then those that are only in the files beside it, then the tokens' roles.
func (t *Tokenizer) addTokens(added []jsonToken, vocabulary map[string]int32, config tokenizerConfig) error {
	if err := config.check(); err != nil {
		return err
	}
	ids := maps.Clone(vocabulary)
	for _, a := range added {
		if _, twice := t.Special(a.Content); twice {
			return fmt.Errorf("added token %q appears twice", a.Content)
		}
		if err := t.addToken(ids, a.addedToken, a.ID); err != nil {
			return err
		}
	}
	known := func(text string) bool { _, ok := t.Special(text); return ok }
	maps.DeleteFunc(config.Decoder, func(_ string, a addedToken) bool { return known(a.Content) })
	maps.DeleteFunc(config.added, func(text string, _ int32) bool { return known(text) })
	if err := errors.Join(t.addFromFiles(ids, config), t.addNames(ids, config)); err != nil {
		return err
	}
	if t.EOS < 0 {
		return errors.New("no eos_token: tokenizer_config.json or special_tokens_map.json beside it must have it")
	}
	return nil
}

// takeBOS decides whether a text starts with a token, and with which: tokenizer_config.json takes precedence over the
// post-processor, as in transformers 5.
func (t *Tokenizer) takeBOS(post component, config tokenizerConfig) error {
	bos, err := parsePostProcessor(post)
	if err != nil {
		return err
	}
	if bos != "" {
		id, ok := t.Special(bos)
		if !ok {
			return fmt.Errorf("post-processor starts texts with %q, which is not an added token", bos)
		}
		if t.BOS >= 0 && t.BOS != id {
			return fmt.Errorf("post-processor starts texts with %q, which is not the bos_token", bos)
		}
		t.BOS = id
	}
	t.AddBOS = config.addBOS(bos != "") && t.BOS >= 0
	return nil
}

// sortTokens makes the tables of the added tokens to search for before and after the normalizer, and makes added words
// decode as the vocabulary does.
func (t *Tokenizer) sortTokens(p *pipeline) error {
	var raw, normalized []specialToken
	var strips, blank string
	for _, s := range t.specials {
		if s.rstrip {
			strips = s.text
		}
		if strings.TrimLeft(s.text, " \t\n\r\v\f") != s.text {
			blank = s.text
		}
		if s.normalized {
			s.text = p.normalize(s.text).text
			normalized = append(normalized, s)
		} else {
			raw = append(raw, s)
		}
		if !s.control {
			t.vocabulary[s.id] = p.decoder.entry(s.text)
		}
	}
	if strips != "" && blank != "" {
		return fmt.Errorf("added token %q takes the white space after it, and %q starts with white space: "+
			"the combination is not supported", strips, blank)
	}
	t.added, p.added = newAddedTokens(raw), newAddedTokens(normalized)
	return nil
}

// pipeline encodes stretches of text as a tokenizer.json says: normalizer, added tokens after it, pre-tokenizer, BPE.
type pipeline struct {
	*bpe
	normalize func(text string) aligned
	metaspace *metaspace // nil if there is none
	byteLevel bool
	cuts      []cutter
	decoder   tokenDecoder
	added     *addedTokens
	mergers   sync.Pool // of *merger
}

func (p *pipeline) encode(out []Token, stretch string, base int, _ specialToken) []Token {
	if stretch == "" {
		return out
	}
	m := p.mergers.Get().(*merger)
	defer p.mergers.Put(m)
	return p.encodeNormal(out, m, p.normalize(stretch), base)
}

// encodeNormal appends the tokens of a text behind the normalizer.
func (p *pipeline) encodeNormal(out []Token, m *merger, normal aligned, base int) []Token {
	for at := 0; at < len(normal.text); {
		start, end, special := p.added.next(normal.text, at, nil)
		if start > at {
			out = p.words(out, m, normal, at, start, base)
		}
		if start < len(normal.text) {
			out = append(out, Token{ID: special.id, Start: base + normal.origin(start), End: base + normal.origin(end)})
		}
		at = end
	}
	return out
}

// words appends the tokens of bytes [from, to) of normal, whose original starts at byte base of the text.
func (p *pipeline) words(out []Token, m *merger, normal aligned, from, to, base int) []Token {
	text := aligned{text: normal.text[from:to]}
	if p.metaspace != nil {
		text = p.metaspace.mark(text.text, base+normal.origin(from) == 0)
	}
	first := len(out)
	out = m.encode(out, text.text, 0, false)
	for i := range out[first:] {
		token := &out[first+i]
		token.Start = base + normal.origin(from+text.origin(token.Start))
		token.End = base + normal.origin(from+text.origin(token.End))
	}
	return out
}

// lost returns the first character of stretch that has no token.
func (p *pipeline) lost(stretch string) string {
	normal := p.normalize(stretch)
	for i := range len(normal.text) {
		if p.bytes[normal.text[i]] < 0 {
			m := newMerger(p.bpe) // remembers no word, so that it sees each
			p.encodeNormal(nil, m, normal, 0)
			return m.lost
		}
	}
	return ""
}
