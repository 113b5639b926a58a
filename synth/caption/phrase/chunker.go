package phrase

import (
	_ "embed"
	"sync"
)

// Chunker finds noun phrases without nested ones, each from its determiner to its noun, as spaCy's noun_chunks does. It
// may be used by several goroutines.
type Chunker struct {
	digest [32]byte  // of the sentences that it has learned from
	words  [][2]int8 // for each feature, of a word that begins or continues a phrase; one that is apart scores 0
	chain  chain
}

//go:embed chunker.bin
var embedded []byte

// Open returns the chunker that is part of the program. Among sentences that it has not learned from, 94 to 95 of 100
// phrases are those of spaCy's small English model (F1 of normal forms; see TestHeldOut).
func Open() *Chunker { return open() }

var open = sync.OnceValue(func() *Chunker {
	c, err := Read(embedded)
	if err != nil {
		panic(err) // it cannot be damaged: it is part of the program, and a test reads it
	}
	return c
})

// Find returns the noun phrases of an English caption in their order, as they stand there but for straight apostrophes
// and, in a caption all in capitals, small letters. The first call takes 0.3 s more: it loads the tagger.
func (c *Chunker) Find(caption string) []string {
	text := prepare(caption)
	spans := split(text)
	rows := features(loadTagger().tag(texts(text, spans)))
	words := make([]scores, len(rows))
	for i, rows := range rows {
		for _, row := range rows {
			words[i][begins] += int32(c.words[row][begins])
			words[i][continues] += int32(c.words[row][continues])
		}
	}
	return phrases(text, spans, best(words, &c.chain))
}

func texts(text string, spans []span) []string {
	words := make([]string, len(spans))
	for i, s := range spans {
		words[i] = text[s.start:s.end]
	}
	return words
}
