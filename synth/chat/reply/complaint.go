package reply

import (
	"encoding/json"
	"strconv"
	"strings"
)

// complaint is what the body of a fault says. The forms are
//
//	{"error": {"message", "type", "param", "code"}}   OpenAI and most others
//	{"error": "message"}                              Ollama, text-generation-inference; some with a message beside it
//	{"message", "type", "param", "code"}              vLLM before 0.10, Mistral
//	{"detail": "message"}                             servers made with FastAPI
//	anything else                                     proxies
type complaint struct {
	Message, Type, Param, Code loose
}

// loose is a value that should be a string: of a string the text, of null, true and false nothing, of anything else the
// JSON.
type loose string

func (l *loose) UnmarshalJSON(value []byte) error {
	switch value[0] {
	case '"':
		*l = loose(text(value))
	case 'n', 't', 'f':
	default:
		*l = loose(value)
	}
	return nil
}

func complaintIn(body []byte) complaint {
	var outer struct {
		complaint
		Error  json.RawMessage
		Detail loose
	}
	if json.Unmarshal(body, &outer) != nil {
		return complaint{Message: loose(strings.TrimSpace(string(body)))}
	}
	said := outer.complaint
	if !isNothing(outer.Error) {
		if json.Unmarshal(outer.Error, &said) != nil {
			said.Message = loose(strings.Trim(text(outer.Error)+": "+string(said.Message), ": "))
		}
	}
	if said.Message == "" {
		said.Message = outer.Detail
	}
	if said == (complaint{}) {
		said.Message = loose(body)
	}
	return said
}

// status is the status of an error that came with status 200, as gateways send them: its numeric code. Without one it
// counts as a gateway's error.
func (c complaint) status() int {
	const badGateway = 502
	if status, err := strconv.Atoi(string(c.Code)); err == nil && status >= 400 && status <= 599 {
		return status
	}
	return badGateway
}

// named says whether the code or the type begins with one of the names.
func (c complaint) named(names ...string) bool {
	for _, name := range names {
		if strings.HasPrefix(string(c.Code), name) || strings.HasPrefix(string(c.Type), name) {
			return true
		}
	}
	return false
}

// ofMoney: the account is empty or closed, so that no pause helps.
func (c complaint) ofMoney() bool { return c.named("insufficient_quota", "billing") }

// ofContent: the provider's filter took offence at the prompt.
func (c complaint) ofContent() bool { return c.named("content_filter", "content_policy") }

// ofLength: the prompt does not fit into the model's context.
func (c complaint) ofLength() bool {
	if c.named("context_length_exceeded") {
		return true
	}
	message := strings.ToLower(string(c.Message))
	return strings.Contains(message, "context length") || strings.Contains(message, "context size") ||
		strings.Contains(message, "context_length_exceeded")
}
