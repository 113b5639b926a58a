package phrase

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// known is a caption with the phrases that spaCy found, and their normal forms.
type known struct {
	Caption string
	Spacy   []string
	Phrases []string
}

func (k known) sentence() Sentence { return Sentence{Caption: k.Caption, Phrases: k.Spacy} }

func knownSentences(t testing.TB) []known {
	t.Helper()
	path := datatest.Shared(t, "parity-synth", "phrases", "sentences.jsonl.gz")
	return datatest.Lines[known](t, datatest.Unzip(t, path), path)
}

func readJSON(t testing.TB, into any, path ...string) {
	t.Helper()
	text, err := os.ReadFile(datatest.Shared(t, path...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}
