package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Token is one id and the bytes [Start, End) of the text that it represents. A space that the tokenizer put before the
// text takes no bytes: a token that is only this space has Start = End.
type Token struct {
	ID         int32
	Start, End int
}

// Tokenizer turns text into the ids of a BPE vocabulary. It is safe for concurrent use.
//
// With a SentencePiece model it does exactly what Hugging Face's slow LlamaTokenizer does (transformers,
// tokenization_llama.py), for both values of its legacy flag; with a tokenizer.json, what Hugging Face's library
// tokenizers does.
//
// Text is first cut at special tokens; each stretch between them is encoded separately.
type Tokenizer struct {
	AddBOS bool  // BOS comes before a text, as the files say
	BOS    int32 // starts a sequence, usually <s>; -1 if there is none
	EOS    int32 // ends an answer, usually </s>

	file       string
	fresh      []NewToken
	vocabulary []vocabularyEntry // by id
	unknown    vocabularyEntry   // for ids that are not in the vocabulary
	specials   []specialToken
	added      *addedTokens // those that are searched for in the text itself
	stretches  stretchEncoder
	bytes      byteDecoder
	leading    leadingSpace
}

// stretchEncoder encodes the text between special tokens.
type stretchEncoder interface {
	// encode appends the tokens of stretch, which starts at byte base of the text; next is the special token after it,
	// if there is one.
	encode(out []Token, stretch string, base int, next specialToken) []Token
	// knows says whether the vocabulary has text as a token.
	knows(text string) bool
}

// vocabularyEntry is the decoded form of an id.
type vocabularyEntry struct {
	kind entryKind
	text string // with ordinary spaces
}

type entryKind byte

const (
	absentEntry  entryKind = iota // a gap between added tokens
	textEntry                     // text
	byteEntry                     // bytes, perhaps of a part of a UTF-8 character
	controlEntry                  // nothing
)

// OpenTokenizer reads the tokenizer in a folder, or path itself if it is a file, together with tokenizer_config.json,
// special_tokens_map.json and added_tokens.json if they are beside it.
//
// In a folder, tokenizer.model is read if transformers' slow LlamaTokenizer would read it, otherwise tokenizer.json.
//
// add are texts that become one token each, with the ids behind all others; one that is a token already keeps its id.
//
// legacy is "true", "false", or "auto": the value in tokenizer_config.json, true if it has none (Hugging Face's
// default). It must be "auto" for a tokenizer.json, which itself defines where spaces go.
func OpenTokenizer(path, legacy string, add ...string) (_ *Tokenizer, err error) {
	defer failure.MarkInput(&err)
	file, err := tokenizerFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	config, err := readTokenizerConfig(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	open := openSentencePiece
	if isTokenizerJSON(file) {
		open = openTokenizerJSON
	}
	t, err := open(content, config, legacy)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", file, err)
	}
	t.file = file
	if err := t.add(add); err != nil {
		return nil, err
	}
	return t, nil
}

const (
	modelFile = "tokenizer.model"
	jsonFile  = "tokenizer.json"
)

func isTokenizerJSON(file string) bool { return filepath.Ext(file) == ".json" }

// tokenizerFile returns the file to read for path.
func tokenizerFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return path, err
	}
	var found []string
	for _, name := range []string{modelFile, jsonFile} {
		if _, err := os.Stat(filepath.Join(path, name)); err == nil {
			found = append(found, filepath.Join(path, name))
		}
	}
	if len(found) == 0 {
		return "", fmt.Errorf("%s contains neither %s (SentencePiece, as in Llama and Vicuna) nor %s; "+
			"copy the model's tokenizer there", path, modelFile, jsonFile)
	}
	if len(found) == 2 {
		config, err := readTokenizerConfig(path)
		if err != nil {
			return "", err
		}
		if config.needsJSON() {
			return found[1], nil
		}
	}
	return found[0], nil
}

// Encode returns the tokens of text, without a beginning-of-sequence token.
func (t *Tokenizer) Encode(text string) []Token { return t.EncodeWith(text, nil) }

// EncodeWith is Encode for text of which parts were typed by someone who is not trusted: where literal says so of a
// byte, what looks like a special token is encoded as its letters.
func (t *Tokenizer) EncodeWith(text string, literal func(at int) bool) []Token {
	out := make([]Token, 0, len(text)/3+2)
	for at := 0; at < len(text); {
		start, end, special := t.added.next(text, at, literal)
		out = t.stretches.encode(out, text[at:start], at, special)
		if start < len(text) {
			out = append(out, Token{ID: special.id, Start: start, End: end})
		}
		at = end
	}
	return out
}

