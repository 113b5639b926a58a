// Command chunker learns the weights that synth/caption/phrase finds noun phrases with, from captions whose phrases
// spaCy has found. Usage, in the repository's root:
//
//	CGO_ENABLED=0 go run ./scripts/chunker SENTENCES.jsonl.gz synth/caption/phrase/chunker.bin
//
// A line of SENTENCES is {"caption": "…", "spacy": ["…", …]}, the texts of a document's noun_chunks. The same sentences
// give the same bytes.
package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/llavatrain/llavatrain/synth/caption/phrase"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: chunker SENTENCES.jsonl.gz WEIGHTS")
		os.Exit(2)
	}
	if err := learn(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "chunker:", err)
		os.Exit(1)
	}
}

func learn(from, to string) error {
	sentences, err := read(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	chunker, err := phrase.Learn(sentences)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	file := chunker.Bytes()
	fmt.Printf("%d sentences learned, %d bytes written\n", len(sentences), len(file))
	return os.WriteFile(to, file, 0o666)
}

func read(path string) (sentences []phrase.Sentence, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(text); ; {
		var line struct {
			Caption string
			Spacy   []string
		}
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return sentences, nil
		} else if err != nil {
			return nil, fmt.Errorf("sentence %d: %w", len(sentences)+1, err)
		}
		sentences = append(sentences, phrase.Sentence{Caption: line.Caption, Phrases: line.Spacy})
	}
}
