package answer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

// Survey is a list of questions for a model, Size of which are answered at a time, whoever wrote them and whatever
// becomes of the answers.
type Survey struct {
	Items  []Item
	Folder string // of the images that have a path
	Size   int
	How    model.Sampling
	// Positions of keys and values that are made room for; 0: those of Size contexts, as far as there is memory.
	Positions int64

	// Write and Skip get the replies in the order of the items, each before the next one is written. Skip gets the
	// reason why an item cannot be asked; if it is nil, the first such item ends the survey.
	Write    func(i int, r Reply) error
	Skip     func(i int, why error) error
	Progress func(done int)
}

// Item is a question of a survey.
type Item struct {
	System, Text string                          // System as for [Answerer.Batch]
	Images       []picture.Image                 // those whose path or file is known from the start
	Load         func() ([]picture.Image, error) // reads the images in place of Images; nil: these are all
	Choices      []string                        // to rank in place of an answer
	About        string                          // items with the same are about the same images; "": on its own
	Stream       uint64                          // of random numbers, for sampling
	Where        string                          // what errors about it begin with
}

// Reply is an answer, without spaces around it.
type Reply struct {
	Text   string
	Cut    bool      // it ended at the limit of tokens
	Losses []float64 // of choices: each one's mean over its tokens and the end of an answer
	Tokens []int     // of each, with that end
}

// at says which item an error is about.
func (item *Item) at(err error) error { return fmt.Errorf("%s: %w", item.Where, err) }

// Look looks for the images of all items, which costs little before a model is loaded, and names those that are
// missing; remedy says what else can be done.
func (s *Survey) Look(remedy string) error {
	images, err := picture.OpenImages(s.Folder, picture.Options{})
	if err != nil {
		return err
	}
	defer images.Close()
	const most = 10 // that are named
	var missing []error
	n := 0
	for i := range s.Items {
		for _, image := range s.Items[i].Images {
			if _, err := images.Inspect(image); err != nil {
				if n++; n <= most {
					missing = append(missing, s.Items[i].at(err))
				}
			}
		}
	}
	if n > most {
		missing = append(missing, fmt.Errorf("and %d more", n-most))
	}
	if n > 0 {
		missing = append(missing, errors.New("nothing was asked; "+remedy))
	}
	return failure.Input(failure.Join(missing...))
}

// Run asks a model. Images are read ahead by other goroutines. Items about the same images are asked one after another,
// so that these are looked at once.
func (s *Survey) Run(ctx context.Context, a *Answerer) error {
	images, err := picture.OpenImages(s.Folder, a.Images())
	if err != nil {
		return err
	}
	defer images.Close()
	positions := s.Positions
	if positions == 0 {
		positions = min(int64(s.Size)*a.LLaVA.Language.Describe().MaxPositions, a.mostPositions())
	}
	engine, err := model.NewEngine(a.LLaVA, model.EngineOptions{Positions: positions, Running: s.Size,
		Features: 64 << 20, Piece: model.WholePiece}) // nobody waits for the next token
	if err != nil {
		return err
	}
	defer engine.Close()
	return (&asking{Survey: s, Answerer: a, images: images, engine: engine}).run(ctx)
}

// Longest is the most positions that a question of the survey can take, whatever the sizes of its images, of a model
// with a context of so many. Images that are not known yet are counted by their places in the text.
func (s *Survey) Longest(a *Answerer, context int64) (int64, error) {
	width, height := a.Largest(a.Notes.Aspect)
	longest := 0
	for i := range s.Items {
		item := &s.Items[i]
		about := make([]picture.Picture, len(item.Images))
		if item.Load != nil {
			about = make([]picture.Picture, max(1, strings.Count(item.Text, rows.ImageMark)))
		}
		for k := range about {
			about[k].Width, about[k].Height = width, height
		}
		sample, err := a.encoder.Prompt(item.System, item.Text, about...)
		if err != nil {
			return 0, item.at(err)
		}
		longest = max(longest, sample.Length())
	}
	return min(int64(longest), context), nil
}

// mostPositions is how many positions of keys and values a service would have room for.
func (a *Answerer) mostPositions() int64 {
	return max(a.room()/a.LLaVA.PositionBytes(), a.LLaVA.Language.Describe().MaxPositions)
}

// asking is the work on a survey.
type asking struct {
	*Survey
	*Answerer
	images *picture.Images
	engine *model.Engine
}

// prepared is an item that is ready to be asked, or the reason why it is not.
type prepared struct {
	index   int
	in      model.Input
	choices [][]int32
	err     error
}

