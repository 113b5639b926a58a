package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// jsonBPE is the component BPE.
type jsonBPE struct {
	Type         string           `json:"type"`
	Dropout      float64          `json:"dropout"`
	Unknown      *string          `json:"unk_token"` // stands for bytes that have no token
	Prefix       string           `json:"continuing_subword_prefix"`
	Suffix       string           `json:"end_of_word_suffix"`
	FuseUnknown  bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       []mergePair      `json:"merges"`
}

// mergePair is two tokens that merge: a list of two, or in older files a string with a space between them.
type mergePair [2]string

func (p *mergePair) UnmarshalJSON(b []byte) error {
	var line string
	if json.Unmarshal(b, &line) == nil {
		parts := strings.Split(line, " ")
		if len(parts) != 2 {
			return fmt.Errorf("merge %q is not two tokens with a space between them", line)
		}
		*p = mergePair(parts)
		return nil
	}
	var parts []string
	if err := json.Unmarshal(b, &parts); err != nil || len(parts) != 2 {
		return fmt.Errorf("merge %.40q is not two tokens", b)
	}
	*p = mergePair(parts)
	return nil
}

func parseBPE(c component) (m jsonBPE, err error) {
	if c.Type != "BPE" && c.Type != "" {
		return m, fmt.Errorf("model is of type %q; only BPE is supported", c.Type)
	}
	if err := strictJSON(c.raw, &m); err != nil {
		return m, fmt.Errorf("model: %w", err)
	}
	if c.Type == "" && m.Merges == nil { // older files do not name the type
		return m, errors.New("model has neither a type nor merges; only BPE is supported")
	}
	for _, option := range []struct {
		name string
		set  bool
	}{{"dropout", m.Dropout != 0}, {"continuing_subword_prefix", m.Prefix != ""},
		{"end_of_word_suffix", m.Suffix != ""}} {
		if option.set {
			return m, fmt.Errorf("model sets %s, which is not supported", option.name)
		}
	}
	return m, nil
}

// bpe is the model in the form that merging needs.
func (m jsonBPE) bpe(p *pipeline) (*bpe, error) {
	b := &bpe{ids: make(map[string]int32, len(m.Vocab)), pairs: make(map[uint64]becomes, len(m.Merges)),
		whole: m.IgnoreMerges, cuts: p.cuts, fused: m.FuseUnknown, unknown: -1}
	if m.Unknown != nil {
		if id, ok := m.Vocab[*m.Unknown]; ok {
			b.unknown = id
		}
	}
	for text, id := range m.Vocab {
		if text, ok := p.decoder.spelling(text); ok {
			b.ids[text] = id
		}
	}
	for rank, pair := range m.Merges {
		left, okLeft := m.Vocab[pair[0]]
		right, okRight := m.Vocab[pair[1]]
		id, ok := m.Vocab[pair[0]+pair[1]]
		if !okLeft || !okRight || !ok {
			return nil, fmt.Errorf("merge %d of %q and %q: one of them or their merge is not in the vocabulary",
				rank, pair[0], pair[1])
		}
		b.pairs[pairOf(left, right)] = becomes{rank: int32(rank), id: id}
	}
	if !p.decoder.byteLevel {
		return b, m.takeSpaces(b)
	}
	if len(b.cuts) == 0 {
		b.cuts = []cutter{wholeText}
	}
	for value := range b.bytes {
		id, ok := b.ids[string([]byte{byte(value)})]
		if !ok {
			id, b.lacking = -1, true
		}
		b.bytes[value] = id
	}
	return b, nil
}

// takeSpaces prepares for a vocabulary of characters, as made by SentencePiece, that writes a space as ▁.
func (m jsonBPE) takeSpaces(b *bpe) error {
	b.runes = true
	if _, ok := b.ids[space]; !ok || !m.ByteFallback {
		return fmt.Errorf("model without byte_fallback or without a token %q is not supported, unless it is byte-level",
			space)
	}
	inside := func(pair mergePair) bool { return spaceInside(pair[0] + pair[1]) }
	if b.cuts == nil {
		b.cuts = []cutter{wordEnd}
		if m.IgnoreMerges || slices.ContainsFunc(m.Merges, inside) {
			b.cuts = []cutter{wholeText}
		}
	}
	for value := range b.bytes {
		id, ok := b.ids[fmt.Sprintf("<0x%02X>", value)]
		if !ok {
			return fmt.Errorf("vocabulary has no token for the byte 0x%02X", value)
		}
		b.bytes[value] = id
	}
	return nil
}

// byteOfToken is the byte that a token such as <0x0A> stands for.
func byteOfToken(text string) (byte, bool) {
	if len(text) != 6 || !strings.HasPrefix(text, "<0x") || text[5] != '>' {
		return 0, false
	}
	value, err := strconv.ParseUint(text[3:5], 16, 8)
	return byte(value), err == nil
}
