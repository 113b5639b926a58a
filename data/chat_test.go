package data

import (
	"slices"
	"strings"
	"testing"
)

func TestChatTemplate(t *testing.T) {
	template := openTemplate(t, "mistral_instruct")
	const want = `{% for message in messages %}{% if message['role'] == 'user' %}{{ "[INST] " if loop.first else ` +
		`"[INST] " }}` +
		`{% if message['content'] is string %}{{ message['content'] }}{% else %}` +
		`{% for part in message['content'] if part['type'] == 'image' %}{{ "<image>\n" }}{% endfor %}` +
		`{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}` +
		`{% if not loop.last or add_generation_prompt %}{{ " [/INST]" }}{% endif %}` +
		`{% elif message['role'] == 'assistant' %}{{ " " }}{% if message['content'] is string %}{{ ` +
		`message['content'] }}{% else %}` +
		`{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}{{ " ` +
		`</s>" }}{% endif %}{% endfor %}`
	if got := template.Chat(tinyTokenizer(t, true)); got != want {
		t.Errorf("%s", got)
	}
	if got := template.Chat(tinyTokenizer(t, false)); got != strings.Replace(want, `"<image>\n"`, `"<image> \n"`, 1) {
		t.Errorf("not legacy: %s", got)
	}
}

// Whether an image's text needs a space that the tokenizer does not put there, and whether turns are trimmed, follows
// from the tokenizer and from the template.
func TestChatTemplatesOfFamilies(t *testing.T) {
	for name, c := range map[string]struct{ vocabulary, template, config, image, text string }{
		"byte-level": {"llama3", "llama_3", `{"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}`,
			`"<image>\n"`, "part['text'] | trim }}"},
		"last answer": {"qwen2", "qwen_3", `{"eos_token": "<|im_end|>"}`, `"<image>\n"`,
			`{% if loop.index >= loop.length - 1 and (not loop.last or add_generation_prompt) %}{{ ` +
				`"<think>\n\n</think>\n\n" }}{% endif %}`},
		"space at the start": {"mistral", "mistral_instruct", `{"eos_token": "</s>"}`, `"<image> \n"`,
			"part['text'] }}"},
		"space at each stretch": {"phi3", "phi_3", `{"eos_token": "<|endoftext|>"}`, `"<image>\n"`, "part['text'] }}"},
	} {
		opened := openTokenizer(t, familyFolder(t, familyFile(t, c.vocabulary), c.config), "auto")
		if chat := openTemplate(t, c.template).Chat(opened); !strings.Contains(chat, c.image) ||
			!strings.Contains(chat, c.text) {
			t.Errorf("%s: %s", name, chat)
		}
		fast, err := opened.Fast()
		if err != nil || !slices.Equal(fast, familyFile(t, c.vocabulary)) {
			t.Errorf("%s: tokenizer.json is another, %v", name, err)
		}
	}
}
