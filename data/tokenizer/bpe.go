package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// bpe is a vocabulary in the form that merging needs. It is read-only once made.
//
// A SentencePiece model ranks pieces: two neighbours merge if their joined text is a piece. A tokenizer.json ranks
// pairs of tokens: pairs is set, and every symbol has an id from the start.
type bpe struct {
	ids   map[string]int32   // the tokens that text can become
	bytes [256]int32         // the token of each byte; -1 if there is none
	ranks []int32            // of pieces, by id; the lowest merges first
	pairs map[uint64]becomes // by pairOf
	runes bool               // with pairs: a symbol is a character if that is a token, not always a byte
	whole bool               // with pairs: a word that is a token is kept whole (ignore_merges)

	// lacking says that some byte has no token. Such a byte becomes unknown, a run of them only one if fused is set; if
	// unknown is -1, it is dropped.
	lacking, fused bool
	unknown        int32

	// cuts make words of a text: each cuts up the pieces of the one before it. Nothing merges across the end of a word,
	// so words can be encoded, and cached, one by one.
	cuts []cutter
}

// becomes is the token that a pair merges into.
type becomes struct{ rank, id int32 }

func pairOf(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

func newBPE(pieces []piece) (*bpe, error) {
	b := &bpe{ids: make(map[string]int32, len(pieces)), ranks: ranksOf(pieces), cuts: []cutter{wordEnd}}
	for id, p := range pieces {
		switch p.kind {
		case normalPiece:
			b.ids[p.text] = int32(id)
			if spaceInside(p.text) {
				b.cuts = []cutter{wholeText}
			}
		case bytePiece:
			value, err := p.byteOf()
			if err != nil {
				return nil, err
			}
			b.bytes[value] = int32(id)
		}
	}
	if _, ok := b.ids[space]; !ok {
		return nil, fmt.Errorf("piece %q is not an ordinary piece", space)
	}
	return b, nil
}

func (b *bpe) knows(text string) bool {
	_, ok := b.ids[text]
	return ok
}

// ranksOf ranks pieces by their scores, highest first; equal scores have equal ranks.
func ranksOf(pieces []piece) []int32 {
	scores := make([]float32, len(pieces))
	for id, p := range pieces {
		scores[id] = -p.score
	}
	order := slices.Compact(slices.Sorted(slices.Values(scores)))
	ranks := make([]int32, len(pieces))
	for id := range ranks {
		at, _ := slices.BinarySearch(order, scores[id])
		ranks[id] = int32(at)
	}
	return ranks
}

// spaceInside reports whether a token contains a space after another character, so that it crosses the start of a word.
func spaceInside(text string) bool { return strings.Contains(strings.TrimLeft(text, space), space) }

func wholeText(text string) int { return len(text) }

const (
	cachedWords      = 1 << 15 // words cached by one merger; then the cache is cleared
	cachedWordLength = 64      // bytes; longer words rarely repeat
)

// merger encodes words and caches them. Only one goroutine may use it at a time.
type merger struct {
	*bpe
	known map[wordKey][]Token
	lost  string // the first character that had no token

	// scratch of merge
	text    []byte // the word as written in the vocabulary: ▁ for a space
	symbols []symbol
	pending pairHeap
}

type wordKey struct {
	prefixed bool
	word     string
}

// symbol is a run of characters that has become one token so far, or that is not a token: id -1. A symbol that was
// merged into its left neighbour has end 0.
type symbol struct {
	id         int32
	start, end int // in merger.text
	from, to   int // in the word
	prev, next int
}

func newMerger(b *bpe) *merger { return &merger{bpe: b, known: map[wordKey][]Token{}} }

// encode appends the tokens of text, which has no special token and starts at byte base of the whole; prefixed puts a
// space before it.
func (m *merger) encode(out []Token, text string, base int, prefixed bool) []Token {
	return m.pieces(out, text, base, prefixed, m.cuts)
}

// pieces is encode for a text that cuts are left to cut.
func (m *merger) pieces(out []Token, text string, base int, prefixed bool, cuts []cutter) []Token {
	for at := 0; at < len(text) || prefixed; prefixed = false {
		end := at + cuts[0](text[at:])
		if len(cuts) > 1 {
			out = m.pieces(out, text[at:end], base+at, prefixed, cuts[1:])
		} else {
			for _, t := range m.word(text[at:end], prefixed) {
				out = append(out, Token{ID: t.ID, Start: base + at + t.Start, End: base + at + t.End})
			}
		}
		at = end
	}
	return out
}

// wordEnd is the length of the first word: the spaces at its start and everything up to the next space.
func wordEnd(text string) int {
	inWord := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == ' ':
		case strings.HasPrefix(text[i:], space):
		default:
			inWord = true
			continue
		}
		if inWord {
			return i
		}
		if text[i] != ' ' {
			i += len(space) - 1
		}
	}
	return len(text)
}

// word returns the tokens of one word, with offsets from its start. The caller must not change them.
func (m *merger) word(word string, prefixed bool) []Token {
	if len(word) > cachedWordLength {
		return m.merge(word, prefixed)
	}
	if tokens, ok := m.known[wordKey{prefixed, word}]; ok {
		return tokens
	}
	if len(m.known) >= cachedWords {
		clear(m.known)
	}
	tokens := m.merge(word, prefixed)
	m.known[wordKey{prefixed, strings.Clone(word)}] = tokens
	return tokens
}

