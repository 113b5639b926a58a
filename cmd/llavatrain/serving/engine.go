package serving

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/train/answer"
)

// engine is a model's service as the servers see it.
type engine struct {
	service *answer.Service
	model   serve.Model
	timeout time.Duration // of a request, with waiting; 0: none

	pictures        atomic.Int64
	queued, prefill seconds
}

// Drain refuses the requests that wait.
func (e *engine) Drain() { e.service.Engine.Drain() }

// Close ends all answers and frees the model.
func (e *engine) Close() error {
	e.service.Close()
	return nil
}

// newEngine describes a service under a name.
func newEngine(s *answer.Service, name string, created time.Time) *engine {
	shape := s.LLaVA.Language.Describe()
	return &engine{service: s, model: serve.Model{
		Name: name, Template: s.Notes.Template, StopText: s.StopText(), Created: created, Images: true,
		ImageTokens: s.ImageTokens(), MaxPositions: int(shape.MaxPositions),
		MaxTokens: int(min(shape.MaxPositions, s.Positions)),
	}}
}

// Model implements serve.Engine.
func (e *engine) Model() serve.Model { return e.model }

// Status implements serve.Engine.
func (e *engine) Status() serve.Status {
	l := e.service.Engine.Load()
	return serve.Status{
		Running: l.Running, Waiting: l.Waiting, Used: l.Used, PromptTokens: l.Positions, AnswerTokens: l.Made,
		CachedTokens: l.Cached, QueriedTokens: l.Positions, Pictures: e.pictures.Load(), Steps: l.Steps,
		StepTokens: l.StepSizes, FinishedByStop: l.Ended[model.EndStop], FinishedByEnd: l.Ended[model.EndLength],
		FinishedByCancel: l.Ended[model.EndCancelled], FinishedSick: l.Ended[model.EndFailed],
		QueueSeconds: e.queued.take(), PrefillSeconds: e.prefill.take(),
	}
}

// seconds are times of the requests that ended since they were last taken, the last ones only.
type seconds struct {
	mu   sync.Mutex
	list []float64
}

func (s *seconds) add(d time.Duration) {
	const most = 1000
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) < most {
		s.list = append(s.list, d.Seconds())
	}
}

func (s *seconds) take() []float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	return list
}

// Submit implements serve.Engine.
func (e *engine) Submit(r serve.Request) (*serve.Reply, error) {
	q, err := question(r)
	if err != nil {
		return nil, err
	}
	var asked *answer.Asked
	started := make(chan struct{}) // asked is set
	reply := serve.NewReply(func() {
		go func() { // the engine may be calling
			<-started
			if asked != nil {
				asked.Cancel()
			}
		}()
	})
	w := &writer{engine: e, reply: reply, open: max(1, r.Sampling.Choices), logprobs: q.Sampling.Logprobs}
	q.To, q.Wait = w.piece, func(place int) { reply.Send(serve.Event{Place: place}) }
	asked, err = e.service.Ask(q)
	close(started)
	if err != nil {
		return nil, refusal(err)
	}
	e.pictures.Add(int64(len(r.Pictures)))
	reply.Seed = int64(asked.Seed)
	if e.timeout > 0 {
		time.AfterFunc(e.timeout, func() {
			text := fmt.Sprintf("The answer took longer than %v, which is the server's limit. Ask for fewer "+
				"tokens, or try again when it has less to do.", e.timeout)
			reply.End(&serve.Refusal{Reason: serve.Failed, Text: text})
			reply.Close()
		})
	}
	return reply, nil
}

// question is a request as the service takes it.
func question(r serve.Request) (q answer.Question, err error) {
	how := r.Sampling
	seed := rand.Int64()
	if how.Seed != nil {
		seed = *how.Seed
	}
	q = answer.Question{Raw: r.Prompt, Pictures: r.Pictures, Choices: how.Choices, StopTexts: how.Stop,
		IgnoreEnd: how.IgnoreEnd, Client: r.Client, Sampling: model.Sampling{
			MaxTokens: how.MaxTokens, Temperature: how.Temperature, TopP: how.TopP, TopK: how.TopK, MinP: how.MinP,
			RepetitionPenalty: how.RepetitionPenalty, Seed: uint64(seed), Stop: slices.Clone(how.StopTokens),
			Logprobs: how.Logprobs, Top: how.TopLogprobs,
		}}
	if r.Prompt == "" {
		q.System, q.Turns, err = turns(r.Messages)
	}
	return q, err
}

