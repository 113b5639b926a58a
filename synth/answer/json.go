package answer

import (
	"encoding/json"
	"io"
	"strings"
)

// jsonTurn is an element of the lists that models write in JSON. Names match in any case. What is not named here is
// passed over; a name with another type than text makes the form another one.
type jsonTurn struct {
	Question, Q, Answer, A *string // a pair
	From, Role             *string // a turn
	Value, Content         *string
}

// speakers are the names of roles: true asks.
var speakers = map[string]bool{
	"human": true, "user": true,
	"gpt": false, "assistant": false, "ai": false, "model": false,
}

// halves are the question and the answer of a pair, or the one of them that a turn is.
func (t jsonTurn) halves() (list []half) {
	question, answer := firstOf(t.Question, t.Q), firstOf(t.Answer, t.A)
	if question != nil && answer != nil {
		return []half{{true, tidy(*question)}, {false, tidy(*answer)}}
	}
	name, text := firstOf(t.From, t.Role), firstOf(t.Value, t.Content)
	if name == nil || text == nil {
		return nil
	}
	if asks, known := speakers[strings.ToLower(strings.TrimSpace(*name))]; known {
		return []half{{asks, tidy(*text)}}
	}
	return nil
}

func firstOf(a, b *string) *string {
	if a != nil {
		return a
	}
	return b
}

// jsonHalves reads questions and answers in JSON. The forms are
//
//	[{"question": …, "answer": …}, …]   or with "q" and "a"
//	{"question": …, "answer": …}        and more of them below
//	[{"from": "human", "value": …}, {"from": "gpt", "value": …}, …]   or with "role" and "content"
//	{"conversation": one of these}      or under another name of jsonHolder
//
// It says false of a text in another form.
func jsonHalves(text string) ([]half, bool) {
	switch {
	case strings.HasPrefix(text, "["):
		return jsonList(text)
	case !strings.HasPrefix(text, "{"):
		return nil, false
	}
	if halves, ok := jsonPairs(text); ok {
		return halves, true
	}
	var holder struct{ Conversation, Conversations, QA, Pairs, Questions json.RawMessage }
	if json.Unmarshal([]byte(text), &holder) != nil {
		return nil, false
	}
	for _, held := range []json.RawMessage{
		holder.Conversation, holder.Conversations, holder.QA, holder.Pairs, holder.Questions,
	} {
		read := jsonList
		if strings.HasPrefix(string(held), "{") {
			read = jsonPairs
		}
		if halves, ok := read(string(held)); ok {
			return halves, true
		}
	}
	return nil, false
}

// jsonList reads an array of pairs, or one of turns.
func jsonList(text string) (halves []half, ok bool) {
	list := json.NewDecoder(strings.NewReader(text))
	if opening, err := list.Token(); err != nil || opening != json.Delim('[') {
		return nil, false
	}
	each := 0 // halves of an element
	for list.More() {
		var element jsonTurn
		if list.Decode(&element) != nil {
			return nil, false
		}
		found := element.halves()
		if each == 0 {
			each = len(found)
		}
		if len(found) == 0 || len(found) != each {
			return nil, false
		}
		halves = append(halves, found...)
	}
	if _, err := list.Token(); err != nil || !ended(list) {
		return nil, false
	}
	return halves, each > 0
}

// jsonPairs reads pairs one after the other, without an array around them.
func jsonPairs(text string) (halves []half, ok bool) {
	list := json.NewDecoder(strings.NewReader(text))
	for {
		var element jsonTurn
		switch err := list.Decode(&element); err {
		case nil:
		case io.EOF:
			return halves, len(halves) > 0
		default:
			return nil, false
		}
		found := element.halves()
		if len(found) != 2 {
			return nil, false
		}
		halves = append(halves, found...)
	}
}

// jsonText unpacks a description in JSON: a string, or an object with one string among its values.
func jsonText(text string) (string, bool) {
	if strings.HasPrefix(text, `"`) {
		var unpacked string
		return unpacked, json.Unmarshal([]byte(text), &unpacked) == nil
	}
	if !strings.HasPrefix(text, "{") || !json.Valid([]byte(text)) {
		return "", false
	}
	object := json.NewDecoder(strings.NewReader(text))
	object.Token() // {
	var unpacked string
	found := 0
	for object.More() {
		var value json.RawMessage
		object.Token() // the key
		if object.Decode(&value) != nil {
			return "", false
		}
		if value[0] == '"' {
			json.Unmarshal(value, &unpacked)
			found++
		}
	}
	return unpacked, found == 1
}

// ended says whether nothing but white space is left.
func ended(d *json.Decoder) bool {
	_, err := d.Token()
	return err == io.EOF
}
