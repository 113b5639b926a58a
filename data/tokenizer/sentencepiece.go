package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// space is how SentencePiece writes a space in its pieces.
const space = "▁"

// The kinds of a piece: SentencePiece.Type of sentencepiece_model.proto.
const (
	normalPiece  = 1
	unknownPiece = 2
	controlPiece = 3
	bytePiece    = 6
)

// piece is one entry of a SentencePiece vocabulary; its index is its id.
type piece struct {
	text  string
	score float32
	kind  uint64
}

// sentencePieceModel is the part of a SentencePiece model file that affects tokenisation. Its BPE has byte fallback,
// and its normalizer changes only spaces: parseSentencePiece refuses everything else.
type sentencePieceModel struct {
	pieces      []piece
	dummyPrefix bool // a space is put before the text
}

// parseSentencePiece reads a SentencePiece model file (sentencepiece_model.proto, message ModelProto).
func parseSentencePiece(file []byte) (sentencePieceModel, error) {
	m := sentencePieceModel{dummyPrefix: true}
	trainer, normalizer := trainerSpec{kind: unigramModel},
		normalizerSpec{dummyPrefix: true, removeSpaces: true, escapeSpaces: true}
	err := eachField(file, func(f protoField) (err error) {
		switch f.number {
		case 1:
			var p piece
			p, err = parsePiece(f)
			m.pieces = append(m.pieces, p)
		case 2:
			err = trainer.parse(f)
		case 3:
			err = normalizer.parse(f)
		case 5: // denormalizer_spec has the same fields
			var denormalizer normalizerSpec
			err = denormalizer.parse(f)
			normalizer.rewrites = normalizer.rewrites || denormalizer.rewrites
		}
		return err
	})
	if err != nil {
		return m, fmt.Errorf("not a SentencePiece model: %w", err)
	}
	m.dummyPrefix = normalizer.dummyPrefix
	return m, errors.Join(trainer.check(), normalizer.check(), m.check())
}

func parsePiece(f protoField) (piece, error) {
	p := piece{kind: normalPiece}
	err := eachMessageField(f, func(f protoField) (err error) {
		switch f.number {
		case 1:
			p.text, err = f.string()
		case 2:
			p.score, err = f.float()
		case 3:
			p.kind, err = f.varint()
		}
		return err
	})
	return p, err
}

// check reports features of this vocabulary that encoding does not support.
func (m sentencePieceModel) check() error {
	seen := make(map[string]bool, len(m.pieces))
	bytes := 0
	for id, p := range m.pieces {
		switch p.kind {
		case normalPiece, unknownPiece, controlPiece:
		case bytePiece:
			bytes++
		default:
			return fmt.Errorf("piece %d (%q) is user-defined or unused, which is not supported", id, p.text)
		}
		if p.text == "" || seen[p.text] || math.IsNaN(float64(p.score)) {
			return fmt.Errorf("piece %d (%q) is empty, a duplicate or has no score", id, p.text)
		}
		seen[p.text] = true
	}
	if bytes != 256 {
		return fmt.Errorf("vocabulary has %d byte pieces where 256 are needed; "+
			"a model trained without byte_fallback is not supported", bytes)
	}
	if !seen[space] {
		return fmt.Errorf("vocabulary has no piece %q for a space", space)
	}
	return nil
}

// Values of TrainerSpec.ModelType.
const (
	unigramModel = 1
	bpeModel     = 2
)

// trainerSpec is the part of TrainerSpec that matters after training.
type trainerSpec struct {
	kind        uint64
	spaceSuffix bool
}

func (s *trainerSpec) parse(f protoField) error {
	return eachMessageField(f, func(f protoField) (err error) {
		switch f.number {
		case 3:
			s.kind, err = f.varint()
		case 24:
			s.spaceSuffix, err = f.bool()
		}
		return err
	})
}

func (s trainerSpec) check() error {
	if s.kind != bpeModel {
		names := map[uint64]string{unigramModel: "Unigram", 3: "Word", 4: "Char"}
		return fmt.Errorf("model type is %d (%s); only BPE, which Llama and Vicuna use, is supported",
			s.kind, names[s.kind])
	}
	if s.spaceSuffix {
		return errors.New("treat_whitespace_as_suffix is set; it is not supported")
	}
	return nil
}

