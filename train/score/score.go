package score

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/loss"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/input"
)

// RowScore is a model's loss on one row of a data set, or why there is none.
type RowScore struct {
	ID      string `json:"id,omitempty"`
	Row     int    `json:"row"` // from 0
	*Scored        // nil if the row was left out
	Skipped string `json:"skipped,omitempty"` // why it was left out
}

// PlacedScore is a RowScore of one of several data sets.
type PlacedScore struct {
	Data     int // index in the list of data sets
	RowScore `json:"of"`
}

// Scored is the loss of one sample.
type Scored struct {
	Modality         string      `json:"modality"` // image | text
	Source           string      `json:"source"`   // the folder of its image (rows.FolderOf); text for a sample without
	Loss             runs.Number `json:"loss"`     // summed over the supervised tokens
	SupervisedTokens int         `json:"supervised_tokens"`
	Perplexity       runs.Number `json:"perplexity"` // exp of the mean loss per supervised token
}

// Total sums the losses of samples.
type Total struct {
	Samples, SupervisedTokens int
	Loss                      float64
}

// Add is t with one more sample.
func (t Total) Add(s Scored) Total {
	return Total{t.Samples + 1, t.SupervisedTokens + s.SupervisedTokens, t.Loss + float64(s.Loss)}
}

// Mean is the mean loss per supervised token, NaN if there is none.
func (t Total) Mean() float64 { return t.Loss / float64(t.SupervisedTokens) }

// Options says which rows to score and how to read them.
type Options struct {
	Model     recipes.Model // what the model was opened from
	Data      recipes.Data
	Template  string
	Image     string // square | pad
	Turn      string // ignore | exif
	MaxPixels int    // of one image; 0: the default
}

// Score calls emit with every row of a data set and the model's loss on it, in the order of the file. Rows that
// training would leave out have the reason instead of the loss.
func Score(
	ctx context.Context, m *model.LLaVA, preprocessor *input.Preprocessor, o Options, report runs.Observer,
	emit func(RowScore) error,
) error {
	runtime.LockOSThread() // the engine's state belongs to the thread
	defer runtime.UnlockOSThread()
	stage := &recipes.Stage{Template: o.Template, Image: o.Image, Turn: o.Turn, MaxPixels: o.MaxPixels}
	d, err := OpenScored(&recipes.Recipe{Model: o.Model}, stage, []recipes.Data{o.Data}, preprocessor, report)
	if err != nil {
		return err
	}
	defer d.Close()
	s := Scoring{Model: m, Data: d, Micro: DefaultMicro(m.Params.Device()), Key: "data"}
	cut, err := s.Run(ctx, func(done, total int64) { report.Progress("scoring", done, total) }, emit)
	if err == nil && cut > 0 {
		report.Say(fmt.Sprintf("%d samples were cut to max_length %d", cut, o.Model.Language.MaxLength))
	}
	return err
}

// OpenScored opens rows to be scored in the order of their files, read as the rows of the stage as.
func OpenScored(
	r *recipes.Recipe, as *recipes.Stage, rows []recipes.Data, preprocessor *input.Preprocessor, report runs.Observer,
) (*input.Dataset, error) {
	return input.OpenDataset(r, StageOf(as, rows), preprocessor, report)
}

// StageOf is the stage as, with other rows, each of which is taken once and in the order of the files.
func StageOf(as *recipes.Stage, rows []recipes.Data) *recipes.Stage {
	const together = 64 // rows that are read at a time; it changes no number
	stage := *as        // a key that says how a row is read cannot be forgotten
	stage.Data, stage.Order, stage.Batch = rows, "sequential", recipes.Batch{Global: together}
	stage.Epochs, stage.Steps = 1, 0
	return &stage
}

// Scoring scores a data set with a model, without gradients.
type Scoring struct {
	Model         *model.LLaVA
	Data          *input.Dataset
	Micro, Tokens int // samples, or else positions, in a micro-batch
	Workers       int
	FailOnBad     bool
	Key           string // what errors call the data sets

	// Of several processes that score together: what this one computes, and what gathers the scores of all.
	Part   *data.Part
	Gather func([]PlacedScore) ([]PlacedScore, error)

	// Where they divide weights: what happens around a pass's layers, and what a process does that has had fewer passes
	// of a step than others. nil for nothing.
	Hooks func(*torch.Scope) *nn.Hooks
	Idle  func(step data.Step, had int) error
}

