package data

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// bpe is a SentencePiece vocabulary in the shape that merging needs. It is read-only after newBPE.
type bpe struct {
	ids    map[string]int32 // pieces that text can become
	scores []float32        // by id
	bytes  [256]int32       // the piece of each byte

	// words: no piece holds a space behind another character, so nothing ever merges across the start of a word
	// and words can be encoded, and remembered, one by one.
	words bool
}

func newBPE(pieces []piece) (*bpe, error) {
	b := &bpe{ids: make(map[string]int32, len(pieces)), scores: make([]float32, len(pieces)), words: true}
	for id, p := range pieces {
		b.scores[id] = p.score
		switch p.kind {
		case normalPiece:
			b.ids[p.text] = int32(id)
			b.words = b.words && !strings.Contains(strings.TrimLeft(p.text, space), space)
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

const (
	cachedWords      = 1 << 15 // words remembered by one merger, then it starts anew
	cachedWordLength = 64      // bytes; longer ones seldom come twice
)

// merger encodes words and remembers them. One goroutine uses it at a time.
type merger struct {
	*bpe
	known map[wordKey][]Token

	// scratch of merge
	text    []byte // the word as SentencePiece sees it: ▁ for a space
	symbols []symbol
	pairs   pairHeap
}

type wordKey struct {
	prefixed bool
	word     string
}

// symbol is a run of characters that has become one piece so far. A symbol that was merged into its left neighbour has end 0.
type symbol struct {
	start, end int // in merger.text
	from, to   int // in the word
	prev, next int
}

func newMerger(b *bpe) *merger { return &merger{bpe: b, known: map[wordKey][]Token{}} }

// encode appends the tokens of text, which holds no special token and starts at byte base of the whole; prefixed puts a space before it.
func (m *merger) encode(out []Token, text string, base int, prefixed bool) []Token {
	for at := 0; at < len(text) || prefixed; prefixed = false {
		end := len(text)
		if m.words {
			end = at + wordEnd(text[at:])
		}
		for _, t := range m.word(text[at:end], prefixed) {
			out = append(out, Token{ID: t.ID, Start: base + at + t.Start, End: base + at + t.End})
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

// word is the tokens of one word, offsets from its start. The caller must not change them.
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

// merge is SentencePiece's BPE: from single characters, always the pair of neighbours whose piece has the highest score,
// the leftmost of equals, until no pair is a piece.
func (m *merger) merge(word string, prefixed bool) []Token {
	m.split(word, prefixed)
	m.pairs = m.pairs[:0]
	for i := 1; i < len(m.symbols); i++ {
		m.propose(i-1, i)
	}
	for len(m.pairs) > 0 {
		p := m.pairs.pop()
		left, right := &m.symbols[p.left], &m.symbols[p.right]
		if left.end == 0 || right.end == 0 || right.end-left.start != p.length {
			continue // one of the two has changed since
		}
		left.end, left.to, left.next = right.end, right.to, right.next
		right.end = 0
		if left.next >= 0 {
			m.symbols[left.next].prev = p.left
		}
		m.propose(left.prev, p.left)
		m.propose(p.left, left.next)
	}
	return m.tokens()
}

// split makes a symbol of each character.
func (m *merger) split(word string, prefixed bool) {
	m.text, m.symbols = m.text[:0], m.symbols[:0]
	add := func(from, to int) {
		n := len(m.symbols)
		start := 0
		if n > 0 {
			start = m.symbols[n-1].end
		}
		m.symbols = append(m.symbols, symbol{start: start, end: len(m.text), from: from, to: to, prev: n - 1, next: n + 1})
	}
	if prefixed {
		m.text = append(m.text, space...)
		add(0, 0)
	}
	for i, r := range word {
		width := 1
		if r == ' ' {
			m.text = append(m.text, space...)
		} else {
			_, width = utf8.DecodeRuneInString(word[i:])
			m.text = utf8.AppendRune(m.text, r) // a byte that is not UTF-8 becomes U+FFFD, as in SentencePiece
		}
		add(i, i+width)
	}
	m.symbols[len(m.symbols)-1].next = -1
}

// propose queues the merge of two neighbours if that makes a piece; -1 stands for no neighbour.
func (m *merger) propose(left, right int) {
	if left < 0 || right < 0 {
		return
	}
	start, end := m.symbols[left].start, m.symbols[right].end
	if id, ok := m.ids[string(m.text[start:end])]; ok {
		m.pairs.push(pair{score: m.scores[id], left: left, right: right, length: end - start})
	}
}

// tokens is the outcome of merge; a character outside the vocabulary becomes its bytes.
func (m *merger) tokens() []Token {
	var out []Token
	for i := 0; i >= 0; i = m.symbols[i].next {
		s := m.symbols[i]
		if id, ok := m.ids[string(m.text[s.start:s.end])]; ok {
			out = append(out, Token{ID: id, Start: s.from, End: s.to})
			continue
		}
		for k, b := range m.text[s.start:s.end] {
			out = append(out, Token{ID: m.bytes[b], Start: min(s.from+k, s.to), End: min(s.from+k+1, s.to)})
		}
	}
	return out
}

// pair is a merge that was possible when it was queued.
type pair struct {
	score       float32
	left, right int // indices of symbols
	length      int // bytes of the merged piece
}

func (p pair) before(q pair) bool {
	return p.score > q.score || p.score == q.score && p.left < q.left
}

// pairHeap is a binary heap, best pair first. (container/heap would allocate for each pair.)
type pairHeap []pair

func (h *pairHeap) push(p pair) {
	*h = append(*h, p)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].before(s[parent]) {
			break
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *pairHeap) pop() pair {
	s := *h
	best, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(s[i]) {
			break
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
	*h = s
	return best
}