// normalizerSpec is NormalizerSpec.
type normalizerSpec struct {
	name         string
	rewrites     bool // has a table of replacements, as nmt_nfkc does
	dummyPrefix  bool
	removeSpaces bool
	escapeSpaces bool
}

func (s *normalizerSpec) parse(f protoField) error {
	return eachMessageField(f, func(f protoField) (err error) {
		var table string
		switch f.number {
		case 1:
			s.name, err = f.string()
		case 2:
			table, err = f.string()
			s.rewrites = len(table) > 0
		case 3:
			s.dummyPrefix, err = f.bool()
		case 4:
			s.removeSpaces, err = f.bool()
		case 5:
			s.escapeSpaces, err = f.bool()
		}
		return err
	})
}

func (s normalizerSpec) check() error {
	if s.rewrites || s.removeSpaces || !s.escapeSpaces {
		return fmt.Errorf("normalizer %q rewrites the text (replacements %t, remove_extra_whitespaces %t, "+
			"escape_whitespaces %t); only identity is supported",
			s.name, s.rewrites, s.removeSpaces, s.escapeSpaces)
	}
	return nil
}

// byteOf is the byte that a byte piece such as <0x0A> stands for.
func (p piece) byteOf() (byte, error) {
	var b byte
	if n, err := fmt.Sscanf(p.text, "<0x%02X>", &b); n != 1 || err != nil || len(p.text) != 6 ||
		!strings.HasSuffix(p.text, ">") {
		return 0, fmt.Errorf("byte piece %q is not spelled <0xNN>", p.text)
	}
	return b, nil
}

// protoField is one field of a protobuf message in the wire format.
type protoField struct {
	number  uint64
	wire    uint64 // 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes
	value   uint64 // for wire 0
	content []byte // for the others
}

func (f protoField) varint() (uint64, error) {
	if f.wire != 0 {
		return 0, fmt.Errorf("field %d has wire type %d, not a number", f.number, f.wire)
	}
	return f.value, nil
}

func (f protoField) bool() (bool, error) {
	v, err := f.varint()
	return v != 0, err
}

func (f protoField) float() (float32, error) {
	if f.wire != 5 {
		return 0, fmt.Errorf("field %d has wire type %d, not a float", f.number, f.wire)
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(f.content)), nil
}

func (f protoField) string() (string, error) {
	if f.wire != 2 {
		return "", fmt.Errorf("field %d has wire type %d, not a string", f.number, f.wire)
	}
	return string(f.content), nil
}

// eachMessageField visits the fields of the message that f holds.
func eachMessageField(f protoField, visit func(protoField) error) error {
	if f.wire != 2 {
		return fmt.Errorf("field %d has wire type %d, not a message", f.number, f.wire)
	}
	return eachField(f.content, visit)
}

// eachField visits the fields of a protobuf message in file order.
func eachField(message []byte, visit func(protoField) error) error {
	for at := 0; at < len(message); {
		f, size, err := nextField(message[at:])
		if err != nil {
			return fmt.Errorf("byte %d: %w", at, err)
		}
		if err := visit(f); err != nil {
			return err
		}
		at += size
	}
	return nil
}

// nextField reads the field at the start of b and returns how many bytes it takes.
func nextField(b []byte) (f protoField, size int, err error) {
	key, n := binary.Uvarint(b)
	if n <= 0 || key>>3 == 0 {
		return f, 0, errors.New("invalid field key")
	}
	f.number, f.wire = key>>3, key&7
	var length uint64
	switch f.wire {
	case 0:
		v, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return f, 0, errors.New("invalid number")
		}
		f.value = v
		return f, n + m, nil
	case 1:
		length = 8
	case 2:
		v, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return f, 0, errors.New("invalid length")
		}
		length, n = v, n+m
	case 5:
		length = 4
	default:
		return f, 0, fmt.Errorf("wire type %d", f.wire)
	}
	if length > uint64(len(b)-n) {
		return f, 0, fmt.Errorf("field %d needs %d bytes, %d are left", f.number, length, len(b)-n)
	}
	end := n + int(length)
	f.content = b[n:end]
	return f, end, nil
}
