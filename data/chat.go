package data

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// Chat is the template as a Jinja chat template for transformers: apply_chat_template then renders a conversation that
// begins with a user's turn as training did, with an image at the start of its turn. The tokenizer adds the
// beginning-of-sequence token.
//
// Training tokenises the text after an image separately. If the tokenizer puts a space before a text but not after a
// special token such as <image>, the template has to contain that space.
func (t *Template) Chat(tokenizer *tokenizer.Tokenizer) string {
	text := func(spans []span) string {
		whole, _ := join(spans)
		return jinja(whole)
	}
	behind := t.image[1] + "\n"
	if tokenizer.SpacesStart() {
		behind = " " + behind
	}
	trim := ""
	if t.trim {
		trim = " | trim"
	}
	final := "" // a question is the last one if at most one answer follows it
	if t.final != "" {
		final = "{% if loop.index >= loop.length - 1 and (not loop.last or add_generation_prompt) %}{{ " +
			jinja(t.final) + " }}{% endif %}"
	}
	image := jinja(t.image[0] + rows.ImageMark + behind)
	return fmt.Sprintf(`{%% for message in messages %%}{%% if message['role'] == 'user' %%}`+
		`{{ %[1]s if loop.first else %[2]s }}`+
		`{%% if message['content'] is string %%}{{ message['content']%[7]s }}{%% else %%}`+
		`{%% for part in message['content'] if part['type'] == 'image' %%}{{ %[3]s }}{%% endfor %%}`+
		`{%% for part in message['content'] if part['type'] == 'text' %%}{{ part['text']%[7]s }}{%% endfor %%}`+
		`{%% endif %%}`+
		`{%% if not loop.last or add_generation_prompt %%}{{ %[4]s }}{%% endif %%}%[8]s`+
		`{%% elif message['role'] == 'assistant' %%}{{ %[5]s }}`+
		`{%% if message['content'] is string %%}{{ message['content']%[7]s }}{%% else %%}`+
		`{%% for part in message['content'] if part['type'] == 'text' %%}{{ part['text']%[7]s }}{%% endfor %%}`+
		`{%% endif %%}{{ %[6]s }}{%% endif %%}{%% endfor %%}`,
		text(t.first), text(t.next), image, text(t.header), jinja(t.lead), jinja(t.close), trim, final)
}

// jinja is a string literal in Jinja, which reads JSON's literals the same way.
func jinja(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}
