package chattest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Behaviour is something that endpoints do.
type Behaviour string

// The behaviours. Those that say "paid" have the model answer, which counts in Call.
const (
	Answer    Behaviour = "answer"          // paid
	Slow      Behaviour = "slow stream"     // paid; a few bytes at a time
	NoUsage   Behaviour = "no usage"        // paid; without a count of tokens
	CutPrompt Behaviour = "cut prompt"      // paid; counts a quarter of the prompt
	Refusal   Behaviour = "refusal"         // paid; the model declines in its own field
	Apology   Behaviour = "apology"         // paid; it declines in the text
	Filtered  Behaviour = "filtered answer" // paid; the filter stopped it
	EchoKey   Behaviour = "key in answer"   // paid; the text repeats the header of authorization
	Other     Behaviour = "other model"     // paid; by a model of another name

	Lost     Behaviour = "lost answer"       // paid; then the connection is cut
	Half     Behaviour = "half JSON"         // paid; the body ends in the middle, and seems to be whole
	Early    Behaviour = "early end"         // paid; the connection ends in the middle of the body
	Short    Behaviour = "short length"      // paid; Content-Length says less than there is
	Long     Behaviour = "long length"       // paid; Content-Length says more than there is
	Huge     Behaviour = "100 MB"            // paid; a body without end
	Hang     Behaviour = "hang"              // never answers
	Dribble  Behaviour = "hang in the body"  // begins to answer, and does not go on
	Reset    Behaviour = "reset"             // cuts the connection at once
	Down     Behaviour = "500"               // not paid, though 500 might be
	Gateway  Behaviour = "502"               //
	Busy     Behaviour = "503 with a wait"   //
	Loading  Behaviour = "503 while loading" // llama.cpp
	In200    Behaviour = "error in a 200"    //
	Empty    Behaviour = "empty 200"         //
	LimitMS  Behaviour = "429 milliseconds"  //
	LimitS   Behaviour = "429 seconds"       //
	LimitAt  Behaviour = "429 date"          //
	Limit    Behaviour = "429"               // without a wait
	LimitDay Behaviour = "429 for a day"     //

	Quota        Behaviour = "quota"
	Unauthorized Behaviour = "401" // repeats the header of authorization
	Missing      Behaviour = "404"
	Bad          Behaviour = "400"
	Unsupported  Behaviour = "400 unsupported parameter"
	Prompt       Behaviour = "400 content filter"
	Context      Behaviour = "400 context length"
	Redirect     Behaviour = "redirect"
)

// serving is one request and its answer.
type serving struct {
	e    *Endpoint
	w    http.ResponseWriter
	r    *http.Request
	call Call
	at   int // in Endpoint.calls
}

