// Package tokenizer encodes and decodes text as Hugging Face's tokenizers do: from SentencePiece's tokenizer.model or from a
// tokenizer.json with BPE. A component that it does not know is an error that names it.
//
// A text is normalised, cut into stretches at special tokens, split by the vocabulary's pattern, and merged into pieces; each [Token]
// knows where in the text it came from.
package tokenizer
