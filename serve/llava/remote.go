package llava

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/serve"
)

// Remote is an engine: the workers of one model.
type Remote struct {
	fleet *Fleet
	model serve.Model

	Own   bool // its workers are ours, and say what they serve
	Queue int  // requests that ran or waited when it was listed
}

// Model implements serve.Engine.
func (r *Remote) Model() serve.Model { return r.model }

// Status implements serve.Engine, by what was known when the models were listed.
func (r *Remote) Status() serve.Status { return serve.Status{Running: r.Queue} }

// Submit implements serve.Engine. The answer comes as from the worker's engine if the worker is ours; otherwise it has
// text alone, without usage.
func (r *Remote) Submit(q serve.Request) (*serve.Reply, error) {
	worker, status, err := r.fleet.find(context.Background(), r.model.Name)
	if err != nil {
		return nil, err
	}
	if q.Sampling.Seed == nil { // or this end could not name the one that was drawn
		seed := rand.Int64()
		q.Sampling.Seed = &seed
	}
	call := &call{fleet: r.fleet, model: r.model.Name, worker: worker}
	if status.Details != nil && len(q.Messages) > 0 {
		call.own = &ownRequest{Client: clientName(q.Client), Messages: q.Messages, Sampling: q.Sampling}
	} else if err := call.plain(q, status.Model(r.model.Name)); err != nil {
		return nil, err
	}
	body, err := call.write(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	call.reply = serve.NewReply(cancel)
	call.reply.Seed = *q.Sampling.Seed
	go func() {
		defer cancel()
		call.run(ctx, body)
	}()
	return call.reply, nil
}

func clientName(client string) string { return client[:min(len(client), maxClient)] }

// call is a request at a worker.
type call struct {
	fleet  *Fleet
	model  string
	worker Peer
	reply  *serve.Reply
	own    *ownRequest // nil: by the original's protocol

	body          wireRequest
	cut           cutter
	come          bool // a message
	ended         bool // the answer is whole
	open          int  // choices that have not ended
	choices, size int  // in all; bytes of their texts
	closed        bool // a stop text came, nothing more is read
}

// wireRequest is a request by the original's names, in its order.
type wireRequest struct {
	Model       string      `json:"model"`
	Prompt      string      `json:"prompt"`
	Temperature float64     `json:"temperature"`
	TopP        float64     `json:"top_p"`
	MaxTokens   int         `json:"max_new_tokens"`
	Stop        string      `json:"stop"`
	Images      []string    `json:"images"`
	Own         *ownRequest `json:"llavatrain,omitempty"`
}

// plain prepares a request by the original's protocol, and refuses what it cannot say.
func (c *call) plain(q serve.Request, model serve.Model) error {
	s := q.Sampling
	for field, used := range map[string]bool{"n": s.Choices > 1, "logprobs": s.Logprobs, "top_k": s.TopK > 0,
		"min_p": s.MinP > 0, "repetition_penalty": s.RepetitionPenalty != 0 && s.RepetitionPenalty != 1,
		"ignore_eos": s.IgnoreEnd, "stop_token_ids": len(s.StopTokens) > 0} {
		if used {
			return invalid(field, "The worker of this model is LLaVA's own, which does not know "+field+
				". Leave it out, or serve the model with llavatrain.")
		}
	}
	if len(q.Pictures) > 0 && !model.Images {
		return invalid("messages", "This model does not look at pictures. Send text only, or ask another model.")
	}
	c.body.Prompt, c.body.Stop = q.Prompt, model.StopText
	if len(q.Messages) > 0 {
		for _, m := range q.Messages {
			if strings.Contains(m.Text, imageMark) {
				return invalid("messages", "The worker of this model is LLaVA's own, which would take the text "+
					imageMark+" for a picture. Write it otherwise.")
			}
		}
		prompt, stop, err := c.fleet.write(model.Template, q.Messages)
		if err != nil {
			return invalid("messages", err.Error())
		}
		c.body.Prompt, c.body.Stop = prompt, stop
	} else if len(s.Stop) > 0 && c.body.Stop == "" {
		c.body.Stop = s.Stop[0]
	}
	if c.body.Stop == "" {
		c.body.Stop = "</s>" // the worker fails without one, and empties the answer with an empty one
	}
	c.cut.stops = append([]string{c.body.Stop}, s.Stop...)
	c.body.Temperature, c.body.TopP, c.body.MaxTokens = s.Temperature, s.TopP, s.MaxTokens
	if s.TopP == 0 {
		c.body.TopP = 1
	}
	if s.MaxTokens == 0 {
		c.body.MaxTokens = foreignTokens
	}
	return nil
}

// write writes the request's body. The error is a *serve.Refusal.
func (c *call) write(q serve.Request) ([]byte, error) {
	images, err := encode(q.Pictures, c.own != nil)
	if err != nil {
		return nil, &serve.Refusal{Reason: serve.BadPicture, Text: "A picture cannot be sent on to the worker."}
	}
	c.body.Model, c.body.Images, c.body.Own = c.model, images, c.own
	c.choices = max(1, q.Sampling.Choices)
	c.open = c.choices
	body, err := json.Marshal(&c.body)
	if err != nil {
		return nil, invalid("", "The request cannot be sent on: a value is not a number.")
	}
	c.body.Images, c.body.Own = nil, nil // large, and not needed any more
	return body, nil
}

// run sends the request and hands the answer to the reply.
func (c *call) run(ctx context.Context, body []byte) {
	err := Follow(ctx, c.worker, body, c.message)
	switch refusal := new(serve.Refusal); {
	case c.ended || c.closed || ctx.Err() != nil:
		c.reply.End(ctx.Err())
		return
	case err == nil && c.own == nil && c.come:
		c.reply.Send(serve.Event{Text: c.cut.rest(), Finish: serve.Stopped})
		c.reply.End(nil)
		return
	case errors.As(err, &refusal):
		c.reply.End(refusal)
		return
	case err == nil:
		err = ErrBroken
	}
	refusal, dead := c.fault(err)
	c.reply.End(refusal)
	if dead {
		c.fleet.forget(c.worker.Address)
	}
}

// errEnough ends a stream at a stop text.
var errEnough = errors.New("stop text")

// message takes one of the worker's messages.
func (c *call) message(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	var m struct {
		Text string
		Code int         `json:"error_code"`
		Own  *ownMessage `json:"llavatrain"`
	}
	if json.Unmarshal(raw, &m) != nil {
		return ErrBroken
	}
	c.come = true
	switch {
	case m.Own != nil && c.own != nil:
		return c.ownMessage(m.Own)
	case m.Code != CodeFine:
		return c.foreignFault(m.Code, m.Text)
	case c.own != nil:
		return ErrBroken
	}
	text := afterRunes(m.Text, utf8.RuneCountInString(c.body.Prompt))
	if text == tooLong {
		return contextFull()
	}
	piece, stopped := c.cut.take(text)
	event := serve.Event{Text: piece}
	if stopped {
		event.Finish, c.closed = serve.Stopped, true
	}
	if piece != "" || stopped {
		c.reply.Send(event)
	}
	if stopped {
		return errEnough
	}
	return nil
}

func (c *call) ownMessage(m *ownMessage) error {
	if m.Refusal != nil {
		return m.Refusal
	}
	for _, e := range m.Events {
		if c.size += len(e.Text); e.Choice < 0 || e.Choice >= c.choices || e.Place < 0 || c.size > maxMessage {
			return ErrBroken
		}
		c.reply.Send(e)
		if e.Finish != serve.Unfinished {
			c.open--
		}
	}
	c.ended = c.open <= 0
	return nil
}

// afterRunes is text without its first n characters, by which clients cut the prompt off: a character that has no UTF-8
// comes back as another one.
func afterRunes(text string, n int) string {
	for at := range text {
		if n--; n < 0 {
			return text[at:]
		}
	}
	return ""
}

// foreignFault is the fault of a worker of the original, which has one sentence for all.
func (c *call) foreignFault(code int, sentence string) error {
	text := fmt.Sprintf("The worker of %q failed with code %d.", c.model, code)
	if !strings.Contains(sentence, "NETWORK ERROR DUE TO HIGH TRAFFIC") && sentence != "" {
		text += " It says: " + sentence
	} else {
		text += " It does not say why; its log may. Ask again, or shorten the conversation."
	}
	return &serve.Refusal{Reason: serve.Failed, Text: text}
}

// fault says why there is no answer, and whether the worker may be dead.
func (c *call) fault(err error) (refusal *serve.Refusal, dead bool) {
	status := new(StatusError)
	if !errors.As(err, &status) {
		return c.failed("The worker of %q %v. Ask again.", c.model, err), true
	}
	refusal = c.failed("The worker of %q %v.", c.model, status)
	switch status.Status {
	case http.StatusTooManyRequests:
		refusal.Reason, refusal.After = serve.Busy, 5*time.Second
	case http.StatusServiceUnavailable:
		refusal.Reason, refusal.After = serve.Closing, 5*time.Second
	case http.StatusRequestEntityTooLarge:
		refusal.Reason = serve.BadPicture
		refusal.Text = "The pictures are too large together. Send fewer or smaller ones."
	case http.StatusUnauthorized, http.StatusForbidden:
		refusal = c.failed("The worker of %q does not let this server in. Start both with the same token.", c.model)
	}
	return refusal, false
}

func (c *call) failed(format string, args ...any) *serve.Refusal {
	return &serve.Refusal{Reason: serve.Failed, Text: fmt.Sprintf(format, args...)}
}
