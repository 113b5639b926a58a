package training

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/shapes"
	"github.com/llavatrain/llavatrain/train/answer"
)

// demoResult is runs/shapes/demo.json. Accuracies are fractions of exact matches of greedy answers, 0 to 1.
type demoResult struct {
	Accuracy float64 `json:"accuracy"` // on scenes that were not in the training data
	// on scenes with a colour-shape pair that was not in the training data
	UnseenAccuracy   float64 `json:"unseen_accuracy"`
	ShuffledAccuracy float64 `json:"shuffled_accuracy"` // on the first set, each question with the image of another
	// of the most common training answer to the same form of question, on the first set
	GuessAccuracy     float64 `json:"guess_accuracy"`
	Questions         int     `json:"questions"`
	PretrainLossFirst float64 `json:"pretrain_loss_first"`
	PretrainLossLast  float64 `json:"pretrain_loss_last"`
	Seconds           float64 `json:"seconds"`
}

// NewDemo returns the command demo.
func NewDemo(p *program.Program) *cobra.Command {
	var runs, projector string
	var seed uint64
	c := &cobra.Command{
		Use:   "demo",
		Short: "Train both stages on drawn shapes and ask about new images",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			recipe, err := demoRecipe(projector)
			if err != nil {
				return err
			}
			d := demo{Program: p, dir: filepath.Join(runs, recipe), runs: runs, recipe: recipe, projector: projector,
				seed: seed, began: time.Now()}
			ctx, done := p.Interruptible(c.Context())
			defer done()
			return d.run(ctx)
		},
	}
	c.Flags().StringVar(&runs, "runs", "runs", "parent `FOLDER` of run folders")
	c.Flags().StringVar(&projector, "projector", demoProjectors[0],
		"`TYPE` of the projector: "+strings.Join(demoProjectors, ", "))
	c.Flags().Uint64Var(&seed, "seed", 1, "seed of the data and of both stages")
	return c
}

// demoProjectors are the types that the demo can train, the usual one first.
var demoProjectors = []string{"mlp2x_gelu", "linear", recipes.QFormer, recipes.ResamplerType, recipes.PixelShuffle,
	recipes.Pool, recipes.GatedCrossAttention}

// demoRecipe is the name of the shipped recipe for a type of projector, and of the demo's folder.
func demoRecipe(projector string) (string, error) {
	switch {
	case !slices.Contains(demoProjectors, projector):
		return "", failure.NotOneOf("projector", projector, demoProjectors)
	case projector == demoProjectors[0]:
		return "shapes", nil
	}
	return "shapes-" + projector, nil
}

// demo is a run of the shapes demo: all its files are in dir.
type demo struct {
	*program.Program
	dir, runs         string
	recipe, projector string
	seed              uint64
	began             time.Time
}

func (d demo) run(ctx context.Context) error {
	recipe, err := d.materials()
	if err != nil {
		return err
	}
	for _, stage := range []struct{ name, what string }{
		{recipes.StagePretrain,
			"Stage 1: a new projector learns to present images to a frozen language model."},
		{recipes.StageFinetune, "Stage 2: the language model learns to answer questions about images. " +
			"So far it has only described some, so its first\n" +
			"answers are confident and wrong: the loss starts high."},
	} {
		fmt.Fprintf(d.Err, "\n%s\n", stage.what)
		if err := d.runCommand(ctx, stage.name, recipe, "--runs", d.runs,
			"--overwrite", "--set", "seed="+strconv.FormatUint(d.seed, 10),
			"--set", "model.projector.type="+d.projector); err != nil {
			return err
		}
	}
	return d.measure(ctx)
}

// materials draws the images and writes recipe and base weights.
func (d demo) materials() (recipe string, err error) {
	terminal := program.NewTerminal(d.Err)
	defer terminal.Close()
	fmt.Fprintf(d.Err, "drawing scenes into %s\n", filepath.Join(d.dir, "data"))
	if err := writeShapes(d.dir, d.seed, terminal); err != nil {
		return "", failure.Storage(err)
	}
	name := d.recipe
	if d.projector == "linear" { // which has no settings of its own
		name = "shapes"
	}
	text, err := recipes.Shipped(name)
	if err != nil {
		return "", err
	}
	recipe = filepath.Join(d.dir, d.recipe+".yaml")
	return recipe, failure.Storage(os.WriteFile(recipe, text, 0o666))
}

// writeShapes makes the folders that the recipe shapes needs: base and data.
func writeShapes(dir string, seed uint64, terminal *program.Terminal) error {
	if err := shapes.WriteModel(filepath.Join(dir, "base")); err != nil {
		return err
	}
	return shapes.WriteDemo(filepath.Join(dir, "data"), shapes.Options{Seed: seed}, func(done, total int) {
		terminal.Progress("drawing", int64(done), int64(total))
	})
}

// runCommand runs a llavatrain command as a user would.
func (d demo) runCommand(ctx context.Context, args ...string) error {
	fmt.Fprintf(d.Err, "$ llavatrain %s\n", strings.Join(args, " "))
	return d.Command(ctx, args)
}

