package servetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/serve"
)

// The rules: words at the beginning of the last question. Any other question is answered with itself.
const (
	Slow    = "slow"    // answers the rest of the question, with a pause before every piece
	Endless = "endless" // goes on to the longest answer, with a pause before every piece
	Fail    = "fail"    // says two pieces, then the engine fails
	Refuse  = "refuse"  // the queue is full: try again in 2 seconds
	Queue   = "queue"   // waits at the places 3, 2 and 1, then answers the rest of the question
	Poem    = "poem"    // answers Text, whatever follows
)

// Text is a fixed answer of many kinds of characters: of one to four bytes, joined ones, from right to left, of width
// zero, with spaces and lines.
const Text = "  Grüße, naïve 世界!\n\n👩‍👩‍👧 שלום\t<b>&amp;</b> \u200b\"quotes\" \\ 𝄞 end."

// ErrFail is the fault of the rule Fail; clients must not see its text.
var ErrFail = errors.New("toy engine: /secret/path is broken")

// answer is what is still to be sent of an answer.
type answer struct {
	events   []serve.Event
	endless  func(n int) serve.Event // nil: the answer ends with events
	sent     int
	most     int   // events of endless
	err      error // after the events
	pace     time.Duration
	usage    serve.Usage
	pictures int
	counted  bool
	ended    serve.Finish
}

// next is the next event; ok is false after the last.
func (a *answer) next() (event serve.Event, ok bool, err error) {
	switch {
	case a.sent < len(a.events):
		event = a.events[a.sent]
	case a.endless != nil && a.sent < a.most:
		event = a.endless(a.sent)
	default:
		return event, false, a.err
	}
	a.sent++
	if event.Finish != "" {
		a.ended = event.Finish
	}
	return event, true, nil
}

func (a *answer) finish() serve.Finish { return a.ended }

// Question is the last question of a request, without template and marks.
func Question(r serve.Request) string {
	text := r.Prompt
	if len(r.Messages) > 0 {
		text = r.Messages[len(r.Messages)-1].Text
	} else if at := strings.LastIndex(text, "USER:"); at >= 0 {
		text, _, _ = strings.Cut(text[at+len("USER:"):], "ASSISTANT:")
		text = strings.TrimSpace(strings.ReplaceAll(text, "<image>", ""))
	}
	return text
}

// promptText is all of a request's text.
func promptText(r serve.Request) string {
	text := r.Prompt
	for _, m := range r.Messages {
		text += m.Role + ": " + m.Text + "\n"
	}
	return text
}

// plan decides how a request is answered. The caller holds e.mu.
func (e *Engine) plan(r serve.Request) (answer, *serve.Refusal) {
	prompt := promptText(r)
	a := answer{usage: serve.Usage{Prompt: len(Pieces(prompt)) + len(r.Pictures)*e.Served.ImageTokens},
		pictures: len(r.Pictures)}
	if prompt == e.last {
		a.usage.Cached = a.usage.Prompt - 1
	}
	question := Question(r)
	word, rest, _ := strings.Cut(question, " ")
	switch {
	case len(r.Pictures) > 0 && !e.Served.Images:
		return a, &serve.Refusal{Reason: serve.Invalid, Field: "messages",
			Text: "This model does not look at pictures; send text only."}
	case a.usage.Prompt >= e.Served.MaxPositions:
		return a, &serve.Refusal{Reason: serve.ContextFull, Field: "messages", Text: fmt.Sprintf("The prompt has %d "+
			"tokens and the context %d; shorten it.", a.usage.Prompt, e.Served.MaxPositions)}
	case word == Refuse:
		return a, &serve.Refusal{Reason: serve.Busy, After: 2 * time.Second,
			Text: "The queue is full; try again later."}
	}
	e.last = prompt
	room := min(e.Served.MaxTokens, e.Served.MaxPositions-a.usage.Prompt)
	if n := r.Sampling.MaxTokens; n > 0 {
		room = min(room, n)
	}
	text := question
	switch word {
	case Slow:
		text, a.pace = rest, e.Pace
	case Poem:
		text = Text
	case Queue:
		text = rest
		for place := 3; place > 0; place-- {
			a.events = append(a.events, serve.Event{Place: place})
		}
	case Fail:
		text, a.err = "some words", ErrFail
	case Endless:
		a.pace, a.most, a.endless = e.Pace, room, func(n int) serve.Event {
			return e.event(r, a.usage, 0, n, []byte("word "), n+1 == room, serve.TooLong)
		}
		return a, nil
	}
	a.events = append(a.events, e.events(r, a, text, room)...)
	return a, nil
}

