package tokenizer

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

// protoBytes is a protobuf field as bytes: a uint64 as varint, a float32 as four bytes, a string as length and bytes.
func protoBytes(number uint64, value any) string {
	switch v := value.(type) {
	case uint64:
		return string(binary.AppendUvarint(binary.AppendUvarint(nil, number<<3), v))
	case float32:
		return string(binary.LittleEndian.AppendUint32(binary.AppendUvarint(nil, number<<3|5), math.Float32bits(v)))
	case string:
		return string(binary.AppendUvarint(binary.AppendUvarint(nil, number<<3|2), uint64(len(v)))) + v
	}
	panic("no such field")
}

func pieceField(text string, score float32, kind uint64) string {
	return protoBytes(1, protoBytes(1, text)+protoBytes(2, score)+protoBytes(3, kind))
}

// modelParts are the parts of a valid model file.
type modelParts struct{ pieces, trainer, normalizer string }

func smallestModel() modelParts {
	var m modelParts
	m.pieces = pieceField("<unk>", 0, unknownPiece) + pieceField("<s>", 0, controlPiece) +
		pieceField("</s>", 0, controlPiece)
	for b := range 256 {
		m.pieces += pieceField(fmt.Sprintf("<0x%02X>", b), 0, bytePiece)
	}
	m.pieces += protoBytes(1, protoBytes(1, space)+protoBytes(2, float32(-1))) // kind left out: normal
	m.trainer = protoBytes(3, uint64(bpeModel))
	m.normalizer = protoBytes(1, "identity") + protoBytes(4, uint64(0))
	return m
}

func (m modelParts) file() []byte {
	return []byte(m.pieces + protoBytes(2, m.trainer) + protoBytes(3, m.normalizer) +
		protoBytes(4, "self-test data is not read") + protoBytes(99, uint64(7)))
}

func TestParseSentencePiece(t *testing.T) {
	parts := smallestModel()
	model, err := parseSentencePiece(parts.file())
	if err != nil {
		t.Fatal(err)
	}
	if last := model.pieces[len(model.pieces)-1]; len(model.pieces) != 260 || last != (piece{space, -1, normalPiece}) ||
		!model.dummyPrefix {
		t.Errorf("%d pieces, the last %+v, dummy prefix %t", len(model.pieces), last, model.dummyPrefix)
	}
	parts.normalizer += protoBytes(3, uint64(0))
	if model, err = parseSentencePiece(parts.file()); err != nil || model.dummyPrefix {
		t.Errorf("add_dummy_prefix false: %t, %v", model.dummyPrefix, err)
	}
}

func TestParseSentencePieceRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*modelParts)
		want   string
	}{
		{"unigram", func(m *modelParts) { m.trainer = protoBytes(3, uint64(unigramModel)) },
			"model type is 1 (Unigram); only BPE"},
		{"no model type", func(m *modelParts) { m.trainer = "" }, "model type is 1 (Unigram)"},
		{"suffix", func(m *modelParts) { m.trainer += protoBytes(24, uint64(1)) }, "treat_whitespace_as_suffix"},
		{"replacements", func(m *modelParts) { m.normalizer += protoBytes(2, "table") },
			`normalizer "identity" rewrites the text (replacements true`},
		{"spaces removed", func(m *modelParts) { m.normalizer = protoBytes(1, "identity") },
			"remove_extra_whitespaces true"},
		{"spaces kept", func(m *modelParts) { m.normalizer += protoBytes(5, uint64(0)) }, "escape_whitespaces false"},
		{"user-defined", func(m *modelParts) { m.pieces += pieceField("<x>", 0, 4) },
			`piece 260 ("<x>") is user-defined`},
		{"unused", func(m *modelParts) { m.pieces += pieceField("x", 0, 5) }, "unused"},
		{"duplicate", func(m *modelParts) { m.pieces += pieceField(space, 0, normalPiece) }, "duplicate"},
		{"no score", func(m *modelParts) { m.pieces += pieceField("x", float32(math.NaN()), normalPiece) }, "no score"},
		{"bytes missing", func(m *modelParts) { m.pieces = pieceField(space, 0, normalPiece) },
			"0 byte pieces where 256 are needed"},
		{"no space", func(m *modelParts) {
			m.pieces = strings.Replace(m.pieces, protoBytes(1, space), protoBytes(1, "xyz"), 1)
		}, `no piece "▁"`},
		{"wire type", func(m *modelParts) { m.trainer = protoBytes(3, "bpe") },
			"field 3 has wire type 2, not a number"},
		{"cut short", func(m *modelParts) { m.normalizer = "\x0a\xff" }, "invalid length"},
	} {
		parts := smallestModel()
		test.change(&parts)
		_, err := parseSentencePiece(parts.file())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want %q", test.name, err, test.want)
		}
	}
}

// FuzzParseSentencePiece wants no panic, and a tokenizer from whatever is accepted.
func FuzzParseSentencePiece(f *testing.F) {
	tiny, err := os.ReadFile("testdata/text_tiny.model")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tiny)
	f.Add(smallestModel().file())
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, file []byte) {
		model, err := parseSentencePiece(file)
		if err != nil {
			return
		}
		tokenizer, err := newTokenizer(model, tokenizerConfig{}, "auto")
		if err != nil {
			return
		}
		checkOffsets(t, "a b <s>c", tokenizer.Encode("a b <s>c"))
	})
}
