package data

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// openTokenizer opens a file or folder with the setting of legacy.
func openTokenizer(t testing.TB, path, legacy string) *tokenizer.Tokenizer {
	t.Helper()
	opened, err := tokenizer.OpenTokenizer(path, legacy)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// llamaTokenizer is the real Llama-2 vocabulary.
func llamaTokenizer(t testing.TB, legacy bool) *tokenizer.Tokenizer {
	t.Helper()
	return openTokenizer(t, datatest.Shared(t, "llama-tokenizer", "tokenizer.model"),
		map[bool]string{true: "true", false: "false"}[legacy])
}

const tinyModel = "tokenizer/testdata/text_tiny.model"

// tinyTokenizer has 600 pieces, trained by SentencePiece itself.
func tinyTokenizer(t testing.TB, legacy bool) *tokenizer.Tokenizer {
	t.Helper()
	return openTokenizer(t, tinyModel, map[bool]string{true: "true", false: "false"}[legacy])
}

// tinyFolder is a folder with the tiny vocabulary and a tokenizer_config.json.
func tinyFolder(t testing.TB, config string) string {
	t.Helper()
	dir := t.TempDir()
	datatest.WriteFile(t, dir, "tokenizer.model", string(readFile(t, tinyModel)))
	datatest.WriteFile(t, dir, "tokenizer_config.json", config)
	return dir
}

// families are small vocabularies of the tokenizer.json kind, with the token that ends an answer.
var families = map[string]string{
	"llama3": "<|eot_id|>", "qwen2": "<|im_end|>", "gpt2": "<|endoftext|>", "odd": "<|end|>",
	"phi3": "<|end|>", "mistral": "</s>", "words": "</s>", "whole": "</s>", "smollm": "<|im_end|>",
	"unknown": "<|im_end|>",
}

func familyFile(t testing.TB, family string) []byte {
	t.Helper()
	return datatest.Unzip(t, filepath.Join("tokenizer", "testdata", "tokenizer_"+family+".json.gz"))
}

// familyFolder is a folder with a family's tokenizer.json, or another in its place, and a tokenizer_config.json.
func familyFolder(t testing.TB, file []byte, config string) string {
	t.Helper()
	dir := t.TempDir()
	datatest.WriteFile(t, dir, "tokenizer.json", string(file))
	datatest.WriteFile(t, dir, "tokenizer_config.json", config)
	return dir
}

func familyTokenizer(t testing.TB, family string) *tokenizer.Tokenizer {
	t.Helper()
	return openTokenizer(t, familyFolder(t, familyFile(t, family), `{"eos_token": "`+families[family]+`"}`), "auto")
}

func idsOf(tokens []tokenizer.Token) []int32 {
	ids := make([]int32, 0, len(tokens))
	for _, t := range tokens {
		ids = append(ids, t.ID)
	}
	return ids
}

// paths is images by their paths.
func paths(list ...string) (images []picture.Image) {
	for _, path := range list {
		images = append(images, picture.Image{Path: path})
	}
	return images
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
func newEncoder(t testing.TB, opened *tokenizer.Tokenizer, template string, maxLength, imageTokens int) *Encoder {
	t.Helper()
	encoder, err := NewEncoder(opened, openTemplate(t, template), maxLength, picture.Grid(imageTokens))
	if err != nil {
		t.Fatal(err)
	}
	return encoder
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