func (r *asking) run(ctx context.Context) error {
	order := byImages(r.Items)
	ready, stop := r.readAhead(ctx, order)
	defer stop()
	done, submitted, failed := newInOrder(len(r.Items), r.settle), 0, error(nil)
	for done.written < len(r.Items) && failed == nil && ctx.Err() == nil {
		for submitted < len(order) && submitted < done.finished+2*r.Size && failed == nil {
			next, ok := <-ready
			if !ok {
				break // the context has ended
			}
			failed = r.submit(next, done)
			submitted++
		}
		r.engine.Step()
		if failed == nil {
			failed = done.err
		}
		r.Progress(done.written)
	}
	if failed == nil && ctx.Err() != nil {
		failed = runs.ErrInterrupted
	}
	return failed
}

// settle hands out what became of an item.
func (r *asking) settle(i int, s settled) error {
	if s.skipped != nil {
		return r.Skip(i, s.skipped)
	}
	return r.Write(i, s.Reply)
}

// submit asks a question. One that cannot be asked ends the work, or is skipped.
func (r *asking) submit(p prepared, done *inOrder) error {
	item := &r.Items[p.index]
	err := p.err
	switch {
	case err != nil:
	case item.Choices != nil:
		err = r.rank(p, done)
	default:
		err = r.answer(p, done)
	}
	switch {
	case err == nil:
		return nil
	case r.Skip != nil && errors.Is(err, failure.ErrInput):
		done.put(p.index, settled{skipped: err})
		return nil
	}
	return item.at(err)
}

// answer has a question answered.
func (r *asking) answer(p prepared, done *inOrder) error {
	item := &r.Items[p.index]
	var text strings.Builder
	stream := r.stream(func(more string) { text.WriteString(more) })
	_, err := r.engine.Submit(model.Job{Input: p.in, Sampling: r.stopping(r.How), Stream: item.Stream,
		Emit: func(t model.Token) bool { return stream.token(t.ID) },
		Done: func(o model.Outcome) {
			stream.end()
			if o.Err != nil {
				done.fail(item.at(o.Err))
				return
			}
			reply := Reply{Text: strings.TrimSpace(text.String()), Cut: o.End == model.EndLength}
			done.put(p.index, settled{Reply: reply})
		}})
	return err
}

// rank has the choices of a question scored. The engine computes the prompt, which they share, once.
func (r *asking) rank(p prepared, done *inOrder) error {
	item := &r.Items[p.index]
	losses, counts, left := make([]float64, len(p.choices)), make([]int, len(p.choices)), len(p.choices)
	for i, tokens := range p.choices {
		counts[i] = len(tokens)
		_, err := r.engine.Submit(model.Job{Input: p.in, Continuation: tokens,
			Emit: func(t model.Token) bool { losses[i] -= t.Logprob / float64(len(tokens)); return true },
			Done: func(o model.Outcome) {
				if left--; o.Err != nil {
					done.fail(item.at(o.Err))
				} else if left == 0 {
					done.put(p.index, settled{Reply: Reply{Losses: losses, Tokens: counts}})
				}
			}})
		if err != nil {
			return err
		}
	}
	return nil
}

// byImages is an order of the items in which those about the same images follow each other.
func byImages(items []Item) (order []int) {
	first := map[string]int{}
	place := make([]int, len(items)) // of the first item about the same
	for i := range items {
		about := items[i].About
		before, known := first[about]
		if place[i] = before; !known || about == "" {
			first[about], place[i] = i, i
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return place[a] - place[b] })
	return order
}

// readAhead prepares items in order, a few at a time, ahead of their use.
func (r *asking) readAhead(ctx context.Context, order []int) (<-chan prepared, func()) {
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
				p := prepared{index: i}
				p.err = r.prompt(&r.Items[i], &p)
				slot <- p
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

// prompt reads an item's images and makes the model's input of both.
func (r *asking) prompt(item *Item, p *prepared) (err error) {
	images := item.Images
	if item.Load != nil {
		if images, err = item.Load(); err != nil {
			return err
		}
	}
	var about []picture.Picture
	for _, image := range images {
		decoded, err := r.images.Decode(image)
		if err != nil {
			return err
		}
		about = append(about, r.Picture(decoded, r.Notes.Aspect, len(images) > 1))
	}
	batch, err := r.Batch(item.System, item.Text, about...)
	if err != nil {
		return err
	}
	p.in = input.Input(batch)
	for _, choice := range item.Choices {
		tokens, err := r.encoder.Continuation(item.System, item.Text, choice, about...)
		if err == nil && len(tokens) == 0 {
			err = failure.Inputf("choice %q has no tokens", choice)
		}
		if err != nil {
			return err
		}
		p.choices = append(p.choices, tokens)
	}
	return r.LLaVA.CheckPrompt(p.in)
}
