// Package tokenizer encodes and decodes text as Hugging Face's tokenizers do: from SentencePiece's tokenizer.model or
// from a tokenizer.json with BPE. An unsupported component is an error that gives its name.
//
// A text is normalised, cut into stretches at special tokens, split by the vocabulary's pattern, and merged into
// pieces; each [Token] records where in the text it came from.
package tokenizer
