// Package synthtest has a chat endpoint for tests of making data: it writes answers of each kind, which depend on what
// it is told about an image and on nothing else.
package synthtest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Writer is an http.Handler that answers as OpenAI's chat completions do, if the prompts are the program's own.
type Writer struct {
	// Says gives the text for a kind (conversation, detail or reasoning) and a context, asked for the nth time; nil, or
	// "": Usual.
	Says  func(kind, context string, nth int) string
	Delay time.Duration // at most, before each answer

	mu    sync.Mutex
	asked map[string]int
	calls int
}

// ServeHTTP answers a request.
func (w *Writer) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	var asked struct{ Messages []struct{ Content string } }
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Messages) < 4 {
		out.WriteHeader(http.StatusBadRequest)
		return
	}
	context := asked.Messages[len(asked.Messages)-1].Content
	kind := KindOf(asked.Messages[2].Content)
	nth := w.count(kind + "\x00" + context)
	if w.Delay > 0 {
		time.Sleep(rand.N(w.Delay))
	}
	text := ""
	if w.Says != nil {
		text = w.Says(kind, context, nth)
	}
	if text == "" {
		text = Usual(kind, context)
	}
	out.Header().Set("Content-Type", "application/json")
	json.NewEncoder(out).Encode(map[string]any{
		"model": "m", "choices": []any{map[string]any{"finish_reason": "stop",
			"message": map[string]any{"role": "assistant", "content": text}}},
		"usage": map[string]any{"prompt_tokens": 2000, "completion_tokens": len(text) / 4},
	})
}

func (w *Writer) count(what string) (nth int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == nil {
		w.asked = map[string]int{}
	}
	w.calls++
	w.asked[what]++
	return w.asked[what]
}

// Calls is how many requests came.
func (w *Writer) Calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// Most is how often the same thing was asked at most.
func (w *Writer) Most() (most int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.asked {
		most = max(most, n)
	}
	return most
}

// Forget makes every request the first of its kind again.
func (w *Writer) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = nil
}

// KindOf tells the kind by the form of an example's answer.
func KindOf(example string) string {
	switch n := strings.Count(example, "Question:"); {
	case n > 1:
		return "conversation"
	case n == 1:
		return "reasoning"
	}
	return "detail"
}

// Usual is an answer that is accepted, and that no other context gets.
func Usual(kind, context string) string {
	n := fmt.Sprint(Hash(context))
	switch kind {
	case "conversation":
		return "Question:\nWhat is on the wall?\n===\nAnswer:\nThe number " + n +
			" is painted on the wall in white.\n===\n" +
			"Question:\nWho stands beside it?\n===\nAnswer:\nA man with a hat stands beside it and waits for the bus.\n"
	case "reasoning":
		return "Question:\nWhy is the number there?\n===\nAnswer:\nThe number " + n +
			" is likely that of the house, and it " +
			"is painted large so that the people who bring letters can see it from the other side of the street.\n"
	}
	return "The photo shows a wall with the number " + n + " on it. A man with a hat stands in front of it, and he " +
		"looks to the left as if he waits for a bus. There is a tree behind the wall, and the sky is clear and blue " +
		"over the roofs."
}

// Hash is a number that a text has by chance.
func Hash(text string) uint32 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint32(sum[:])
}
