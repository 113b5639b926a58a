package data

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Chat is the template as transformers' chat templates spell it (Jinja): apply_chat_template then renders a conversation that
// begins with a user's turn as training did, a picture first in its turn. The tokenizer adds the beginning-of-sequence token itself.
//
// Training tokenises what follows a picture on its own, with a space before it. A legacy tokenizer puts that behind every special
// token, <image> included; without legacy the template has to say it.
func (t *Template) Chat(legacy bool) string {
	text := func(spans []span) string {
		whole, _ := join(spans)
		return jinja(whole)
	}
	behind := t.image[1] + "\n"
	if !legacy {
		behind = " " + behind
	}
	image := jinja(t.image[0] + imageMark + behind)
	return fmt.Sprintf(`{%% for message in messages %%}{%% if message['role'] == 'user' %%}{{ %s if loop.first else %s }}`+
		`{%% if message['content'] is string %%}{{ message['content'] }}{%% else %%}`+
		`{%% for part in message['content'] if part['type'] == 'image' %%}{{ %s }}{%% endfor %%}`+
		`{%% for part in message['content'] if part['type'] == 'text' %%}{{ part['text'] }}{%% endfor %%}{%% endif %%}`+
		`{%% if not loop.last or add_generation_prompt %%}{{ %s }}{%% endif %%}`+
		`{%% elif message['role'] == 'assistant' %%}{{ %s }}`+
		`{%% if message['content'] is string %%}{{ message['content'] }}{%% else %%}`+
		`{%% for part in message['content'] if part['type'] == 'text' %%}{{ part['text'] }}{%% endfor %%}{%% endif %%}{{ %s }}{%% endif %%}{%% endfor %%}`,
		text(t.first), text(t.next), image, text(t.header), jinja(t.lead), jinja(t.close))
}

// jinja is a string literal: those of JSON are read alike.
func jinja(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}
