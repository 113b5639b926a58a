package shapes

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// vicunaTexts are what the template vicuna_v1 puts around the turns (FastChat's conversation.py).
var vicunaTexts = []string{
	"A chat between a curious user and an artificial intelligence assistant. " +
		"The assistant gives helpful, detailed, and polite answers to the user's questions.",
	"USER: ASSISTANT:",
}

// Piece types of sentencepiece_model.proto.
const (
	pieceNormal  = 1
	pieceUnknown = 2
	pieceControl = 3
	pieceByte    = 6
)

// wordStart represents a space in SentencePiece's pieces.
const wordStart = "▁"

type piece struct {
	text  string
	score float32 // BPE makes the possible merge with the highest score
	kind  uint64
}

// writeTokenizer writes a SentencePiece model (BPE with byte fallback) in which every word of the images' language and
// of the chat template vicuna_v1 is one token after a space; the words that can start a line or follow an end of text
// are also one token without it. Anything else is split into letters and bytes. Ids: 0 <unk>, 1 <s>, 2 </s>, 256 bytes,
// then the pieces.
func writeTokenizer(path string) error {
	if err := os.WriteFile(path, encodeModel(vocabulary()), 0o644); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	return nil
}

// vocabulary lists all pieces by id.
func vocabulary() []piece {
	pieces := []piece{{"<unk>", 0, pieceUnknown}, {"<s>", 0, pieceControl}, {"</s>", 0, pieceControl}}
	for b := range 256 {
		pieces = append(pieces, piece{fmt.Sprintf("<0x%02X>", b), 0, pieceByte})
	}
	for i, text := range prefixes(languageWords()) {
		pieces = append(pieces, piece{text, float32(-i), pieceNormal})
	}
	return pieces
}

// prefixes lists every prefix of every word, and every letter. BPE builds a word by adding one letter at a time, so
// each prefix must be a piece. Shorter ones are merged first; single characters, which no merge makes, are last.
func prefixes(words []string) []string {
	seen := map[string]bool{}
	for _, word := range words {
		for start, letter := range word {
			seen[string(letter)] = true
			seen[word[:start+utf8.RuneLen(letter)]] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b string) int {
		return cmp.Or(cmp.Compare(mergeRank(a), mergeRank(b)), cmp.Compare(a, b))
	})
}

// mergeRank orders pieces: lower ranks are merged first.
func mergeRank(text string) int {
	if length := utf8.RuneCountInString(text); length > 1 {
		return length
	}
	return math.MaxInt
}

// punctuation is never part of a word's token.
const punctuation = ".,?:"

// languageWords collects the words that the package and the chat template write: every word with wordStart, those that
// can start a line or follow an end of text also without it, and the punctuation.
func languageWords() []string {
	texts := slices.Concat(vicunaTexts, captionPrompts, colors, shapes, toldColors, toldShapes,
		[]string{colorsPrompt, shapesPrompt, "a an in the and one is", "yes no", "1 2 3"})
	for _, f := range forms {
		texts = append(texts, strings.ReplaceAll(f.pattern, "%s", ""))
	}
	for _, r := range relations {
		texts = append(texts, r.words)
	}
	for _, p := range positions {
		texts = append(texts, p.String())
	}
	words := strings.Split(punctuation, "")
	for _, text := range texts {
		for i, word := range strings.Fields(text) {
			word = strings.TrimRight(word, punctuation)
			words = append(words, wordStart+word)
			if i == 0 && word != strings.ToLower(word) {
				words = append(words, word)
			}
		}
	}
	return words
}

// encodeModel encodes a sentencepiece.ModelProto: pieces, the parts of the trainer's specification that encoders read
// (BPE, byte fallback), and a normalizer that only puts a space before a text.
func encodeModel(pieces []piece) []byte {
	var model protobuf
	for _, p := range pieces {
		var m protobuf
		m.text(1, p.text)
		m.float(2, p.score)
		m.varint(3, p.kind)
		model.message(1, m)
	}
	var trainer protobuf
	trainer.varint(3, 2) // model_type: BPE
	trainer.varint(4, uint64(len(pieces)))
	trainer.varint(35, 1) // byte_fallback
	model.message(2, trainer)

	var normalizer protobuf
	normalizer.text(1, "identity")
	normalizer.varint(3, 1) // add_dummy_prefix
	normalizer.varint(4, 0) // remove_extra_whitespaces
	normalizer.varint(5, 1) // escape_whitespaces
	model.message(3, normalizer)
	return model
}

// protobuf is a message in wire format; each method appends one field.
type protobuf []byte

func (p *protobuf) tag(field, wireType uint64) { *p = binary.AppendUvarint(*p, field<<3|wireType) }

func (p *protobuf) varint(field, value uint64) {
	p.tag(field, 0)
	*p = binary.AppendUvarint(*p, value)
}

func (p *protobuf) float(field uint64, value float32) {
	p.tag(field, 5)
	*p = binary.LittleEndian.AppendUint32(*p, math.Float32bits(value))
}

func (p *protobuf) text(field uint64, value string) { p.message(field, protobuf(value)) }

func (p *protobuf) message(field uint64, value protobuf) {
	p.tag(field, 2)
	*p = binary.AppendUvarint(*p, uint64(len(value)))
	*p = append(*p, value...)
}
