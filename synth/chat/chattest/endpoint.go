// Package chattest has a chat endpoint for tests, which misbehaves as it is told and keeps account of what it was asked
// and paid for.
package chattest

import (
	"encoding/json"
	"hash/fnv"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Call is a request that arrived, and what was done with it.
type Call struct {
	Key       string // of idempotency
	Nth       int    // of the key, from 1
	At        time.Time
	Path      string
	Limit     string
	MaxTokens int
	Messages  string
	Behaviour Behaviour

	Prompt, Completion int           // tokens that the endpoint was paid for
	Whole              bool          // a completion was written to its end
	Wait               time.Duration // that the answer asked for
}

// Endpoint is an http.Handler that answers as OpenAI's chat completions do.
type Endpoint struct {
	// Script chooses what happens to a request; nil: it is answered.
	Script func(Call) Behaviour
	// Bearer is the key that is accepted; "": any, or none.
	Bearer string
	// Latency comes before each answer.
	Latency time.Duration
	// Headers are added to each completion.
	Headers http.Header

	mu      sync.Mutex
	calls   []Call
	nth     map[string]int
	flying  int
	busiest int
}

// Calls are the requests so far, in the order in which they arrived.
func (e *Endpoint) Calls() []Call {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Call(nil), e.calls...)
}

// Busiest is the largest number of requests that were there at once.
func (e *Endpoint) Busiest() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.busiest
}

// Paid is the number of tokens that were paid for, of all requests.
func (e *Endpoint) Paid() (prompt, completion int) {
	for _, c := range e.Calls() {
		prompt += c.Prompt
		completion += c.Completion
	}
	return prompt, completion
}

// ServeHTTP answers a request.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s := &serving{e: e, w: w, r: r, call: Call{Key: r.Header.Get("Idempotency-Key"), At: time.Now(), Path: r.URL.Path}}
	var asked struct {
		Messages            json.RawMessage
		MaxTokens           int `json:"max_tokens"`
		MaxCompletionTokens int `json:"max_completion_tokens"`
	}
	json.Unmarshal(text, &asked)
	s.call.Messages, s.call.Limit, s.call.MaxTokens = string(asked.Messages), "max_tokens", asked.MaxTokens
	if asked.MaxCompletionTokens > 0 {
		s.call.Limit, s.call.MaxTokens = "max_completion_tokens", asked.MaxCompletionTokens
	}
	s.at = e.begin(&s.call)
	if e.Bearer != "" && r.Header.Get("Authorization") != "Bearer "+e.Bearer {
		s.call.Behaviour = Unauthorized
	}
	if e.Latency > 0 {
		time.Sleep(e.Latency)
	}
	behaviours[s.call.Behaviour](s)
	e.end()
	s.note()
}

// begin notes that a call has come, and chooses its behaviour.
func (e *Endpoint) begin(c *Call) (at int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.nth == nil {
		e.nth = map[string]int{}
	}
	e.nth[c.Key]++
	c.Nth, c.Behaviour = e.nth[c.Key], Answer
	if e.Script != nil {
		c.Behaviour = e.Script(*c)
	}
	e.flying++
	e.busiest = max(e.busiest, e.flying)
	e.calls = append(e.calls, *c)
	return len(e.calls) - 1
}

func (e *Endpoint) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flying--
}

// note keeps what has become of the call: some never end.
func (s *serving) note() {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.e.calls[s.at] = s.call
}

// Tokens is how many tokens the endpoint counts of a prompt, and of the answer to a key.
func Tokens(messages, key string) (prompt, completion int) {
	return len(messages)/4 + 1, len(Text(key))/4 + 1
}

// Text is the answer to a key. Its length depends on the key.
func Text(key string) string {
	hash := fnv.New32()
	hash.Write([]byte(key))
	return "The answer to " + key + strings.Repeat(" is long", 1+int(hash.Sum32()%40)) + "."
}
