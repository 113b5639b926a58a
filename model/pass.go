package model

import (
	"slices"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// pass is one step of an engine: positions of some jobs, laid end to end.
type pass struct {
	parts []part
	n     int // positions

	chosen []chosen    // tokens, by part
	scores [][]float64 // log-probabilities of a continuation's tokens, by part
}

// part is the positions From to To of a job's tokens.
type part struct {
	seq      *sequence
	from, to int
	at       int // of the pass, where they begin
	wanted   int // how many of them, the last ones, have their hidden state used
}

// chosen is a token that a part has made, if any.
type chosen struct {
	Token
	ok bool
}

// plan takes the last token of every answer in progress, and a piece of the prompts in the order of their admission.
func (e *Engine) plan() *pass {
	p := &pass{}
	for _, q := range e.running {
		if !q.prompting() {
			p.add(q, 1, 1)
		}
	}
	left := e.o.Piece
	if len(p.parts) == 0 {
		left *= alone
	}
	for _, q := range e.running {
		if !q.prompting() || left <= 0 {
			continue
		}
		n := min(left, q.given()-q.computed)
		p.add(q, n, min(n, max(0, q.computed+n-q.firstWanted())))
		left -= n
	}
	return p
}

func (p *pass) add(q *sequence, n, wanted int) {
	p.parts = append(p.parts, part{q, q.computed, q.computed + n, p.n, wanted})
	p.n += n
}

// compute runs a pass, and chooses a token for every answer of which all positions are computed.
func (e *Engine) compute(p *pass) error {
	return torch.Do(func(s *torch.Scope) {
		torch.NoGrad(func() {
			in := e.input(s, p)
			hidden := e.m.Language.Forward(s, in).Hidden // [N,D]
			e.read(s, p, hidden)
		})
	})
}

// input is what the language model gets: embeddings of the positions, and where their keys and values are.
func (e *Engine) input(s *torch.Scope, p *pass) LanguageInput {
	var ids, positions, rows []int64
	x := torch.Extents{Borders: []int64{0}}
	in := LanguageInput{Wanted: []int64{}}
	for _, part := range p.parts {
		q := part.seq
		for i := part.from; i < part.to; i++ {
			ids, positions, rows = append(ids, q.tokens[i]), append(positions, int64(i)),
				append(rows, q.donor.place+int64(i))
		}
		x.Borders = append(x.Borders, int64(part.at+part.to-part.from))
		x.Places, x.Lengths = append(x.Places, q.donor.place), append(x.Lengths, int64(part.to))
		for i := part.to - part.wanted; i < part.to; i++ {
			in.Wanted = append(in.Wanted, int64(part.at+i-part.from))
		}
	}
	x.Rows = e.m.indices(s, rows)
	in.Positions, in.Starts, in.Generation = e.m.indices(s, positions), x.Borders, &inArena{e.arena, x}
	in.Embeddings = e.m.Language.Embed(s, e.m.indices(s, ids)) // [T,D]
	if gated, ok := e.m.Projector.(*gatedProjector); ok {
		seen := e.look(s, gated, p)
		in.Before = func(i int) nn.Layer { return gated.before(i, seen, nn.DropoutKeys{}) }
	} else {
		in.Embeddings = e.fill(s, p, in.Embeddings)
	}
	return in
}

// fill puts the images' features and newlines in their slots of the pass: [T,D] -> [T,D].
func (e *Engine) fill(s *torch.Scope, p *pass, words *torch.Tensor) *torch.Tensor {
	for _, part := range p.parts {
		q := part.seq
		at := int64(part.at - part.from)
		slots, rows := inPart(part, q.job.Slots, q.job.Rows)
		if len(slots) > 0 {
			features := torch.IndexSelect(s, e.featuresOf(s, q), 0, e.m.indices(s, rows)) // [slots,D]
			words = torch.IndexCopy(s, words, e.m.indices(s, shifted(slots, at)), features)
		}
		if lines, _ := inPart(part, q.job.Newlines, nil); len(lines) > 0 {
			n := int64(len(lines))
			newline := torch.Expand(s, e.m.newline.Tensor(), n, e.m.newline.Shape[0]) // [n,D]
			words = torch.IndexCopy(s, words, e.m.indices(s, shifted(lines, at)), newline)
		}
	}
	return words
}

// inPart are the positions that lie in a part, and the values beside them.
func inPart(part part, positions, beside []int64) (own, values []int64) {
	for i, at := range positions {
		if at >= int64(part.from) && at < int64(part.to) {
			own = append(own, at)
			if beside != nil {
				values = append(values, beside[i])
			}
		}
	}
	return own, values
}

func shifted(positions []int64, by int64) []int64 {
	moved := slices.Clone(positions)
	for i := range moved {
		moved[i] += by
	}
	return moved
}

// featuresOf are the features of a job's images, [R,D], computed when the first of them is needed.
func (e *Engine) featuresOf(s *torch.Scope, q *sequence) *torch.Tensor {
	if q.rows == nil {
		rows := s.Sub(func(s *torch.Scope) *torch.Tensor {
			return e.m.shrink(s, e.features.of(s, e.m, q.job.Input, q.tiles), q.job.Maps)
		})
		q.rows = torch.Own(rows)
		e.count(func(l *Load) { l.Tiles += int64(len(q.tiles)) })
	}
	return q.rows
}

func (e *Engine) count(change func(l *Load)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.load)
}

