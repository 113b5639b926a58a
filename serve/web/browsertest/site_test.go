package browsertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// site is a server of the page.
type site struct {
	server *httptest.Server
	token  string

	mu        sync.Mutex
	requests  []chatRequest
	votes     []string
	cancelled int
	models    []string
}

type chatRequest struct {
	Model       string
	Temperature *float64
	TopP        *float64 `json:"top_p"`
	MaxTokens   *int     `json:"max_tokens"`
	Seed        *int64
	Messages    []struct {
		Role    string
		Content json.RawMessage
	}
}

type part struct {
	Type     string
	Text     string
	ImageURL struct{ URL string } `json:"image_url"`
}

// parts are the content of a message, by number.
func (r chatRequest) parts(i int) (parts []part) {
	var text string
	if json.Unmarshal(r.Messages[i].Content, &text) == nil {
		return []part{{Type: "text", Text: text}}
	}
	json.Unmarshal(r.Messages[i].Content, &parts)
	return parts
}

func newSite(t *testing.T) *site {
	s := &site{models: []string{"toy-a", "toy-b"}}
	mux := http.NewServeMux()
	files := http.FileServerFS(os.DirFS("../page"))
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy",
			"default-src 'self'; img-src 'self' data: blob:; object-src 'none'; frame-ancestors 'none'; base-uri 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		files.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /page/models", s.guarded(s.list))
	mux.HandleFunc("POST /page/vote", s.guarded(s.vote))
	mux.HandleFunc("POST /v1/chat/completions", s.guarded(s.chat))
	s.server = httptest.NewServer(mux)
	t.Cleanup(s.server.Close)
	return s
}

func (s *site) guarded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token {
			fault(w, 401, "This server asks for a token.")
			return
		}
		h(w, r)
	}
}

func fault(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"message":%q,"type":"x","param":null,"code":null}}`, text)
}

func (s *site) list(w http.ResponseWriter, r *http.Request) {
	var models []string
	for _, name := range s.models {
		models = append(models, fmt.Sprintf(`{"id":%q,"known":true,"template":"vicuna_v1","images":true,"image_tokens":576,`+
			`"max_positions":4096,"queue":0}`, name))
	}
	selected := s.models[0]
	if m := r.FormValue("model"); m != "" {
		selected = m
	}
	fmt.Fprintf(w, `{"models":[%s],"selected":%q,"votes":true,"embed":false,"pictures":8,"picture_bytes":16777216,`+
		`"pixels":50000000,"body_bytes":25165824}`, strings.Join(models, ","), selected)
}

func (s *site) vote(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.votes = append(s.votes, string(body))
	io.WriteString(w, `{"kept":true}`)
}

func (s *site) chat(w http.ResponseWriter, r *http.Request) {
	var q chatRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		fault(w, 400, err.Error())
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, q)
	s.mu.Unlock()
	question := ""
	for _, p := range q.parts(len(q.Messages) - 1) {
		question += p.Text
	}
	word, rest, _ := strings.Cut(question, " ")
	if word == "refuse" {
		w.Header().Set("Retry-After", "2")
		fault(w, 429, "The queue is full; try again in 2 seconds.")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	say := func(format string, args ...any) bool {
		fmt.Fprintf(w, format, args...)
		out.Flush()
		return r.Context().Err() == nil
	}
	piece := func(text string) bool {
		raw, _ := json.Marshal(text)
		return say(`data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":%s},"finish_reason":null}]}`+"\n\n", raw)
	}
	answer := question
	pause := time.Duration(0)
	switch word {
	case "slow":
		answer, pause = rest, 20*time.Millisecond
	case "queue":
		for place := 3; place > 0; place-- {
			say(": waiting %d\n\n", place)
			time.Sleep(200 * time.Millisecond)
		}
		answer = rest
	case "wait":
		say(": waiting 3\n\n")
		<-r.Context().Done()
		return
	case "endless":
		for piece("word ") {
			time.Sleep(10 * time.Millisecond)
		}
		s.mu.Lock()
		s.cancelled++
		s.mu.Unlock()
		return
	case "fail":
		piece("some words")
		say(`data: {"error":{"message":"The worker has gone away. Regenerate to ask another.","type":"server_error"}}` + "\n\n")
		return
	case "break":
		piece("some words")
		panic(http.ErrAbortHandler)
	}
	for _, text := range strings.SplitAfter(answer, " ") {
		if !piece(text) {
			return
		}
		time.Sleep(pause)
	}
	say(`data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n")
	say(`data: {"choices":[],"usage":{"prompt_tokens":600,"completion_tokens":%d,"total_tokens":700,`+
		`"prompt_tokens_details":{"cached_tokens":576}}}`+"\n\n", len(strings.Fields(answer)))
	say("data: [DONE]\n\n")
}