// ControlIn returns the first control token in text that would break a sample's mask or that the model would take for
// the start of something, "" if there is none. The <s> of Llama's and Vicuna's tokenizers passes: in texts it is HTML
// that strikes something out, and the original trains such rows.
func (t *Tokenizer) ControlIn(text string) string {
	for at := 0; at < len(text); {
		_, end, special := t.added.next(text, at, nil)
		if special.control && !t.harmless(special) {
			return special.text
		}
		at = end
	}
	for _, s := range t.specials { // those that are searched for after the normalizer
		if s.normalized && s.control && !t.harmless(s) && strings.Contains(text, s.text) {
			return s.text
		}
	}
	return ""
}

func (t *Tokenizer) harmless(s specialToken) bool {
	return s.text == "<s>" && s.id == t.BOS && s.id != t.EOS
}

// Missing returns the first character of text that the vocabulary has no token for, "" if there is none. Encode leaves
// it out, or writes the unknown token for it, as Hugging Face's library does.
func (t *Tokenizer) Missing(text string) string {
	p, ok := t.stretches.(*pipeline)
	if !ok || !p.lacking {
		return ""
	}
	for at := 0; at < len(text); {
		start, end, _ := t.added.next(text, at, nil)
		if lost := p.lost(text[at:start]); lost != "" {
			return lost
		}
		at = end
	}
	return ""
}

// Special returns the id of the special token with the given text.
func (t *Tokenizer) Special(text string) (id int32, ok bool) {
	for _, s := range t.specials {
		if s.text == text {
			return s.id, true
		}
	}
	return 0, false
}

// File returns the file that was read, and its name in a model's folder.
func (t *Tokenizer) File() (path, name string) {
	if isTokenizerJSON(t.file) {
		return t.file, jsonFile
	}
	return t.file, modelFile
}

// VocabSize is one more than the highest id, added tokens included.
func (t *Tokenizer) VocabSize() int { return len(t.vocabulary) }

// Legacy reports whether text after a special token of a SentencePiece model gets a space before it.
func (t *Tokenizer) Legacy() bool {
	s, ok := t.stretches.(*sentencePiece)
	return ok && s.legacy
}

// sentencePiece encodes with a SentencePiece model. With legacy, every stretch gets a space before it; without, only
// the start of the text does.
type sentencePiece struct {
	*bpe
	dummyPrefix bool
	legacy      bool
	mergers     sync.Pool // of *merger: a cache of words for each goroutine at work
}

func openSentencePiece(content []byte, config tokenizerConfig, legacy string) (*Tokenizer, error) {
	model, err := parseSentencePiece(content)
	if err != nil {
		return nil, err
	}
	return newTokenizer(model, config, legacy)
}

func newTokenizer(model sentencePieceModel, config tokenizerConfig, legacy string) (*Tokenizer, error) {
	s := &sentencePiece{dummyPrefix: model.dummyPrefix}
	t := &Tokenizer{AddBOS: config.addBOS(true), stretches: s, bytes: eachByte, leading: dropFromToken,
		unknown: vocabularyEntry{textEntry, string(utf8.RuneError)}}
	var err error
	if s.legacy, err = config.legacy(legacy); err != nil {
		return nil, err
	}
	if s.bpe, err = newBPE(model.pieces); err != nil {
		return nil, err
	}
	s.mergers.New = func() any { return newMerger(s.bpe) }
	ids := make(map[string]int32, len(model.pieces))
	for id, p := range model.pieces {
		t.vocabulary = append(t.vocabulary, entryOf(p))
		ids[p.text] = int32(id)
	}
	if err := t.addSpecials(ids, config); err != nil {
		return nil, err
	}
	t.added = newAddedTokens(t.specials)
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

func (s *sentencePiece) encode(out []Token, stretch string, base int, next specialToken) []Token {
	first := !s.legacy && base == 0
	if stretch == "" && (!first || next.control) {
		return out
	}
	m := s.mergers.Get().(*merger)
	defer s.mergers.Put(m)
	return m.encode(out, stretch, base, first || s.legacy && s.dummyPrefix)
}
