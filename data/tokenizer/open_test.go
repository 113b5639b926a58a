package tokenizer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// changed is a family's tokenizer.json after a change.
func changed(t testing.TB, family string, change func(file object)) []byte {
	t.Helper()
	var file object
	if err := json.Unmarshal(unzip(t, "tokenizer_"+family+".json.gz"), &file); err != nil {
		t.Fatal(err)
	}
	change(file)
	content, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// set replaces a top-level part of a tokenizer.json by what text says.
func set(part, text string) func(object) {
	return func(file object) {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			panic(err)
		}
		file[part] = value
	}
}

// setModel sets a key of the model.
func setModel(key string, value any) func(object) {
	return func(file object) { file["model"].(object)[key] = value }
}

// addedFlag sets a key of the last added token.
func addedFlag(key string, value any) func(object) {
	return func(file object) {
		tokens := file["added_tokens"].([]any)
		tokens[len(tokens)-1].(object)[key] = value
	}
}

func TestTokenizerJSONRefuses(t *testing.T) {
	const byteLevel = `{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}`
	for _, test := range []struct {
		name, family string
		change       func(object)
		want         string
	}{
		{"Unigram", "llama3", setModel("type", "Unigram"), `model is of type "Unigram"; only BPE`},
		{"WordPiece", "llama3", setModel("type", "WordPiece"), `model is of type "WordPiece"; only BPE`},
		{"dropout", "llama3", setModel("dropout", 0.1), "model sets dropout"},
		{"subword prefix", "llama3", setModel("continuing_subword_prefix", "##"),
			"model sets continuing_subword_prefix"},
		{"word suffix", "llama3", setModel("end_of_word_suffix", "</w>"), "model sets end_of_word_suffix"},
		{"unknown option", "llama3", setModel("turbo", true), `model: json: unknown field "turbo"`},
		{"merge of strangers", "llama3", setModel("merges", []string{"xq zz"}), `merge 0 of "xq" and "zz"`},
		{"merge of three", "llama3", setModel("merges", []string{"a b c"}), `merge "a b c" is not two tokens`},
		{"byte token missing", "phi3", func(f object) { delete(f["model"].(object)["vocab"].(object), "<0xE4>") },
			"no token for the byte 0xE4"},
		{"no fallback", "phi3", setModel("byte_fallback", false), "model without byte_fallback"},
		{"same id", "llama3", func(f object) { f["model"].(object)["vocab"].(object)["!"] = 5 },
			"has the id 5, as does another token"},
		{"huge id", "llama3", func(f object) { f["model"].(object)["vocab"].(object)["!"] = 2000000000 },
			`"!" has the id 2000000000`},
		{"unknown part", "llama3", set("sauce", `1`), `unknown field "sauce"`},
		{"normalizer", "qwen2", set("normalizer", `{"type": "NFKC"}`), `normalizer is "NFKC"`},
		{"normalizers", "qwen2",
			set("normalizer", `{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}`),
			`normalizer is "NFC, Lowercase"`},
		{"prepend", "phi3", set("normalizer", `{"type": "Prepend", "prepend": "x"}`),
			`normalizer: component Prepend puts "x" before texts`},
		{"replace", "phi3", set("normalizer", `{"type": "Replace", "pattern": {"Regex": " +"}, "content": "▁"}`),
			`only "▁" for a space`},
		{"no spaces", "phi3", set("normalizer", `null`),
			"neither normalizer nor pre-tokenizer defines how spaces are written"},
		{"pre-tokenizer", "llama3", set("pre_tokenizer", `{"type": "Whitespace"}`), `pre-tokenizer is "Whitespace"`},
		{"pattern", "llama3",
			set("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [{"type": "Split",
				"pattern": {"Regex": "\\p{Han}+"}, "behavior": "Isolated", "invert": false}, `+
				byteLevel+`]}`),
			`pre-tokenizer Split has the pattern "\\p{Han}+": property "Han" is not supported`},
		{"behavior", "llama3",
			set("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [{"type": "Split",
				"pattern": {"String": "x"}, "behavior": "Removed", "invert": false}, `+
				byteLevel+`]}`), `behavior "Removed"`},
		{"removed", "phi4",
			set("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [{"type": "Split",
				"pattern": {"Regex": "\\p{L}+"}, "behavior": "Removed", "invert": true}, `+
				byteLevel+`]}`), `removes text that the pattern "\\p{L}+" does not match`},
		{"two byte levels", "gpt2",
			set("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [`+byteLevel+`, `+byteLevel+`]}`),
			"ByteLevel twice"},
		{"digits", "smollm",
			set("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [{"type": "Digits", "base": 16}, `+
				byteLevel+`]}`), `pre-tokenizer Digits cannot be read: json: unknown field "base"`},
		{"punctuation", "falcon",
			set("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [`+
				`{"type": "Punctuation", "behavior": "Removed"}, `+byteLevel+`]}`),
			`Punctuation has the behavior "Removed"; Isolated and Contiguous`},
		{"white space", "smollm",
			set("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, `+
				byteLevel+`]}`), `pre-tokenizer is "WhitespaceSplit"; ByteLevel, Digits, Punctuation, Split`},
		{"split alone", "gemma",
			set("pre_tokenizer", `{"type": "Split", "pattern": {"String": "x"}, "behavior": "Isolated",
				"invert": false}`), "Split without ByteLevel is not supported, except at single spaces"},
		{"neither type nor merges", "gpt2", set("model", `{"vocab": {}}`), "neither a type nor merges"},
		{"prefix space", "gpt2",
			set("pre_tokenizer", `{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, `+
				`"use_regex": true}`), "add_prefix_space true"},
		{"replacement", "mistral",
			set("pre_tokenizer",
				`{"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": false}`),
			`Metaspace writes "_" for a space`},
		{"scheme", "mistral",
			set("pre_tokenizer", `{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "last"}`),
			`prepend_scheme "last"`},
		{"two of a kind", "phi3",
			set("pre_tokenizer", `{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}`),
			"but a pre-tokenizer follows it"},
		{"nesting", "llama3",
			set("normalizer", strings.Repeat(`{"type": "Sequence", "normalizers": [`, 9)+strings.Repeat(`]}`, 9)),
			"normalizers are nested too deeply"},
		{"decoder", "llama3", set("decoder", `{"type": "WordPiece"}`), `decoder is "WordPiece"`},
		{"no decoder", "llama3", set("decoder", `null`), `decoder is ""`},
		{"wrong decoder", "phi3", set("decoder", `{"type": "ByteLevel"}`), "do not belong together"},
		{"strip", "phi3", set("decoder", `{"type": "Sequence", "decoders": [
			{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
			{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 0}]}`), "decoder Strip"},
		{"post-processor", "llama3", set("post_processor", `{"type": "BertProcessing"}`),
			`post-processor is "BertProcessing"`},
		{"end token", "llama3",
			set("post_processor",
				`{"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, `+
					`{"SpecialToken": {"id": "<|eot_id|>"}}]}`),
			"TemplateProcessing: only one token before a single text is supported"},
		{"unknown BOS", "llama3",
			set("post_processor",
				`{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, `+
					`{"Sequence": {"id": "A"}}]}`),
			`starts texts with "<s>", which is not an added token`},
		{"no id", "llama3", addedFlag("id", nil), "an added token has no id"},
		{"far id", "llama3", addedFlag("id", 1<<30), "outside the vocabulary"},
		{"twice", "llama3", addedFlag("content", "<|end_header_id|>"), `"<|end_header_id|>" appears twice`},
		{"empty", "llama3", addedFlag("content", ""), "has no text"},
		{"blank behind strip", "phi3", addedFlag("content", "\n"), "takes the white space after it"},
		{"no end", "llama3", addedFlag("content", "<|x|>"), `special token "<|eot_id|>" is not in the vocabulary`},
	} {
		config := tokenizerConfig{specialNames: specialNames{EOS: addedToken{Content: families[test.family]}}}
		_, err := openTokenizerJSON(changed(t, test.family, test.change), config, "auto")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want %q", test.name, err, test.want)
		}
	}
}

