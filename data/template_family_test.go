package data

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
)

// familyTemplates are the templates that come from a chat template: the small vocabulary that has their tokens, and
// what the chat template writes after a conversation, which is left out since nothing learns from it.
var familyTemplates = map[string]struct {
	vocabulary, ending string
	endingIDs          int
}{
	"llama_3":   {"llama3", "", 0},
	"llama_3_1": {"llama3", "", 0},
	"qwen_2":    {"qwen2", "\n", 1},
	"qwen_2_5":  {"qwen2", "\n", 1},
	"smollm2":   {"qwen2", "\n", 1},
	"qwen_3":    {"qwen2", "\n", 1},
	"phi_3":     {"phi3", "\n<|endoftext|>", 1},
}

type familyConversation struct {
	Template     string
	Turns        []string
	Text, Prompt string
	IDs          []int32
}

func (c familyConversation) record() rows.Record {
	var r rows.Record
	for i, text := range c.Turns {
		if strings.Contains(text, rows.ImageMark) {
			r.Images = append(r.Images, picture.Image{Path: "cat.jpg"})
		}
		r.Turns = append(r.Turns, rows.Turn{Role: [2]string{"human", "gpt"}[i%2], Text: text})
	}
	return r
}

func spelled(spans []span) string {
	text, _ := join(spans)
	return text
}

// TestTemplatesMatchChatTemplates compares with transformers 5.17's apply_chat_template (testdata/template_make.py):
// the text, the prompt, and the ids of conversations without an image.
func TestTemplatesMatchChatTemplates(t *testing.T) {
	const bos = "<|begin_of_text|>" // added as an id
	conversations := datatest.JSONLines[familyConversation](t, "testdata/template_golden.jsonl")
	for _, c := range conversations {
		family := familyTemplates[c.Template]
		e := newEncoder(t, familyTokenizer(t, family.vocabulary), c.Template, 4096, 1)
		conversation, err := e.converse(c.record())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(c.Text, bos),
			spelled(e.template.render(conversation))+family.ending); diff != "" {
			t.Errorf("%s, %q (-transformers +this):\n%s", c.Template, c.Turns, diff)
		}
		if diff := cmp.Diff(strings.TrimPrefix(c.Prompt, bos),
			spelled(e.template.question("", 0, conversation.rounds[0].question, true))); diff != "" {
			t.Errorf("%s, prompt of %q (-transformers +this):\n%s", c.Template, c.Turns, diff)
		}
		if strings.Contains(c.Text, rows.ImageMark) {
			continue
		}
		sample, err := e.Encode(c.record(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.IDs[:len(c.IDs)-family.endingIDs], sample.IDs); diff != "" {
			t.Errorf("%s, %q, ids (-tokenizers +this):\n%s", c.Template, c.Turns, diff)
		}
	}
	if len(conversations) != 42 {
		t.Errorf("compared %d conversations, want 42", len(conversations))
	}
}

// TestFamilyMasks: each answer and the token that ends it are trained, and nothing else.
func TestFamilyMasks(t *testing.T) {
	for name, family := range familyTemplates {
		tokenizer := familyTokenizer(t, family.vocabulary)
		e := newEncoder(t, tokenizer, name, 4096, 2)
		stop, _ := tokenizer.Special(e.template.stop)
		sample, err := e.Encode(catRecord(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var answers []string
		for i := 0; i < len(sample.Labels); i++ {
			if sample.Labels[i] == Ignore {
				continue
			}
			end := i + slices.Index(sample.Labels[i:], stop)
			if end < i || slices.Contains(sample.Labels[i:end], Ignore) ||
				!slices.Equal(sample.Labels[i:end+1], sample.IDs[i:end+1]) {
				t.Fatalf("%s: labels %v", name, sample.Labels)
			}
			answers = append(answers, tokenizer.Decode(sample.Labels[i:end]))
			i = end
		}
		if diff := cmp.Diff([]string{"A cat.", "It sat."}, answers); diff != "" {
			t.Errorf("%s: answers (-want +got):\n%s", name, diff)
		}
	}
}

// TestTemplateChecksTokens. An end token that is searched for after the normalizer, which puts ▁ before it, is not
// recognised after a text.
func TestTemplateChecksTokens(t *testing.T) {
	var file map[string]any
	if err := json.Unmarshal(familyFile(t, "phi3"), &file); err != nil {
		t.Fatal(err)
	}
	for _, token := range file["added_tokens"].([]any) {
		token.(map[string]any)["normalized"] = true
	}
	hidden, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	opened := openTokenizer(t, familyFolder(t, hidden, `{"eos_token": "</s>"}`), "auto")
	if got := opened.ControlIn("a <|user|>"); got != "<|user|>" {
		t.Errorf("control token found: %q", got)
	}
	_, err = NewEncoder(opened, openTemplate(t, "phi_3"), 64, picture.Grid(1))
	if err == nil || !strings.Contains(err.Error(),
		`ends answers with <|end|>, which this tokenizer does not recognise after a text`) {
		t.Errorf("error is %v", err)
	}
	for _, test := range []struct{ vocabulary, template, want string }{
		{"phi3", "llama_3", `template "llama_3" ends answers with <|eot_id|>, which is not a special token`},
		{"unknown", "chatml_direct", `template "chatml_direct" writes "q", for which this tokenizer has no token`},
		{"odd", "phi_3", `template "phi_3" uses <|user|>, which is not a special token of this tokenizer`},
	} {
		_, err := NewEncoder(familyTokenizer(t, test.vocabulary), openTemplate(t, test.template), 64, picture.Grid(1))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s with %s: error is %v, want %q", test.template, test.vocabulary, err, test.want)
		}
	}
}
