package answer

import (
	"context"
	"strings"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/input"
)

// ServiceOptions sizes a service.
type ServiceOptions struct {
	Memory   int64 // bytes of keys and values; 0: what room says
	Running  int   // most answers in progress; 0: as many as there is room for
	Queue    int   // most questions that wait; 0: no limit
	Separate bool  // nothing computed for one question is used for another
}

// Service answers many questions at a time with one model. Its methods may be called from any goroutine.
type Service struct {
	*Answerer
	Engine    *model.Engine
	Positions int64 // of keys and values that there is room for

	stop context.CancelFunc
	done chan struct{}
}

// Question is a question for a service. Exactly one of Turns and Raw is given.
type Question struct {
	System   string // in place of the template's own; "" for that
	Turns    []data.ChatTurn
	Raw      string // the whole prompt, by the template, with an <image> for each picture
	Pictures []*picture.RGB

	Sampling  model.Sampling // Stop is added to; MaxTokens 0 is as many as the model's positions hold
	Choices   int            // answers; 0 is one
	StopTexts []string       // that end an answer, besides the template's
	IgnoreEnd bool           // do not stop at the model's end tokens, nor at the template's text
	Client    string         // whose turn it is in the queue

	// To gets what is generated, from the engine's goroutine: it must not wait.
	To func(Piece)
	// Wait gets the question's place in the queue, from 1; may be nil.
	Wait func(place int)
}

// Piece is a part of an answer.
type Piece struct {
	Choice int
	Text   string
	Token  *model.Token   // that the text came with; nil at the end
	Ended  *model.Outcome // of the choice's last piece
}

// Serve starts a service. Close ends it, and the answerer.
func (a *Answerer) Serve(o ServiceOptions) (*Service, error) {
	const features = 256 << 20 // bytes of images' features that are kept for further questions
	bytes := o.Memory
	if bytes == 0 {
		bytes = a.room()
	}
	positions := positionsIn(bytes, a.LLaVA.PositionBytes(), a.LLaVA.Language.Describe().MaxPositions)
	engine, err := model.NewEngine(a.LLaVA, model.EngineOptions{Positions: positions, Running: o.Running,
		Queue: o.Queue, Features: features, Separate: o.Separate})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Service{Answerer: a, Engine: engine, Positions: positions, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		engine.Run(ctx)
		engine.Close()
	}()
	return s, nil
}

// Close ends all questions and frees the model.
func (s *Service) Close() {
	s.stop()
	<-s.done
	s.Answerer.Close()
}

// Asked is a question that is queued or being answered.
type Asked struct {
	Seed    uint64 // that repeats the answer
	Prompt  int    // positions
	tickets []*model.Ticket
}

// Cancel ends what is still to come.
func (a *Asked) Cancel() {
	for _, t := range a.tickets {
		t.Cancel()
	}
}

// Ask prepares a question on the caller's goroutine and queues it.
func (s *Service) Ask(q Question) (*Asked, error) {
	in, err := s.Input(q)
	if err != nil {
		return nil, err
	}
	how := q.Sampling
	if how.MaxTokens == 0 {
		how.MaxTokens = int(s.LLaVA.Language.Describe().MaxPositions) - len(in.IDs)
	}
	stopTexts := q.StopTexts
	if !q.IgnoreEnd {
		ids, text := s.encoder.Stop()
		how.Stop = append(ids, how.Stop...)
		if text != "" {
			stopTexts = append([]string{text}, stopTexts...)
		}
	}
	asked := &Asked{Seed: how.Seed, Prompt: len(in.IDs)}
	for choice := range max(1, q.Choices) {
		ticket, err := s.Engine.Submit(s.job(q, in, how, stopTexts, choice))
		if err != nil {
			asked.Cancel()
			return nil, err
		}
		asked.tickets = append(asked.tickets, ticket)
	}
	return asked, nil
}

// job is one choice of a question.
func (s *Service) job(q Question, in model.Input, how model.Sampling, stops []string, choice int) model.Job {
	var text string
	stream := newStream(s.Tokenizer.NewDecoder(), stops, func(more string) { text += more })
	j := model.Job{Input: in, Sampling: how, Stream: uint64(choice), Client: q.Client, Wait: q.Wait}
	if choice > 0 {
		j.Wait = nil
	}
	j.Emit = func(t model.Token) bool {
		text = ""
		goesOn := stream.token(t.ID)
		q.To(Piece{Choice: choice, Text: text, Token: &t})
		return goesOn
	}
	j.Done = func(o model.Outcome) {
		text = ""
		stream.end()
		q.To(Piece{Choice: choice, Text: text, Ended: &o})
	}
	return j
}

// Input is the model's input for a question.
func (a *Answerer) Input(q Question) (model.Input, error) {
	pictures := make([]picture.Picture, len(q.Pictures))
	for i, decoded := range q.Pictures {
		pictures[i] = a.Picture(decoded, a.Notes.Aspect, len(q.Pictures) > 1)
	}
	var sample data.Sample
	var err error
	if q.Raw != "" {
		sample, err = a.encoder.Raw(q.Raw, pictures...)
	} else {
		sample, err = a.encoder.Chat(q.System, q.Turns, pictures...)
	}
	if err != nil {
		return model.Input{}, err
	}
	batch, err := data.Collate([]data.Sample{sample}, func(n int) []uint8 { return make([]uint8, n) })
	if err != nil {
		return model.Input{}, err
	}
	return input.Input(batch), nil
}

// Whole asks a question and waits for the whole answer of its first choice. emit gets the text as it is made; all other
// questions wait for it.
func (s *Service) Whole(ctx context.Context, q Question, emit func(text string)) (string, model.Outcome, error) {
	ended := make(chan model.Outcome, 1)
	var text strings.Builder
	q.To = func(p Piece) {
		if p.Text != "" {
			text.WriteString(p.Text)
			emit(p.Text)
		}
		if p.Ended != nil {
			ended <- *p.Ended
		}
	}
	asked, err := s.Ask(q)
	if err != nil {
		return "", model.Outcome{}, err
	}
	select {
	case o := <-ended:
		return text.String(), o, o.Err
	case <-ctx.Done():
		asked.Cancel()
		o := <-ended
		return text.String(), o, context.Cause(ctx)
	}
}

// Typical is how many positions a question about an image and its answer take.
const Typical = 1200

// room is the memory for keys and values that a service takes by itself: on a CPU what 32 typical answers need, which
// together take all that it can compute, but at most a quarter of the machine's; on a GPU nine tenths of what the
// weights leave, but for a step's own tensors.
func (a *Answerer) room() int64 {
	on := a.LLaVA.Params.Device()
	total := device.Memory(on)
	if on == torch.CPU {
		return cpuRoom(total, a.LLaVA.PositionBytes(), a.LLaVA.Language.Describe().MaxPositions)
	}
	const step = 2 << 30
	_, used := torch.Memory(on)
	return max(0, (total-used-step)*9/10)
}

// cpuRoom is bytes, of total ones of the machine, for a model with a context of so many positions.
func cpuRoom(total, position, context int64) int64 {
	return min(total/4, 32*min(Typical, context)*position)
}

// positionsIn is how many positions there is room for in so many bytes: at least a context, and no more than 256, which
// would never be used.
func positionsIn(bytes, position, context int64) int64 {
	return max(context, min(bytes/position, 256*context))
}
