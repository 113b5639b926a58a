package reply

import (
	"bytes"
	"encoding/json"
	"strings"
)

// envelope is the body of a completion. What is not needed to read the text never makes the body unreadable, whatever
// its type: an answer that was paid for is not lost for a strange id.
type envelope struct {
	ID, Model, Usage, Error json.RawMessage
	Choices                 firstChoice
}

type choice struct {
	Message *message        `json:"message"`
	Finish  json.RawMessage `json:"finish_reason"`
}

type message struct {
	Content content
	Refusal json.RawMessage
}

// firstChoice is choices[0]; no more is asked for, and none is kept of what comes nevertheless.
type firstChoice struct{ choice }

func (f *firstChoice) UnmarshalJSON(value []byte) error {
	list := json.NewDecoder(bytes.NewReader(value))
	if opening, err := list.Token(); err != nil || opening != json.Delim('[') || !list.More() {
		return nil // no choices: there is no message
	}
	if list.Decode(&f.choice) != nil {
		f.Message = nil
	}
	return nil
}

// content is the text of a message: a string, a list with parts of text, or null.
type content struct {
	text    string
	strange bool // neither of these
}

func (c *content) UnmarshalJSON(value []byte) error {
	switch value[0] {
	case '"':
		return json.Unmarshal(value, &c.text)
	case 'n':
		return nil
	case '[':
		c.text = joined(value)
		return nil
	}
	c.strange = true
	return nil
}

// joined is the text in a list of parts. Parts of another type (reasoning, say) are no text.
func joined(value []byte) string {
	var all strings.Builder
	list := json.NewDecoder(bytes.NewReader(value))
	if _, err := list.Token(); err != nil {
		return ""
	}
	for list.More() {
		var part json.RawMessage
		if list.Decode(&part) != nil {
			break
		}
		var fields struct{ Type, Text json.RawMessage }
		if json.Unmarshal(part, &fields) != nil {
			continue
		}
		if kind := text(fields.Type); kind == "text" || kind == "" {
			all.WriteString(text(fields.Text))
		}
	}
	return all.String()
}

// text is a value's text if it is a string, else "".
func text(value json.RawMessage) (s string) {
	if len(value) > 0 && value[0] == '"' && json.Unmarshal(value, &s) == nil {
		return s
	}
	return ""
}

// isNothing says whether a value is absent, or one that stands for nothing.
func isNothing(value json.RawMessage) bool {
	switch string(value) {
	case "", "null", "false", `""`, "{}", "[]", "0":
		return true
	}
	return false
}