var behaviours = map[Behaviour]func(*serving){
	Answer: func(s *serving) { s.whole(s.pay(nil)) },
	Slow: func(s *serving) {
		body := s.pay(nil)
		for len(body) > 0 {
			n := min(len(body), 200)
			s.w.Write(body[:n])
			s.w.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
			body = body[n:]
		}
		s.call.Whole = true
	},
	NoUsage:   func(s *serving) { s.whole(s.pay(func(c *completion) { c.Usage = nil })) },
	CutPrompt: func(s *serving) { s.whole(s.pay(func(c *completion) { c.Usage.Prompt /= 4 })) },
	Refusal: func(s *serving) {
		s.whole(s.pay(func(c *completion) { c.Choices[0].Message.Refusal = "I cannot help with that." }))
	},
	Apology: func(s *serving) {
		s.whole(s.pay(func(c *completion) { c.Choices[0].Message.Content = "I'm sorry, but I can't do that." }))
	},
	Filtered: func(s *serving) { s.whole(s.pay(func(c *completion) { c.Choices[0].Finish = "content_filter" })) },
	EchoKey: func(s *serving) {
		s.w.Header().Set("X-Request-Id", s.r.Header.Get("Authorization"))
		s.whole(s.pay(func(c *completion) {
			c.Model = s.r.Header.Get("Authorization")
			c.Choices[0].Message.Content = "You sent " + s.r.Header.Get("Authorization")
		}))
	},
	Other: func(s *serving) { s.whole(s.pay(func(c *completion) { c.Model = "another-model" })) },

	Lost: func(s *serving) { s.pay(nil); s.cut() },
	Half: func(s *serving) { body := s.pay(nil); s.w.Write(body[:len(body)/2]) },
	Early: func(s *serving) {
		body := s.pay(nil)
		s.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		s.w.Write(body[:len(body)/2])
		s.w.(http.Flusher).Flush()
		s.cut()
	},
	Short: func(s *serving) {
		body := s.pay(nil)
		s.raw(fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body)/2, body))
	},
	Long: func(s *serving) {
		body := s.pay(nil)
		s.raw(fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body)*2, body))
	},
	Huge: func(s *serving) {
		s.pay(nil)
		io.WriteString(s.w, `{"choices":[{"message":{"content":"`)
		for range 100 {
			if _, err := io.WriteString(s.w, strings.Repeat("a", 1<<20)); err != nil {
				return
			}
		}
		io.WriteString(s.w, `"}}]}`)
	},
	Hang: func(s *serving) { <-s.r.Context().Done() },
	Dribble: func(s *serving) {
		io.WriteString(s.w, `{"choices"`)
		s.w.(http.Flusher).Flush()
		<-s.r.Context().Done()
	},
	Reset:   (*serving).cut,
	Down:    func(s *serving) { s.error(500, "", "the server failed") },
	Gateway: func(s *serving) { s.w.WriteHeader(502); io.WriteString(s.w, "<html>bad gateway</html>") },
	Busy: func(s *serving) {
		s.call.Wait = 50 * time.Millisecond
		s.w.Header().Set("Retry-After", "0.05")
		s.error(503, "", "too busy")
	},
	Loading: func(s *serving) { s.error(503, "", "Loading model") },
	In200:   func(s *serving) { io.WriteString(s.w, `{"error":{"code":502,"message":"the provider failed"}}`) },
	Empty:   func(s *serving) { s.w.WriteHeader(200) },
	LimitMS: func(s *serving) { s.limit("Retry-After-Ms", "20", 20*time.Millisecond) },
	LimitS:  func(s *serving) { s.limit("Retry-After", "0.03", 30*time.Millisecond) },
	LimitAt: func(s *serving) {
		now := time.Now().UTC()
		s.w.Header().Set("Date", now.Format(http.TimeFormat))
		s.limit("Retry-After", now.Add(time.Second).Format(http.TimeFormat), time.Second)
	},
	Limit:    func(s *serving) { s.error(429, "rate_limit_exceeded", "slow down") },
	LimitDay: func(s *serving) { s.limit("Retry-After", "86400", 24*time.Hour) },

	Quota: func(s *serving) { s.error(429, "insufficient_quota", "you have no money") },
	Unauthorized: func(s *serving) {
		s.error(401, "invalid_api_key", "wrong key: "+s.r.Header.Get("Authorization"))
	},
	Missing: func(s *serving) { s.error(404, "model_not_found", "no such model") },
	Bad:     func(s *serving) { s.error(400, "", "something is wrong") },
	Unsupported: func(s *serving) {
		s.error(400, "unsupported_parameter", "Unsupported parameter: '"+s.call.Limit+"'")
	},
	Prompt:   func(s *serving) { s.error(400, "content_filter", "the prompt was filtered") },
	Context:  func(s *serving) { s.error(400, "context_length_exceeded", "the prompt is too long") },
	Redirect: func(s *serving) { http.Redirect(s.w, s.r, "/elsewhere", http.StatusTemporaryRedirect) },
}

// completion is the body of an answer.
type completion struct {
	ID      string   `json:"id"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

type choice struct {
	Message message `json:"message"`
	Finish  string  `json:"finish_reason"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	Refusal string `json:"refusal,omitempty"`
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// pay has the model answer and counts its tokens. change may change the answer.
func (s *serving) pay(change func(*completion)) []byte {
	key, _, _ := strings.Cut(s.call.Key, "-")
	s.call.Prompt, s.call.Completion = Tokens(s.call.Messages, key)
	s.note()
	c := &completion{ID: fmt.Sprintf("chatcmpl-%s-%d", s.call.Key, s.call.Nth), Model: "test-model",
		Choices: []choice{{message{Role: "assistant", Content: Text(key)}, "stop"}},
		Usage:   &usage{Prompt: s.call.Prompt, Completion: s.call.Completion}}
	c.Usage.Details.Cached = s.call.Prompt / 2
	if change != nil {
		change(c)
	}
	body, err := json.Marshal(c)
	if err != nil {
		panic(err) // a struct of strings and numbers can be encoded
	}
	for name, values := range s.e.Headers {
		s.w.Header()[name] = values
	}
	return body
}

// whole sends a body.
func (s *serving) whole(body []byte) {
	s.call.Whole = true
	s.note() // or a client that has read the answer could be ahead of the account
	s.w.Header().Set("Content-Type", "application/json")
	s.w.Write(body)
}

func (s *serving) error(status int, code, message string) {
	s.w.Header().Set("Content-Type", "application/json")
	s.w.WriteHeader(status)
	json.NewEncoder(s.w).Encode(map[string]any{"error": map[string]any{"message": message, "code": code}})
}

func (s *serving) limit(header, wait string, duration time.Duration) {
	s.call.Wait = duration
	s.w.Header().Set(header, wait)
	s.error(429, "rate_limit_exceeded", "slow down")
}

// raw writes an answer byte by byte, and closes the connection.
func (s *serving) raw(text string) {
	if connection, out, err := s.w.(http.Hijacker).Hijack(); err == nil {
		out.WriteString(text)
		out.Flush()
		connection.Close()
	}
}

// cut resets the connection.
func (s *serving) cut() {
	connection, _, err := s.w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	connection.Close()
}
