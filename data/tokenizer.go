package data

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Token is one id and the bytes [Start, End) of the text that it stands for. A space that the tokenizer put before the text takes
// no bytes: a token that is only this space has Start = End.
type Token struct {
	ID         int32
	Start, End int
}

// Tokenizer turns text into the ids of a SentencePiece BPE vocabulary exactly as Hugging Face's slow LlamaTokenizer
// (transformers, tokenization_llama.py) does, for both values of its legacy flag. It is safe for concurrent use.
//
// Text is first cut at special tokens; each stretch between them is encoded on its own. With legacy every stretch gets a space
// before it; without, only the very start of the text does.
type Tokenizer struct {
	dummyPrefix   bool
	legacy        bool
	addBOS        bool
	bos, eos, unk int32

	vocabulary []vocabularyEntry // by id
	specials   []specialToken    // longest first
	starts     [256]bool         // the bytes that special tokens start with

	bpe     *bpe
	mergers sync.Pool // of *merger: a cache of words for each goroutine at work
}

// vocabularyEntry is what an id decodes to.
type vocabularyEntry struct {
	kind entryKind
	text string // with ordinary spaces
}

type entryKind byte

const (
	absentEntry  entryKind = iota // a gap between added tokens
	textEntry                     // text
	byteEntry                     // one byte, part of a UTF-8 character
	controlEntry                  // nothing
)

// specialToken is text that becomes one id wherever it stands.
type specialToken struct {
	text    string
	id      int32
	control bool // a control token such as </s>, not just an added word
}

// OpenTokenizer reads tokenizer.model from a folder, or path itself if it is a file, with tokenizer_config.json,
// special_tokens_map.json and added_tokens.json where they lie beside it.
//
// legacy is "true", "false", or "auto": the value in tokenizer_config.json, true if that has none (Hugging Face's default).
func OpenTokenizer(path, legacy string) (*Tokenizer, error) {
	file := path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		file = filepath.Join(path, "tokenizer.model")
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w (it must be a SentencePiece tokenizer.model, as Llama and Vicuna have; tokenizer.json is not read)", err)
	}
	model, err := parseSentencePiece(content)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", file, err)
	}
	config, err := readTokenizerConfig(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := newTokenizer(model, config, legacy)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", file, err)
	}
	return t, nil
}

func newTokenizer(model sentencePieceModel, config tokenizerConfig, legacy string) (*Tokenizer, error) {
	t := &Tokenizer{dummyPrefix: model.dummyPrefix, addBOS: config.addBOS()}
	var err error
	if t.legacy, err = config.legacy(legacy); err != nil {
		return nil, err
	}
	if t.bpe, err = newBPE(model.pieces); err != nil {
		return nil, err
	}
	t.mergers.New = func() any { return newMerger(t.bpe) }
	for _, p := range model.pieces {
		t.vocabulary = append(t.vocabulary, entryOf(p))
	}
	if err := t.addSpecials(model.pieces, config); err != nil {
		return nil, err
	}
	return t, nil
}

func entryOf(p piece) vocabularyEntry {
	switch p.kind {
	case normalPiece:
		return vocabularyEntry{textEntry, strings.ReplaceAll(p.text, space, " ")}
	case bytePiece:
		b, _ := p.byteOf() // newBPE has checked it
		return vocabularyEntry{byteEntry, string([]byte{b})}
	}
	return vocabularyEntry{kind: controlEntry}
}

// Encode is the tokens of text, without a beginning-of-sequence token.
func (t *Tokenizer) Encode(text string) []Token {
	m := t.mergers.Get().(*merger)
	defer t.mergers.Put(m)
	out := make([]Token, 0, len(text)/3+2)
	for at := 0; at < len(text); {
		start, special := t.nextSpecial(text, at)
		if start > at || !t.legacy && at == 0 && !special.control {
			prefixed := t.legacy && t.dummyPrefix || !t.legacy && at == 0
			out = m.encode(out, text[at:start], at, prefixed)
		}
		if start < len(text) {
			out = append(out, Token{ID: special.id, Start: start, End: start + len(special.text)})
		}
		at = start + len(special.text)
	}
	return out
}

// nextSpecial finds the first special token from byte at on, the longest of those that start there; len(text) if there is none.
func (t *Tokenizer) nextSpecial(text string, at int) (int, specialToken) {
	for i := at; i < len(text); i++ {
		if !t.starts[text[i]] {
			continue
		}
		for _, s := range t.specials {
			if strings.HasPrefix(text[i:], s.text) {
				return i, s
			}
		}
	}
	return len(text), specialToken{}
}

// controlIn is the first control token in text that would break a sample's mask, "" if there is none. The
// beginning-of-sequence token is harmless in the middle of a text.
func (t *Tokenizer) controlIn(text string) string {
	for at := 0; at < len(text); {
		start, special := t.nextSpecial(text, at)
		if special.control && special.id != t.bos {
			return special.text
		}
		at = start + len(special.text)
	}
	return ""
}

// special is the id of the special token that is spelled text.
func (t *Tokenizer) special(text string) (id int32, ok bool) {
	for _, s := range t.specials {
		if s.text == text {
			return s.id, true
		}
	}
	return 0, false
}

// BOS is the id that begins a sequence, usually <s>.
func (t *Tokenizer) BOS() int32 { return t.bos }

// EOS is the id that ends an answer, usually </s>.
func (t *Tokenizer) EOS() int32 { return t.eos }

// UNK is the id of <unk>, which ordinary text never becomes. LLaVA pads with it.
func (t *Tokenizer) UNK() int32 { return t.unk }

// VocabSize is one more than the highest id, added tokens included.
func (t *Tokenizer) VocabSize() int { return len(t.vocabulary) }

// Legacy says whether text behind a special token gets a space before it.
func (t *Tokenizer) Legacy() bool { return t.legacy }