// merge is BPE: starting from single characters or bytes, it always merges the pair of neighbours with the lowest rank,
// the leftmost of equals, until no pair merges.
func (m *merger) merge(word string, prefixed bool) []Token {
	m.text, m.symbols, m.pending = m.text[:0], m.symbols[:0], m.pending[:0]
	if id, ok := m.ids[word]; ok && m.whole {
		return []Token{{ID: id, End: len(word)}}
	}
	m.split(word, prefixed)
	for i := 1; i < len(m.symbols); i++ {
		m.propose(i-1, i)
	}
	for len(m.pending) > 0 {
		p := m.pending.pop()
		left, right := &m.symbols[p.left], &m.symbols[p.right]
		if left.end == 0 || right.end == 0 || right.end-left.start != p.length {
			continue // one of the two has changed in the meantime
		}
		left.id, left.end, left.to, left.next = p.id, right.end, right.to, right.next
		right.end = 0
		if left.next >= 0 {
			m.symbols[left.next].prev = p.left
		}
		m.propose(left.prev, p.left)
		m.propose(p.left, left.next)
	}
	return m.tokens()
}

// split makes a symbol of each character, or of its bytes.
func (m *merger) split(word string, prefixed bool) {
	if prefixed {
		m.add(space, 0, 0)
	}
	for i := 0; i < len(word); {
		r, width := utf8.DecodeRuneInString(word[i:])
		switch char := word[i : i+width]; {
		case m.pairs != nil:
			m.addToken(char, i)
		case r == ' ':
			m.add(space, i, i+width)
		case r == utf8.RuneError:
			m.add(string(utf8.RuneError), i, i+width) // an invalid byte becomes U+FFFD, as in SentencePiece
		default:
			m.add(char, i, i+width)
		}
		i += width
	}
	if n := len(m.symbols); n > 0 {
		m.symbols[n-1].next = -1
	}
}

// add appends a symbol with the given text for bytes [from, to) of the word.
func (m *merger) add(text string, from, to int) {
	id, ok := m.ids[text]
	if !ok {
		id = -1
	}
	m.addSymbol(id, text, from, to)
}

// addToken appends the token of a character at byte i of the word, or those of its bytes.
func (m *merger) addToken(char string, i int) {
	if m.runes {
		if id, ok := m.ids[char]; ok {
			m.addSymbol(id, char, i, i+len(char))
			return
		}
	}
	for k := range len(char) {
		if id := m.bytes[char[k]]; id >= 0 {
			m.addSymbol(id, char[k:k+1], i+k, i+k+1)
			continue
		}
		if m.lost == "" {
			m.lost = strings.Clone(char)
		}
		m.addUnknown(char[k:k+1], i+k)
	}
}

// addUnknown is addToken for a byte that has no token.
func (m *merger) addUnknown(char string, i int) {
	if m.unknown < 0 {
		return
	}
	if n := len(m.symbols); n > 0 && m.fused && m.symbols[n-1].id == m.unknown && m.symbols[n-1].to == i {
		m.text = append(m.text, char...)
		m.symbols[n-1].end, m.symbols[n-1].to = len(m.text), i+1
		return
	}
	m.addSymbol(m.unknown, char, i, i+1)
}

func (m *merger) addSymbol(id int32, text string, from, to int) {
	start, n := len(m.text), len(m.symbols)
	m.text = append(m.text, text...)
	m.symbols = append(m.symbols,
		symbol{id: id, start: start, end: len(m.text), from: from, to: to, prev: n - 1, next: n + 1})
}

// propose queues the merge of two neighbours if they merge; -1 means no neighbour.
func (m *merger) propose(left, right int) {
	if left < 0 || right < 0 {
		return
	}
	if b, ok := m.merged(&m.symbols[left], &m.symbols[right]); ok {
		m.pending.push(pair{becomes: b, left: left, right: right, length: m.symbols[right].end - m.symbols[left].start})
	}
}

// merged returns the token that two neighbours merge into.
func (m *merger) merged(left, right *symbol) (becomes, bool) {
	if m.pairs != nil {
		b, ok := m.pairs[pairOf(left.id, right.id)]
		return b, ok
	}
	id, ok := m.ids[string(m.text[left.start:right.end])]
	if !ok {
		return becomes{}, false
	}
	return becomes{rank: m.ranks[id], id: id}, true
}

// tokens returns the result of merge; a character outside the vocabulary becomes its bytes.
func (m *merger) tokens() []Token {
	var out []Token
	if len(m.symbols) == 0 {
		return out
	}
	for i := 0; i >= 0; i = m.symbols[i].next {
		s := m.symbols[i]
		if s.id >= 0 {
			out = append(out, Token{ID: s.id, Start: s.from, End: s.to})
			continue
		}
		for k, b := range m.text[s.start:s.end] {
			out = append(out, Token{ID: m.bytes[b], Start: min(s.from+k, s.to), End: min(s.from+k+1, s.to)})
		}
	}
	return out
}
