package answer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

// Questionnaire is `generate --batch`: a file of questions, Size of which are answered at a time.
type Questionnaire struct {
	Questions, Images, Out string
	Size                   int
	How                    model.Sampling
	SkipBad                bool // the answer to a question that cannot be asked is the reason
}

// Run answers the questions that have no answer yet, in order, to the file Out or, if that is "", to out.
func (b Questionnaire) Run(ctx context.Context, out io.Writer, report runs.Observer, named Named) error {
	all, err := readQuestions(b.Questions)
	if err != nil {
		return err
	}
	if keys := unreadKeys(all); keys != "" {
		report.Say("keys that are not read, and the questions that have them: " + keys)
	}
	open := all
	if b.Out != "" {
		if open, err = unanswered(all, b.Out); err != nil {
			return err
		}
	}
	if n := len(all) - len(open); n > 0 {
		report.Say(fmt.Sprintf("%d of %d questions are already answered in %s", n, len(all), b.Out))
	}
	if len(open) == 0 {
		return nil
	}
	if _, err := named.Locate(); err != nil {
		return err
	}
	if err := b.look(open); err != nil {
		return err
	}
	a, err := OpenAnswerer(named, report)
	if err != nil {
		return err
	}
	defer a.Close()
	images, err := picture.OpenImages(b.Images, a.Images())
	if err != nil {
		return err
	}
	defer images.Close()
	write, closeOut, err := b.writer(out)
	if err != nil {
		return err
	}
	r := &answering{Questionnaire: b, Answerer: a, images: images, write: write, name: named.Path,
		progress: func(done int) {
			report.Progress("answering", int64(len(all)-len(open)+done), int64(len(all)))
		}}
	err = r.run(ctx, open)
	return errors.Join(err, closeOut())
}

// look looks for the images of all questions before a model is loaded, and names those that are missing.
func (b Questionnaire) look(questions []question) error {
	if b.SkipBad {
		return nil
	}
	images, err := picture.OpenImages(b.Images, picture.Options{})
	if err != nil {
		return err
	}
	defer images.Close()
	const most = 10 // that are named
	var missing []error
	n := 0
	for _, q := range questions {
		for _, image := range q.Images {
			if _, err := images.Inspect(image); err != nil {
				if n++; n <= most {
					missing = append(missing, b.at(q, err))
				}
			}
		}
	}
	if n > most {
		missing = append(missing, fmt.Errorf("and %d more", n-most))
	}
	if n > 0 {
		missing = append(missing, errors.New("nothing was asked; --skip-bad writes the reason in place of such "+
			"answers"))
	}
	return failure.Input(failure.Join(missing...))
}

// at says which question an error is about.
func (b Questionnaire) at(q question, err error) error {
	return fmt.Errorf("questions: %s line %d, question_id %s: %w", filepath.Base(b.Questions), q.line, q.ID, err)
}

// writer returns what appends answers to the file, or writes them to standard output.
func (b Questionnaire) writer(out io.Writer) (write func(record any) error, closeOut func() error, err error) {
	if b.Out == "" {
		return json.NewEncoder(out).Encode, func() error { return nil }, nil
	}
	log, err := checkpoints.OpenJSONL(b.Out)
	if err != nil {
		return nil, nil, err
	}
	return log.Append, log.Close, nil
}

// answering is the work on a questionnaire.
type answering struct {
	Questionnaire
	*Answerer
	images   *picture.Images
	write    func(record any) error
	progress func(done int)
	name     string // of the model, in answers
}

// prepared is a question that is ready to be asked, or the reason why it is not.
type prepared struct {
	index int
	in    model.Input
	err   error
}

// run answers questions. Their images are read ahead by other goroutines. Questions about the same images are asked one
// after another, so that these are looked at once; answers are written in the questions' order.
func (r *answering) run(ctx context.Context, questions []question) error {
	order := byImages(questions)
	ready, stop := r.readAhead(ctx, questions, order)
	defer stop()
	positions := int64(r.Size) * r.LLaVA.Language.Describe().MaxPositions
	engine, err := model.NewEngine(r.LLaVA, model.EngineOptions{Positions: min(positions, r.mostPositions()),
		Running: r.Size, Features: 64 << 20, Piece: model.WholePiece}) // nobody waits for the next token
	if err != nil {
		return err
	}
	defer engine.Close()
	done, submitted, failed := newInOrder(len(questions), func(i int, text string) error {
		return r.write(newQuestionAnswer(questions[i], strings.TrimSpace(text), r.name))
	}), 0, error(nil)
	for done.written < len(questions) && failed == nil && ctx.Err() == nil {
		for submitted < len(order) && submitted < done.finished+2*r.Size && failed == nil {
			next, ok := <-ready
			if !ok {
				break // the context has ended
			}
			failed = r.submit(engine, questions, next, done)
			submitted++
		}
		engine.Step()
		if failed == nil {
			failed = done.err
		}
		r.progress(done.written)
	}
	if failed == nil && ctx.Err() != nil {
		failed = runs.ErrInterrupted
	}
	return failed
}

