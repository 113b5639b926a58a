package prompt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Message is one of a chat.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// Parameters are what is sent besides the messages. Those that are nil are not sent.
type Parameters struct {
	Model             string
	MaxTokens         int
	Temperature, TopP *float64
	Seed              *int
}

// Request asks for one answer.
type Request struct {
	Key      string          // 64 hexadecimal digits: the same for the same content, whenever and wherever it is sent
	Messages json.RawMessage // the list of messages
	Tokens   int             // how many tokens the messages are, about
}

// Request asks for an answer to the context of a scene. The key covers the kind, the parameters and the messages, and
// nothing else: neither an address nor a run's name, nor what is done with the answer.
func (p *Prompt) Request(context string, with Parameters) Request {
	parts := newParts()
	parts.add(string(p.Kind), with.Model, float(with.Temperature), float(with.TopP), integer(with.Seed),
		strconv.Itoa(with.MaxTokens))
	for _, message := range p.Messages(context) {
		parts.add(message.Role, message.Content)
	}
	last := encode(Message{"user", context})
	text := make([]byte, 0, len(p.head)+len(last)+2)
	text = append(append(text, p.head...), ',')
	return Request{
		Key:      parts.sum(),
		Messages: append(append(text, last...), ']'),
		Tokens:   int(math.Ceil(p.tokens + tokens(context))),
	}
}

// Messages are the messages of a request.
func (p *Prompt) Messages(context string) []Message {
	return append(p.before(), Message{"user", context})
}

// before are the messages before that of the scene.
func (p *Prompt) before() []Message {
	messages := []Message{{"system", p.System}}
	for _, example := range p.Examples {
		messages = append(messages, Message{"user", example.Context}, Message{"assistant", example.Answer})
	}
	return messages
}

// encode is a message as JSON, in which < stays one character.
func encode(message Message) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(message); err != nil {
		panic(err) // two strings can always be encoded
	}
	return bytes.TrimRight(text.Bytes(), "\n")
}

func float(f *float64) string {
	if f == nil {
		return ""
	}
	return strconv.FormatFloat(*f, 'g', -1, 64)
}

func integer(i *int) string {
	if i == nil {
		return ""
	}
	return strconv.Itoa(*i)
}

// Characters of a token, measured with Llama 2's tokenizer. Numbers take far more tokens than words.
const (
	textPerToken = 4.0
	boxPerToken  = 1.2
)

// boxLine is a line of a scene's context that holds a box.
var boxLine = regexp.MustCompile(`: \[\d\.\d+(?:, \d\.\d+){3}\]\n?$`)

// tokens is about how many tokens a text has.
func tokens(text string) float64 {
	total := 0.0
	for line := range strings.Lines(text) {
		per := textPerToken
		if boxLine.MatchString(line) {
			per = boxPerToken
		}
		total += float64(utf8.RuneCountInString(line)) / per
	}
	return total
}

// Choose chooses one of a list of texts for an id by a hash: that with the number u modulo the list's length, u being
// the first eight bytes of the SHA-256 of purpose, seed and id, parted by zero bytes, as a big-endian number.
func Choose(list []string, purpose string, seed uint64, id string) string {
	sum := sha256.Sum256([]byte(purpose + "\x00" + strconv.FormatUint(seed, 10) + "\x00" + id))
	return list[binary.BigEndian.Uint64(sum[:8])%uint64(len(list))]
}
