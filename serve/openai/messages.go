package openai

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/pictures"
)

// message is a turn as it is sent.
type message struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"` // a text, or a list of parts
}

// part is a piece of a message's content.
type part struct {
	Type     string          `json:"type"`
	Text     *string         `json:"text"`
	ImageURL json.RawMessage `json:"image_url"` // an object with url, or the url alone
}

// pictureURI is a picture before it is read.
type pictureURI struct{ field, text string }

// roles are the engine's words for those of OpenAI.
var roles = map[string]string{"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

// readMessages fills turns and uris. Templates have one place for a system's text, before all turns, and the turns
// alternate: texts that belong together are joined by a line break. The error is a *fault.
func (c *chatRequest) readMessages() error {
	messages, err := readList[message](c.Messages, maxMessages, "messages", "message")
	if err != nil {
		return err
	}
	var system []string
	for i, m := range messages {
		field := fmt.Sprintf("messages[%d]", i)
		role, ok := roles[m.Role]
		if !ok {
			return invalid(field+".role", "The role of a message is system, developer, user or assistant, not "+
				quote(m.Role)+".")
		}
		text, uris, err := m.content(field + ".content")
		switch {
		case err != nil:
			return err
		case len(uris) > 0 && role != "user":
			return invalid(field+".content", "Pictures belong to messages of the user.")
		case role == "system":
			system = append(system, text)
		case len(c.turns) > 0 && c.turns[len(c.turns)-1].Role == role:
			last := &c.turns[len(c.turns)-1]
			last.Text, last.Pictures = join(last.Text, text), last.Pictures+len(uris)
		default:
			c.turns = append(c.turns, serve.Message{Role: role, Text: text, Pictures: len(uris)})
		}
		c.uris = append(c.uris, uris...)
	}
	switch {
	case len(c.turns) == 0 || c.turns[len(c.turns)-1].Role != "user":
		return invalid("messages", "The last message must be the user's: answers are not continued.")
	case len(c.uris) > pictures.MaxPictures:
		return &fault{Status: 400, Kind: invalidRequest, Code: "invalid_image", Param: "messages", Text: fmt.Sprintf(
			"A request may have %d pictures; this one has %d.", pictures.MaxPictures, len(c.uris))}
	}
	if len(system) > 0 {
		c.turns = append([]serve.Message{{Role: "system", Text: strings.Join(system, "\n")}}, c.turns...)
	}
	return nil
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "\n" + b
}

// content reads a message's text and pictures. An assistant may have said nothing.
func (m *message) content(field string) (text string, uris []pictureURI, err error) {
	if len(m.Content) == 0 || m.Content[0] == 'n' {
		if m.Role == "assistant" {
			return "", nil, nil
		}
		return "", nil, invalid(field, "A message has content: a string, or a list of parts.")
	}
	if json.Unmarshal(m.Content, &text) == nil {
		return text, nil, nil
	}
	parts, err := readList[part](m.Content, maxParts, field, "part")
	if err != nil {
		return "", nil, err
	}
	for i, p := range parts {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case p.Type == "text" && p.Text != nil:
			text = join(text, *p.Text)
		case p.Type == "text":
			return "", nil, invalid(at+".text", "A part of type text has a text.")
		case p.Type == "image_url":
			uri, ok := readURL(p.ImageURL)
			if !ok {
				return "", nil, invalid(at+".image_url", `A part of type image_url has image_url: {"url": "data:…"}.`)
			}
			uris = append(uris, pictureURI{at + ".image_url", uri})
		default:
			return "", nil, invalid(at+".type", "A part is of type text or image_url, not "+quote(p.Type)+".")
		}
	}
	return text, uris, nil
}

func readURL(value json.RawMessage) (string, bool) {
	var uri string
	if len(value) > 0 && value[0] == '"' {
		err := json.Unmarshal(value, &uri)
		return uri, err == nil
	}
	var object struct {
		URL *string `json:"url"`
	}
	if len(value) == 0 || json.Unmarshal(value, &object) != nil || object.URL == nil {
		return "", false
	}
	return *object.URL, true
}