// Run scores all rows and returns how many samples were cut to max_length. The number of bad rows is not limited.
func (c *Scoring) Run(
	ctx context.Context, progress func(done, total int64), emit func(RowScore) error,
) (cut int, err error) {
	loader := data.NewLoader(ctx, data.LoaderOptions{
		Plan: c.Data.Steps, Order: c.Data.Order, Prepare: c.Data.Prepare, Micro: c.Micro, Tokens: c.Tokens,
		FailOnBad: c.FailOnBad, Limit: data.Unlimited, Key: c.Key, Workers: c.Workers, Ahead: 2, Part: c.Part,
	})
	defer loader.Close()
	for done := 0; ; {
		st, err := loader.Next()
		if errors.Is(err, io.EOF) {
			return cut, nil
		}
		if err != nil {
			return cut, err
		}
		scores, err := c.Step(st)
		if err != nil {
			return cut, err
		}
		for _, score := range scores {
			if err := emit(score); err != nil {
				return cut, err
			}
		}
		cut, done = cut+st.Cut, done+len(scores)
		progress(int64(done), int64(c.Data.Order.Len()))
	}
}

// Step scores the rows of one loader step, including those that the loader skipped.
func (c *Scoring) Step(st data.Step) ([]RowScore, error) {
	var rows []PlacedScore
	computed := 0
	for _, b := range st.Micro {
		each, err := c.losses(b)
		if err != nil {
			return nil, fmt.Errorf("samples %s: %w", strings.Join(b.Samples, ", "), err)
		}
		if len(b.Supervised) > 0 {
			computed++
		}
		for i, s := range scored(b, each) {
			origin := b.Origins[i]
			rows = append(rows, PlacedScore{origin.Data, RowScore{ID: b.Samples[i], Row: origin.Row, Scored: &s}})
		}
	}
	if c.Idle != nil {
		if err := c.Idle(st, computed); err != nil {
			return nil, err
		}
	}
	if c.Gather != nil {
		var err error
		if rows, err = c.Gather(rows); err != nil {
			return nil, err
		}
	}
	for _, skip := range st.Skipped { // all processes know them
		rows = append(rows, PlacedScore{skip.Data, RowScore{ID: skip.ID, Row: skip.Row, Skipped: skip.Reason}})
	}
	slices.SortStableFunc(rows, func(a, b PlacedScore) int { return cmp.Or(a.Data-b.Data, a.Row-b.Row) })
	scores := make([]RowScore, len(rows))
	for i, row := range rows {
		scores[i] = row.RowScore
	}
	return scores, nil
}

// losses is the loss of each supervised token of a micro-batch, [N] fp32.
func (c *Scoring) losses(b data.Batch) (each []float32, err error) {
	if len(b.Supervised) == 0 {
		return nil, nil
	}
	err = torch.Do(func(s *torch.Scope) {
		torch.NoGrad(func() {
			head := torch.Detach(s, c.Model.Language.Head().Tensor(), false) // else forward would compute its gradient
			in := input.Input(b)                                             // without dropout keys nothing is dropped
			if c.Hooks != nil {
				in.Hooks = c.Hooks(s)
			}
			_, _, values := TokenLosses(s, c.Model, b, in, head)
			each = torch.Read[float32](values)
		})
	})
	return each, err
}

// scored sums the losses of a micro-batch's supervised tokens for each sample.
func scored(b data.Batch, each []float32) []Scored {
	samples := make([]Scored, len(b.Samples))
	next := 0
	for i := range samples {
		s := &samples[i]
		s.Modality, s.Source = "image", b.Origins[i].Folder
		if s.Source == "" {
			s.Modality, s.Source = "text", "text"
		}
		for ; next < len(each) && b.Supervised[next] < b.Starts[i+1]; next++ {
			s.Loss += runs.Number(each[next])
			s.SupervisedTokens++
		}
		s.Perplexity = runs.Number(math.Exp(float64(s.Loss) / float64(s.SupervisedTokens)))
	}
	return samples
}

// TokenLosses runs the forward pass of a micro-batch; in is its input, head the output embedding [V,D]. each, [N] fp32,
// is the loss of each supervised token, total, [], their sum.
func TokenLosses(
	s *torch.Scope, m *model.LLaVA, b data.Batch, in model.Input, head *torch.Tensor,
) (pass model.Pass, total, each *torch.Tensor) {
	in.Wanted = b.Supervised
	pass = m.Forward(s, in)
	labels := make([]int64, len(b.Supervised))
	for i, position := range b.Supervised {
		labels[i] = b.Labels[position]
	}
	target := torch.From(s, labels, []int64{int64(len(labels))}, m.Params.Device())
	total, each = loss.CrossEntropy(s, pass.Hidden, head, target)
	return pass, total, each
}

// DefaultMicro is the number of samples in a micro-batch if the recipe leaves it open.
func DefaultMicro(device torch.Device) int {
	if device == torch.CPU {
		return 8
	}
	return 16
}