// measure asks the finished model about both held-out sets, prints the results and writes demo.json.
func (d demo) measure(ctx context.Context) error {
	terminal := program.NewTerminal(d.Err)
	defer terminal.Close()
	exam, err := newExam(filepath.Join(d.dir, recipes.StageFinetune), filepath.Join(d.dir, "data"), terminal)
	if err != nil {
		return err
	}
	defer exam.Close()
	fmt.Fprintf(d.Err, "\nasking about images that it never saw\n")
	fresh, err := exam.sit(ctx, "new.json", 0)
	if err != nil {
		return err
	}
	unseen, err := exam.sit(ctx, "unseen.json", 0)
	if err != nil {
		return err
	}
	shuffled, err := exam.sit(ctx, "new.json", 1)
	if err != nil {
		return err
	}
	terminal.Close()
	first, last, err := firstAndLastLoss(filepath.Join(d.dir, recipes.StagePretrain, runs.MetricsFile))
	if err != nil {
		return err
	}
	result := demoResult{
		Accuracy: fresh.accuracy(), UnseenAccuracy: unseen.accuracy(), ShuffledAccuracy: shuffled.accuracy(),
		GuessAccuracy: fresh.guess(),
		Questions:     len(fresh) + len(unseen), PretrainLossFirst: first, PretrainLossLast: last,
		Seconds: time.Since(d.began).Seconds(),
	}
	d.show(exam, fresh, unseen, result)
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	return failure.Storage(os.WriteFile(filepath.Join(d.dir, "demo.json"), append(text, '\n'), 0o666))
}

func (d demo) show(exam *exam, fresh, unseen answers, r demoResult) {
	fmt.Fprintln(d.Out)
	for _, a := range []answered{fresh[0], fresh[len(fresh)/2], unseen[0]} {
		exam.show(d.Out, a)
	}
	fmt.Fprintf(d.Out, "stage 1 loss                         %.2f -> %.2f\n", r.PretrainLossFirst, r.PretrainLossLast)
	fmt.Fprintf(d.Out, "exact answers, new scenes            %5.1f %%\n", 100*r.Accuracy)
	fmt.Fprintf(d.Out, "exact answers, unseen pairs          %5.1f %%\n", 100*r.UnseenAccuracy)
	fmt.Fprintf(d.Out, "the same with images shuffled        %5.1f %%   (guessing the most common answer: %.1f %%)\n",
		100*r.ShuffledAccuracy, 100*r.GuessAccuracy)
	fmt.Fprintf(d.Out, "%d questions, %.0f seconds in all\n\n", r.Questions, r.Seconds)
	fmt.Fprintf(d.Out, "Next, look at %s (the recipe) and %s (every step),\n",
		filepath.Join(d.dir, d.recipe+".yaml"), filepath.Join(d.dir, recipes.StageFinetune, runs.MetricsFile))
	fmt.Fprintf(d.Out, "or ask a question:\n  llavatrain generate %s --image %s --prompt %q\n",
		filepath.Join(d.dir, recipes.StageFinetune),
		filepath.Join(d.dir, "data", "images", fresh[0].Image), fresh[0].Text)
}

func firstAndLastLoss(metrics string) (first, last float64, err error) {
	file, err := os.Open(metrics)
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 0; lines.Scan(); n++ {
		var m runs.Metrics
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", metrics, err)
		}
		if last = float64(m.Loss); n == 0 {
			first = last
		}
	}
	return first, last, lines.Err()
}

// exam asks a model questions about a folder of images.
type exam struct {
	*answer.Answerer
	data     string
	terminal *program.Terminal
}

// answered is a question with the model's answer.
type answered struct {
	shapes.Question
	given string
}

type answers []answered

func newExam(model, data string, terminal *program.Terminal) (*exam, error) {
	a, err := answer.OpenAnswerer(answer.Named{Path: model}, terminal)
	return &exam{a, data, terminal}, err
}

// sit answers a set of questions, each about the image of the question shift places later.
func (e *exam) sit(ctx context.Context, set string, shift int) (answers, error) {
	questions, err := shapes.ReadQuestions(filepath.Join(e.data, set))
	if err != nil {
		return nil, err
	}
	step := shift * (len(questions)/2 + 1)
	var list answers
	for i, q := range questions {
		if ctx.Err() != nil {
			return nil, runs.ErrInterrupted
		}
		given, err := e.ask(questions[(i+step)%len(questions)].Image, q.Text)
		if err != nil {
			return nil, err
		}
		list = append(list, answered{q, given})
		e.terminal.Progress("asking", int64(i+1), int64(len(questions)))
	}
	return list, nil
}

func (e *exam) ask(image, question string) (string, error) {
	about, err := e.OpenPicture(filepath.Join(e.data, "images", image), false)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = e.Answer([]picture.Picture{about}, question, model.Sampling{MaxTokens: 24},
		func(part string) { text.WriteString(part) })
	return strings.TrimSpace(text.String()), err
}

func (a answers) accuracy() float64 {
	return a.share(func(q answered) bool { return q.given == q.Answer })
}

func (a answers) guess() float64 {
	return a.share(func(q answered) bool { return q.Guess == q.Answer })
}

func (a answers) share(is func(answered) bool) float64 {
	n := 0
	for _, q := range a {
		if is(q) {
			n++
		}
	}
	return float64(n) / float64(len(a))
}