// submit asks a question. One that cannot be asked ends the work, or has the reason for its answer.
func (r *answering) submit(engine *model.Engine, questions []question, p prepared, done *inOrder) error {
	q := questions[p.index]
	err := p.err
	if err == nil {
		var text strings.Builder
		stream := r.stream(func(more string) { text.WriteString(more) })
		_, err = engine.Submit(model.Job{Input: p.in, Sampling: r.stopping(r.How), Stream: uint64(q.index),
			Emit: func(t model.Token) bool { return stream.token(t.ID) },
			Done: func(o model.Outcome) {
				stream.end()
				if o.Err != nil {
					done.fail(r.at(q, o.Err))
					return
				}
				done.put(p.index, text.String())
			}})
	}
	switch {
	case err == nil:
		return nil
	case r.SkipBad && (errors.Is(err, failure.ErrInput)):
		done.put(p.index, "not answered: "+err.Error())
		return nil
	}
	return r.at(q, err)
}

// mostPositions is how many positions of keys and values a service would have room for.
func (r *answering) mostPositions() int64 {
	return max(r.room()/r.LLaVA.PositionBytes(), r.LLaVA.Language.Describe().MaxPositions)
}

// byImages is an order of the questions in which those with the same images, by name, follow each other.
func byImages(questions []question) (order []int) {
	first := map[string]int{}
	names := make([]string, len(questions))
	for i, q := range questions {
		names[i] = fmt.Sprint(q.Images)
		if _, known := first[names[i]]; !known || len(q.Images) == 0 {
			first[names[i]] = i
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return first[names[a]] - first[names[b]] })
	return order
}

// readAhead prepares questions in order, a few at a time, ahead of their use.
func (r *answering) readAhead(ctx context.Context, questions []question, order []int) (<-chan prepared, func()) {
	ctx, cancel := context.WithCancel(ctx)
	const together = 2
	slots := make(chan chan prepared, 2*r.Size)
	running := make(chan struct{}, together)
	out := make(chan prepared)
	go func() {
		defer close(slots)
		for _, i := range order {
			slot := make(chan prepared, 1)
			select {
			case slots <- slot:
			case <-ctx.Done():
				return
			}
			running <- struct{}{}
			go func() {
				in, err := r.prompt(questions[i])
				slot <- prepared{i, in, err}
				<-running
			}()
		}
	}()
	go func() {
		defer close(out)
		for slot := range slots {
			select {
			case out <- <-slot:
			case <-ctx.Done():
			}
		}
	}()
	return out, cancel
}

// prompt reads a question's images and makes the model's input of both.
func (r *answering) prompt(q question) (in model.Input, err error) {
	var about []picture.Picture
	for _, image := range q.Images {
		decoded, err := r.images.Decode(image)
		if err != nil {
			return in, err
		}
		about = append(about, r.Picture(decoded, r.Notes.Aspect, len(q.Images) > 1))
	}
	batch, err := r.Batch(q.System, q.Text, about...)
	if err != nil {
		return in, err
	}
	in = input.Input(batch)
	return in, r.LLaVA.CheckPrompt(in)
}

// inOrder writes texts in order, whatever the order is in which they come.
type inOrder struct {
	write             func(i int, text string) error
	texts             map[int]string // that wait for an earlier one
	finished, written int
	err               error
}

func newInOrder(n int, write func(i int, text string) error) *inOrder {
	return &inOrder{write: write, texts: make(map[int]string, n)}
}

func (o *inOrder) put(i int, text string) {
	o.texts[i] = text
	o.finished++
	for o.err == nil {
		text, ok := o.texts[o.written]
		if !ok {
			return
		}
		delete(o.texts, o.written)
		if o.err = o.write(o.written, text); o.err == nil {
			o.written++
		}
	}
}

func (o *inOrder) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}