// turns pairs messages. Messages of one role that follow each other are one; an answer needs a question.
func turns(messages []serve.Message) (system string, list []data.ChatTurn, err error) {
	var systems []string
	answered := true
	for i, m := range messages {
		switch m.Role {
		case "system":
			systems = append(systems, m.Text)
		case "user":
			if answered {
				list = append(list, data.ChatTurn{})
			}
			last := &list[len(list)-1]
			last.Text = joined(last.Text, m.Text)
			last.Images += m.Pictures
			answered = false
		case "assistant":
			if len(list) == 0 {
				return "", nil, &serve.Refusal{Reason: serve.Invalid, Field: fmt.Sprintf("messages.%d", i),
					Text: "The conversation begins with an answer. Begin it with a message of the user."}
			}
			last := &list[len(list)-1]
			last.Answer = joined(last.Answer, m.Text)
			answered = true
		}
	}
	if len(list) == 0 || answered {
		return "", nil, &serve.Refusal{Reason: serve.Invalid, Field: "messages",
			Text: "The conversation does not end with a message of the user, so there is nothing to answer."}
	}
	return strings.Join(systems, "\n"), list, nil
}

func joined(text, more string) string {
	if text == "" || more == "" {
		return text + more
	}
	return text + "\n" + more
}

// refusal turns an error of the service into one for the request's sender.
func refusal(err error) error {
	r := &serve.Refusal{Reason: serve.Failed, Text: "The request could not be answered because of a fault of the " +
		"server. Its log says more."}
	switch {
	case errors.Is(err, model.ErrBusy):
		r = &serve.Refusal{Reason: serve.Busy, Text: "The queue is full. Try again soon.", After: 2 * time.Second}
	case errors.Is(err, model.ErrClosed):
		r = &serve.Refusal{Reason: serve.Closing, Text: "The server is ending."}
	case errors.Is(err, model.ErrTooLong):
		r = &serve.Refusal{Reason: serve.ContextFull, Field: "messages", Text: sentence(err)}
	case errors.Is(err, failure.ErrInput):
		r = &serve.Refusal{Reason: serve.Invalid, Field: "messages", Text: sentence(err)}
	}
	return r
}

// sentence is an error's text as a sentence.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// writer sends a service's pieces as events. The engine's goroutine calls it.
type writer struct {
	engine   *engine
	reply    *serve.Reply
	open     int // choices that go on
	logprobs bool
	counts   []serve.Usage
}

func (w *writer) piece(p answer.Piece) {
	for len(w.counts) <= p.Choice {
		w.counts = append(w.counts, serve.Usage{})
	}
	usage := &w.counts[p.Choice]
	e := serve.Event{Choice: p.Choice, Text: p.Text}
	if p.Token != nil {
		usage.Answer++
		if w.logprobs {
			e.Tokens = []serve.Token{w.token(*p.Token)}
		}
	}
	if p.Ended != nil {
		usage.Prompt, usage.Cached = p.Ended.Prompt, p.Ended.Cached
		w.engine.queued.add(p.Ended.Queued)
		w.engine.prefill.add(p.Ended.Prefill)
		if p.Ended.End == model.EndFailed {
			w.reply.End(refusal(p.Ended.Err))
			return
		}
		e.Finish = map[model.End]serve.Finish{model.EndStop: serve.Stopped, model.EndLength: serve.TooLong,
			model.EndCancelled: serve.Stopped}[p.Ended.End]
		w.open--
	}
	if e.Usage = *usage; e.Text != "" || len(e.Tokens) > 0 || e.Finish != serve.Unfinished || usage.Answer == 1 {
		w.reply.Send(e)
	}
	if w.open == 0 {
		w.reply.End(nil)
	}
}

// token is a token with its text.
func (w *writer) token(t model.Token) serve.Token {
	text := w.engine.service.Tokenizer.Decode([]int32{t.ID})
	out := serve.Token{ID: t.ID, Text: text, Bytes: []byte(text), Logprob: t.Logprob}
	for _, other := range t.Top {
		out.Top = append(out.Top, w.token(other))
	}
	return out
}
