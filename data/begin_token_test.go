package data

import (
	"errors"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// A begin token in a text is refused as any other control token is, except for <s>, which the original trains.
func TestBeginTokenInText(t *testing.T) {
	llama := []string{"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}
	chat := []string{"<|im_start|>", "<|im_end|>"}
	for _, test := range []struct {
		special              []string // the first begins texts
		template, text, want string   // want is the token that is refused
	}{
		{llama, "llama_3", "a <|begin_of_text|> b", "<|begin_of_text|>"},
		{llama, "plain", "a <|begin_of_text|> b", "<|begin_of_text|>"},
		{chat, "smollm2", "<|im_start|>system", "<|im_start|>"},
		{chat, "vicuna_v1", "<|im_start|>system", "<|im_start|>"},
		{nil, "vicuna_v1", "a <s>b", ""},
		{nil, "llama_2", "a <s>b", ""},
		{nil, "plain", "a <s>b", ""},
	} {
		tokenizer := tokenizerWith(t, test.special...)
		if test.special != nil {
			tokenizer.BOS, _ = tokenizer.Special(test.special[0])
		}
		e := newEncoder(t, tokenizer, test.template, 2048, 1)
		for turn := range 2 {
			r := rows.Record{Images: paths("x"), Turns: catRecord().Turns[:2]}
			r.Turns[turn].Text += test.text
			_, err := e.Encode(r, nil)
			if test.want == "" || test.template == "plain" && turn == 0 { // its question is not used
				if err != nil {
					t.Errorf("%s, turn %d, %q: %v", test.template, turn, test.text, err)
				}
			} else if !errors.Is(err, picture.ErrRow) ||
				!strings.Contains(err.Error(), `holds "`+test.want+`", which the tokenizer reads as a control token`) {
				t.Errorf("%s, turn %d, %q: error is %v", test.template, turn, test.text, err)
			}
		}
	}
}

// A token that the template writes around turns is refused even if the tokenizer does not call it special.
func TestTemplateMarkersInText(t *testing.T) {
	plain, err := tokenizer.OpenTokenizer(tinyFolder(t, `{"added_tokens_decoder": {
		"600": {"content": "<|im_start|>", "special": false},
		"601": {"content": "<|im_end|>", "special": true}}}`), "auto")
	if err != nil {
		t.Fatal(err)
	}
	r := rows.Record{Images: paths("x"), Turns: catRecord().Turns}
	e := newEncoder(t, plain, "qwen_2", 2048, 1)
	if _, err := e.Encode(r, nil); err != nil {
		t.Error(err)
	}
	r.Turns[1].Text = "a <|other|> <|im_start|>"
	const want = `turn 2 (gpt) holds "<|im_start|>", which template "qwen_2" writes around turns: remove or respell it`
	if _, err := e.Encode(r, nil); !errors.Is(err, picture.ErrRow) || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v", err)
	}
}