// look is what the positions of a pass see of their jobs' images, for layers of cross-attention. The tokens of an
// answer see what the last token of its prompt does.
func (e *Engine) look(s *torch.Scope, gated *gatedProjector, p *pass) *sight {
	seen := &sight{}
	for _, part := range p.parts {
		q := part.seq
		if len(q.job.Views) == 0 {
			continue
		}
		if q.images == nil {
			q.images = &resampled{rows: e.features.of(s, e.m, q.job.Input, q.tiles)}
			gated.keep(s, q.images)
			q.images.rows = nil // which belongs to the pass
			e.count(func(l *Load) { l.Tiles += int64(len(q.tiles)) })
		}
		for _, run := range gated.see(q.job.Views, q.images).runs {
			if run.to >= int64(len(q.job.IDs)) {
				run.to = int64(len(q.tokens))
			}
			run.from, run.to = max(run.from, int64(part.from)), min(run.to, int64(part.to))
			if run.from < run.to {
				run.from, run.to = run.from+int64(part.at-part.from), run.to+int64(part.at-part.from)
				seen.runs = append(seen.runs, run)
			}
		}
	}
	return seen
}

// read makes tokens, or a continuation's log-probabilities, of the wanted hidden states [N,D].
func (e *Engine) read(s *torch.Scope, p *pass, hidden *torch.Tensor) {
	var answering, rows, scored, labels []int64
	at := int64(0)
	p.chosen, p.scores = make([]chosen, len(p.parts)), make([][]float64, len(p.parts))
	for i, part := range p.parts {
		if part.wanted > 0 && part.seq.job.Continuation == nil {
			answering, rows = append(answering, int64(i)), append(rows, at)
		} else {
			for k := range int64(part.wanted) {
				scored = append(scored, at+k)
				labels = append(labels, part.seq.tokens[part.to-part.wanted+int(k)+1])
			}
		}
		at += int64(part.wanted)
	}
	if len(rows) > 0 {
		logits := torch.Read[float32](e.m.Logits(s, e.rowsOf(s, hidden, rows))) // [n,V]
		vocabulary := len(logits) / len(rows)
		each(len(rows), func(k int) {
			own := logits[k*vocabulary:][:vocabulary]
			p.chosen[answering[k]] = chosen{p.parts[answering[k]].seq.sampler.next(own), true}
		})
	}
	if len(scored) > 0 {
		const chunk = 64
		_, losses := torch.CrossEntropy(s, e.rowsOf(s, hidden, scored), e.m.Language.Head().Tensor(),
			e.m.indices(s, labels), chunk)
		all := torch.Read[float32](losses)
		for i, part := range p.parts {
			if part.seq.job.Continuation == nil {
				continue
			}
			for range part.wanted {
				p.scores[i] = append(p.scores[i], -float64(all[0]))
				all = all[1:]
			}
		}
	}
}

// rowsOf are rows of hidden states, all of them as they are.
func (e *Engine) rowsOf(s *torch.Scope, hidden *torch.Tensor, rows []int64) *torch.Tensor {
	if int64(len(rows)) == hidden.Size(0) {
		return hidden
	}
	return torch.IndexSelect(s, hidden, 0, e.m.indices(s, rows))
}

// handOut gives the jobs of a pass their tokens, and ends those that are done.
func (e *Engine) handOut(p *pass) {
	e.count(func(l *Load) {
		l.Steps++
		at, _ := slices.BinarySearch(StepBounds, int64(p.n))
		l.StepSizes[at]++
	})
	for i, part := range p.parts {
		q := part.seq
		before := q.prompting()
		q.computed = part.to
		if before && !q.prompting() {
			q.freeRows()
			if q.job.Continuation == nil && !e.o.Separate {
				q.donor.holds = q.holds[:q.computed]
				e.donors.add(q.donor)
			}
		}
		switch {
		case q.job.Continuation != nil:
			e.handScores(q, p.scores[i])
		case p.chosen[i].ok:
			e.handToken(q, p.chosen[i].Token)
		}
	}
}

// handScores gives a job the log-probabilities of its continuation's next tokens.
func (e *Engine) handScores(q *sequence, scores []float64) {
	for _, x := range scores {
		q.job.Emit(Token{ID: q.job.Continuation[q.made], Logprob: x})
		q.made++
	}
	if !q.prompting() {
		e.end(q, EndLength, nil)
	}
}

// handToken gives a job its next token.
func (e *Engine) handToken(q *sequence, t Token) {
	if slices.Contains(q.job.Stop, t.ID) {
		e.end(q, EndStop, nil)
		return
	}
	if q.made == 0 {
		q.first = time.Now()
	}
	q.tokens = append(q.tokens, int64(t.ID))
	q.holds = append(q.holds, q.after(t.ID))
	q.made++
	e.count(func(l *Load) { l.Made++ })
	goesOn := q.job.Emit(t)
	switch {
	case !goesOn:
		e.end(q, EndStop, nil)
	case q.made >= q.job.MaxTokens || int64(q.computed) >= e.m.Language.Describe().MaxPositions:
		e.end(q, EndLength, nil)
	}
}

// after is what the position of an answer's token holds: it sees the images that the last position of the prompt does.
func (q *sequence) after(id int32) held {
	last := q.holds[len(q.job.IDs)-1]
	c := held{id: int64(id), row: -1}
	if last.row == -1 {
		c.tile = last.tile
	}
	return c
}

// each calls work for 0 to n-1, on as many cores as there are.
func each(n int, work func(i int)) {
	if n == 1 {
		work(0)
		return
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { work(i) })
	}
	all.Wait()
}