// TestOlderModel: files of before tokenizers 0.10 do not say that the model is BPE.
func TestOlderModel(t *testing.T) {
	content := changed(t, "gpt2", func(file object) {
		model := file["model"].(object)
		delete(model, "type")
		delete(model, "byte_fallback")
		model["unk_token"] = ""
	})
	config := tokenizerConfig{specialNames: specialNames{EOS: addedToken{Content: families["gpt2"]}}}
	tokenizer, err := openTokenizerJSON(content, config, "auto")
	if err != nil {
		t.Fatal(err)
	}
	const text = "An older file.\x00"
	if diff := cmp.Diff(idsOf(familyTokenizer(t, "gpt2").Encode(text)), idsOf(tokenizer.Encode(text))); diff != "" {
		t.Errorf("ids (-newer +older):\n%s", diff)
	}
}

// FuzzTokenizerJSON wants no panic, and a tokenizer from whatever is accepted: a whole file, or a part put into a good
// one.
func FuzzTokenizerJSON(f *testing.F) {
	good := map[string]json.RawMessage{}
	for _, family := range []string{"qwen2", "odd", "words", "whole", "smollm", "falcon", "deepseek2", "gptoss",
		"phi4", "gemma", "phi3"} {
		content := changed(f, family, setModel("merges", []any{}))
		f.Add("", content, families[family])
		if err := json.Unmarshal(content, &good); err != nil {
			f.Fatal(err)
		}
		for _, part := range []string{"normalizer", "pre_tokenizer", "decoder", "post_processor", "added_tokens"} {
			f.Add(part, []byte(good[part]), families[family])
		}
	}
	f.Fuzz(func(t *testing.T, part string, text []byte, eos string) {
		file := text
		if part != "" {
			parts := maps.Clone(good)
			parts[part] = text
			var err error
			if file, err = json.Marshal(parts); err != nil {
				return // text is no JSON
			}
		}
		config := tokenizerConfig{specialNames: specialNames{EOS: addedToken{Content: eos}}}
		tokenizer, err := openTokenizerJSON(file, config, "auto")
		if err != nil {
			return
		}
		sentence := "a b <s>c\n\xff e\u0301" + eos + " \n" + eos
		tokens := tokenizer.Encode(sentence)
		if tokenizer.Missing(sentence) == "" {
			checkOffsets(t, sentence, tokens)
		}
		tokenizer.Decode(append(idsOf(tokens), -1, 1<<30))
		tokenizer.ControlIn(sentence)
	})
}

