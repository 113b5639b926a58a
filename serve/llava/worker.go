package llava

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/pictures"
)

// Worker answers as LLaVA's model worker does.
type Worker struct {
	Engine   serve.Engine
	Pictures *pictures.Decoder
	Changed  func() // a request has begun or ended; nil: nobody asks
}

// Routes are the worker's paths.
func (w *Worker) Routes() Routes {
	return Routes{
		"/worker_get_status": func(out http.ResponseWriter, r *http.Request) {
			WriteJSON(out, StatusOf(w.Engine))
		},
		"/worker_generate_stream": w.generate,
	}
}

func (w *Worker) generate(out http.ResponseWriter, r *http.Request) {
	body, err := guard.ReadBody(r)
	if err != nil {
		WriteFault(out, err)
		return
	}
	f, err := readFields(body)
	if err != nil {
		WriteFault(out, err)
		return
	}
	s := NewStream(out)
	asked, err := f.request()
	if err != nil {
		answer{stream: s, request: asked}.refuse(err)
		return
	}
	a := answer{stream: s, request: asked, prefix: AppendMessage(nil, asked.prompt, CodeFine)}
	a.prefix = a.prefix[:len(a.prefix)-len(appendCode(nil, CodeFine))]
	if err := a.run(r, w); err != nil {
		a.refuse(err)
	}
}

// submit decodes a request's pictures and gives it to the engine. release must be called when it has been answered.
func (w *Worker) submit(ctx context.Context, asked *request, client string) (_ *serve.Reply, release func(), _ error) {
	release = func() {}
	if len(asked.images) > 0 && !w.Engine.Model().Images {
		return nil, release, invalid("images", "This model does not look at pictures. Send text only, or ask "+
			"another model.")
	}
	r := serve.Request{ID: guard.ID(ctx), Client: client, Prompt: asked.prompt, Sampling: asked.sampling}
	if o := asked.own; o != nil {
		r.Prompt, r.Messages = "", o.Messages
		if o.Client != "" {
			r.Client += " " + o.Client
		}
	}
	if len(asked.images) > 0 {
		set, err := w.decode(ctx, asked.images)
		if err != nil {
			return nil, release, err
		}
		r.Pictures, release, asked.images = set.RGB, set.Release, nil
	}
	reply, err := w.Engine.Submit(r)
	return reply, release, err
}

// decode decodes pictures in base64, as the original, or in data URIs.
func (w *Worker) decode(ctx context.Context, images []string) (*pictures.Set, error) {
	if len(images) > pictures.MaxPictures { // before any is decoded
		return w.Pictures.Decode(ctx, make([][]byte, len(images)))
	}
	files := make([][]byte, len(images))
	for i, text := range images {
		var err error
		if files[i], err = pictures.FromText(text); err != nil {
			return nil, err
		}
	}
	return w.Pictures.Decode(ctx, files)
}

func (w *Worker) changed() {
	if w.Changed != nil {
		w.Changed()
	}
}

// answer is an answer on its way to the client.
type answer struct {
	stream *Stream
	request
	prefix []byte // of a message: the prompt
	text   []byte // all of the answer so far, escaped
}

// submitted is what Submit returned.
type submitted struct {
	reply   *serve.Reply
	release func()
	err     error
}

// run answers a request. An error is for the client, if it is still there.
func (a *answer) run(r *http.Request, w *Worker) error {
	body, client := r.Body, guard.Client(r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	taken := make(chan submitted, 1)
	go func() {
		reply, release, err := w.submit(ctx, &a.request, client)
		body.Close() // what it held is not needed any more
		taken <- submitted{reply, release, err}
	}()
	beat := time.NewTicker(KeepAlive)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if a.stream.Alive() != nil {
				cancel()
			}
		case got := <-taken: // comes also when the client is gone: the reply must be closed
			defer got.release()
			if got.err != nil {
				return got.err
			}
			defer w.changed()
			defer got.reply.Close()
			w.changed()
			return a.follow(ctx, got.reply)
		}
	}
}

// follow sends what the engine answers until it ends or the client is gone.
func (a *answer) follow(ctx context.Context, reply *serve.Reply) error {
	for {
		wait, cancel := context.WithTimeout(ctx, KeepAlive)
		events, err := reply.Next(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == io.EOF:
			return nil
		case errors.Is(err, context.DeadlineExceeded) && wait.Err() != nil:
			err = a.stream.Alive()
		case err != nil:
			return err
		default:
			err = a.send(events, reply.Seed)
		}
		if err != nil { // the client is gone, or reads nothing
			return nil
		}
	}
}

func (a *answer) send(events []serve.Event, seed int64) error {
	if a.own != nil {
		return a.stream.Send(appendOwn(nil, &ownMessage{Seed: seed, Events: events}, CodeFine, ""))
	}
	news := false
	for _, e := range events {
		a.text = appendEscaped(a.text, e.Text)
		news = news || e.Text != "" || e.Finish != serve.Unfinished // clients need a message, also of an empty answer
	}
	if !news {
		return a.stream.Alive()
	}
	message := append(append(make([]byte, 0, len(a.prefix)+len(a.text)+32), a.prefix...), a.text...)
	return a.stream.Send(appendCode(message, CodeFine))
}

// refuse says why there is no answer, or no more of it.
func (a answer) refuse(err error) {
	refusal := new(serve.Refusal)
	if !errors.As(err, &refusal) {
		refusal = &serve.Refusal{Reason: serve.Failed, Text: "The model failed while it answered. Ask again; the " +
			"server's log says more."}
	}
	switch {
	case a.own != nil:
		a.stream.Send(appendOwn(nil, &ownMessage{Refusal: refusal}, CodeWorker, refusal.Text))
	case refusal.Reason == serve.ContextFull:
		a.stream.Send(AppendMessage(nil, a.prompt+tooLong, CodeFine))
	default:
		a.stream.Fail(CodeWorker, refusal.Text)
	}
}

// ownMessage is the key "llavatrain" of a message to one of our programs.
type ownMessage struct {
	Seed    int64
	Events  []serve.Event  `json:",omitempty"`
	Refusal *serve.Refusal `json:",omitempty"`
}

// leastLogprob stands for a probability of 0, whose logarithm JSON does not have.
const leastLogprob = -9999

// appendOwn appends a message whose text is only a fault's.
func appendOwn(b []byte, m *ownMessage, code int, text string) []byte {
	for i := range m.Events {
		for j := range m.Events[i].Tokens {
			t := &m.Events[i].Tokens[j]
			t.Logprob = max(t.Logprob, leastLogprob)
			for k := range t.Top {
				t.Top[k].Logprob = max(t.Top[k].Logprob, leastLogprob)
			}
		}
	}
	written, err := json.Marshal(struct {
		Text string      `json:"text"`
		Code int         `json:"error_code"`
		Own  *ownMessage `json:"llavatrain"`
	}{text, code, m})
	if err != nil { // a probability that is no number
		return AppendMessage(b, "The model's answer cannot be sent: a probability is not a number.", CodeWorker)
	}
	return append(append(b, written...), 0)
}