// events are those of an answer to all choices, which take turns. The text of later choices ends with their number.
func (e *Engine) events(r serve.Request, a answer, text string, room int) (list []serve.Event) {
	var choices [][]serve.Event
	for choice := range max(1, r.Sampling.Choices) {
		said := text
		if choice > 0 {
			said += fmt.Sprintf(" (%d)", choice)
		}
		finish := serve.Stopped
		for _, stop := range r.Sampling.Stop {
			said, _, _ = strings.Cut(said, stop)
		}
		pieces := Pieces(said)
		if len(pieces) > room {
			pieces, finish = pieces[:room], serve.TooLong
		}
		var mine []serve.Event
		for n, piece := range pieces {
			mine = append(mine, e.event(r, a.usage, choice, n, piece, n+1 == len(pieces) && a.err == nil, finish))
		}
		if len(pieces) == 0 {
			mine = append(mine, serve.Event{Choice: choice, Finish: finish, Usage: a.usage})
		}
		choices = append(choices, whole(mine))
	}
	for n := 0; len(choices) > 0; n++ {
		for _, mine := range choices {
			if n < len(mine) {
				list = append(list, mine[n])
			}
		}
		choices = slices.DeleteFunc(choices, func(mine []serve.Event) bool { return n >= len(mine) })
	}
	return list
}

// event is that of one token.
func (e *Engine) event(r serve.Request, usage serve.Usage, choice, n int, piece []byte, last bool,
	finish serve.Finish) serve.Event {
	usage.Answer = n + 1
	event := serve.Event{Choice: choice, Text: string(piece), Usage: usage}
	if last {
		event.Finish = finish
	}
	if r.Sampling.Logprobs {
		token := serve.Token{ID: int32(n), Bytes: piece, Logprob: -0.5 * float64(n+1)}
		for i := range r.Sampling.TopLogprobs {
			token.Top = append(token.Top, serve.Token{ID: int32(100 + i), Text: fmt.Sprint("top", i),
				Bytes: []byte(fmt.Sprint("top", i)), Logprob: 0 - float64(i)})
		}
		event.Tokens = []serve.Token{token}
	}
	return event
}

// whole has each event hold whole characters: the text of a token that ends in the middle of one comes with the next.
func whole(events []serve.Event) []serve.Event {
	held := ""
	for i := range events {
		events[i].Text = held + events[i].Text
		if held = ""; !utf8.ValidString(events[i].Text) {
			events[i].Text, held = "", events[i].Text
		}
		if tokens := events[i].Tokens; len(tokens) > 0 {
			tokens[0].Text = events[i].Text
		}
	}
	return events
}

// Pieces cuts text into the toy's tokens: words with the space after them, and single bytes of characters that are not
// ASCII.
func Pieces(text string) (pieces [][]byte) {
	for start, i := 0, 0; i < len(text); i++ {
		if text[i] >= utf8.RuneSelf || text[i] == ' ' || text[i] == '\n' || i+1 == len(text) ||
			text[i+1] >= utf8.RuneSelf {
			pieces, start = append(pieces, []byte(text[start:i+1])), i+1
		}
	}
	return pieces
}