// writeJSON writes a family's tokenizer.json and other files into a new folder.
func writeJSON(t *testing.T, family string, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	files[jsonFile] = string(unzip(t, "tokenizer_"+family+".json.gz"))
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// TestOpenTokenizerChoosesFile: tokenizer.model where the slow LlamaTokenizer would read it, tokenizer.json otherwise.
func TestOpenTokenizerChoosesFile(t *testing.T) {
	model, err := os.ReadFile("testdata/text_tiny.model")
	if err != nil {
		t.Fatal(err)
	}
	const ends = `"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"`
	for _, test := range []struct {
		name, config, want string
		model              bool
	}{
		{"both", `{}`, modelFile, true},
		{"both, Llama", `{"tokenizer_class": "LlamaTokenizerFast"}`, modelFile, true},
		{"both, another class", `{"tokenizer_class": "PreTrainedTokenizerFast", ` + ends + `}`, jsonFile, true},
		{"both, a token that strips", `{"tokenizer_class": "LlamaTokenizer", ` + ends +
			`, "added_tokens_decoder": {"2": {"content": "</s>", "rstrip": true}}}`, jsonFile, true},
		{"tokenizer.json alone", `{` + ends + `}`, jsonFile, false},
	} {
		files := map[string]string{"tokenizer_config.json": test.config}
		if test.model {
			files[modelFile] = string(model)
		}
		folder := writeJSON(t, "phi3", files)
		tokenizer, err := OpenTokenizer(folder, "auto")
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if path, name := tokenizer.File(); name != test.want || path != filepath.Join(folder, test.want) {
			t.Errorf("%s: read %s (%s), want %s", test.name, path, name, test.want)
		}
	}
}

// TestTokenizerJSONConfig: what the files beside a tokenizer.json add to it.
func TestTokenizerJSONConfig(t *testing.T) {
	for _, test := range []struct {
		family, config string
		bos, eos       int32
		addBOS         bool
	}{
		{"llama3", `{"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}`, 900, 904, true},
		{"llama3", `{"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>"}, "add_bos_token": false}`,
			900, 904, false},
		{"llama3", `{"eos_token": "<|eot_id|>"}`, 900, 904, true},
		{"qwen2", `{"bos_token": null, "eos_token": "<|im_end|>", "add_bos_token": true, ` +
			`"chat_template": [{"name": "default", "template": "x"}]}`, -1, 802, false},
		{"phi3", `{"bos_token": "<s>", "eos_token": "<|end|>", "unk_token": "<unk>"}`, 1, 902, false},
		{"phi3", `{"bos_token": "<s>", "eos_token": "<|end|>", "unk_token": "<unk>", "add_bos_token": true}`,
			1, 902, true},
	} {
		tokenizer, err := OpenTokenizer(writeJSON(t, test.family,
			map[string]string{"tokenizer_config.json": test.config}), "auto")
		if err != nil {
			t.Fatal(err)
		}
		if tokenizer.BOS != test.bos || tokenizer.EOS != test.eos ||
			tokenizer.AddBOS != test.addBOS || tokenizer.Legacy() {
			t.Errorf("%s, %s: bos %d, eos %d, adds BOS %t",
				test.family, test.config, tokenizer.BOS, tokenizer.EOS, tokenizer.AddBOS)
		}
	}
	config := `{"eos_token": "<|im_end|>", "added_tokens_decoder": {"801": {"content": "<|im_start|>", ` +
		`"lstrip": true}, "804": {"content": "<|new|>", "special": true, "rstrip": true}}}`
	tokenizer, err := OpenTokenizer(writeJSON(t, "qwen2", map[string]string{"tokenizer_config.json": config}), "auto")
	if err != nil {
		t.Fatal(err)
	}
	tokens := tokenizer.Encode(" <|im_start|><|new|>\n ") // tokenizer.json says that the first does not strip
	if len(tokens) != 3 || tokens[1].ID != 801 || tokens[2] != (Token{804, 13, 22}) || tokenizer.VocabSize() != 805 {
		t.Errorf("tokens %v of %d", tokens, tokenizer.VocabSize())
	}
	for _, test := range []struct{ config, legacy, want string }{
		{`{}`, "auto", "no eos_token"},
		{`{"eos_token": "<|im_end|>"}`, "true", `legacy is "true", but a tokenizer.json defines where spaces go`},
		{`{"eos_token": "<|im_end|>", "add_eos_token": true}`, "auto", "add_eos_token"},
		{`{"eos_token": "</s>"}`, "auto", `"</s>" is not in the vocabulary`},
	} {
		_, err := OpenTokenizer(writeJSON(t, "qwen2", map[string]string{"tokenizer_config.json": test.config}),
			test.legacy)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want %q", test.config, err, test.want)
		}
	}
}
