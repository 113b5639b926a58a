package data

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// sharedText is a path below ../shared; the test is skipped where that is absent, which CI does not allow.
func sharedText(t testing.TB, path ...string) string {
	t.Helper()
	root := filepath.Join("..", "..", "shared")
	if _, err := os.Stat(root); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("reference data is absent: %v", err)
		}
		t.Skip("reference data (../shared beside the repository) is absent")
	}
	return filepath.Join(append([]string{root}, path...)...)
}

// llamaTokenizer is the real Llama-2 vocabulary.
func llamaTokenizer(t testing.TB, legacy bool) *Tokenizer {
	t.Helper()
	choice := map[bool]string{true: "true", false: "false"}[legacy]
	tokenizer, err := OpenTokenizer(sharedText(t, "llama-tokenizer", "tokenizer.model"), choice)
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// jsonLines decodes each line of a file.
func jsonLines[T any](t testing.TB, path string) []T {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return readLines[T](t, file, path)
}

// readLines reads a JSON value a line.
func readLines[T any](t testing.TB, from io.Reader, name string) []T {
	t.Helper()
	var values []T
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var value T
		if err := json.Unmarshal(lines.Bytes(), &value); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		values = append(values, value)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

// openTemplate is OpenTemplate for names that must be known.
func openTemplate(t testing.TB, name string) *Template {
	t.Helper()
	template, err := OpenTemplate(name)
	if err != nil {
		t.Fatal(err)
	}
	return template
}

// newEncoder is NewEncoder for templates that must fit.
func newEncoder(t testing.TB, tokenizer *Tokenizer, template string, maxLength, imageTokens int) *Encoder {
	t.Helper()
	encoder, err := NewEncoder(tokenizer, openTemplate(t, template), maxLength, imageTokens)
	if err != nil {
		t.Fatal(err)
	}
	return encoder
}
