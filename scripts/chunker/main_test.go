package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/synth/caption/phrase"
)

// head is where the weights begin, after the digest of the sentences that they were learned from.
const head = len("llavatrain chunker 1\n") + 32

func TestLearnAgain(t *testing.T) {
	sentences := datatest.Shared(t, "parity-synth", "phrases", "sentences.jsonl.gz")
	to := filepath.Join(t.TempDir(), "chunker.bin")
	if err := learn(sentences, to); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	if want := phrase.Open().Bytes(); !bytes.Equal(got[:head], want[:head]) {
		t.Skip("the embedded weights were learned from other sentences")
	} else if !bytes.Equal(got, want) {
		t.Error("the weights are not those of synth/caption/phrase")
	}
}

func TestBadSentences(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "none"), datatest.WriteFile(t, dir, "plain", "{}")} {
		if err := learn(path, filepath.Join(dir, "out")); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v", err)
		}
	}
}
