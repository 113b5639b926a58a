package check

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/exam"
	"github.com/llavatrain/llavatrain/train/input"
	"github.com/llavatrain/llavatrain/train/score"
)

// Options says how much of a recipe is checked.
type Options struct {
	Stage    string   // pretrain or finetune; "" for all that the recipe has
	Decode   bool     // decode every image, not only its header
	NoTokens bool     // do not count lengths and supervised tokens
	Accept   []string // keys that the run will accept, as train.Options
	Clean    string   // file for the usable rows of a stage's data; "" to write none
	Alike    bool     // look for pictures and captions that the data holds twice; decodes every image
	Against  []string // files, or patterns, of benchmarks whose pictures and questions to look for
	Drop     []string // kinds of such rows that Clean leaves out: see DropCaptions
	Report   runs.Observer
}

// Checked is the result of a check. Its JSON is a contract with scripts.
type Checked struct {
	Recipe string         `json:"recipe"`
	Stages []StageChecked `json:"stages"`
}

// StageChecked is the result for one stage.
type StageChecked struct {
	Stage string        `json:"stage"`
	Fails []string      `json:"fails"` // what would end its run
	Notes []string      `json:"notes"` // what would not, but the user should know
	Rows  int           `json:"rows"`
	Steps int           `json:"steps"`
	Data  []DataChecked `json:"data"`
	Eval  []DataChecked `json:"eval,omitempty"` // held-out rows

	Benchmarks []BenchmarkChecked `json:"benchmarks,omitempty"`

	Alike   *AlikeChecked    `json:"alike,omitempty"`
	Against []AgainstChecked `json:"against,omitempty"`
}

// BenchmarkChecked is a benchmark that a run asks.
type BenchmarkChecked struct {
	Benchmark string `json:"benchmark"`
	Questions int    `json:"questions"`
}

// Failed says whether a run would fail.
func (c Checked) Failed() bool {
	return slices.ContainsFunc(c.Stages, func(s StageChecked) bool { return len(s.Fails) > 0 })
}

// Check goes through everything that a run of the recipe reads: weights by their headers, every row and every image by
// the code that a run uses. What is wrong with the recipe's files is in the result, all of it at once; an error is a
// fault of the disk, the engine or the program.
func Check(r *recipes.Recipe, o Options) (Checked, error) {
	c := Checked{Recipe: r.Path}
	if _, err := torch.Open(); err != nil {
		return c, err
	}
	stages, err := input.ChosenStages(r, o.Stage)
	if err != nil {
		return c, err
	}
	for _, name := range stages {
		stage, err := r.Stage(name)
		if err != nil {
			return c, err
		}
		s := stageCheck{
			recipe: r, stage: stage, options: o,
			found: StageChecked{Stage: name, Fails: []string{}, Notes: []string{}, Data: []DataChecked{}},
		}
		if err := s.run(); err != nil {
			return c, err
		}
		c.Stages = append(c.Stages, s.found)
	}
	return c, nil
}

// stageCheck is the check of one stage, in progress.
type stageCheck struct {
	recipe       *recipes.Recipe
	stage        *recipes.Stage
	preprocessor *input.Preprocessor
	options      Options
	found        StageChecked
}

// fail lists what would end the run, each thing once. It returns an error that is not about what the user gave.
func (s *stageCheck) fail(err error) error {
	if err != nil && (failure.IsStorage(err) || !errors.Is(err, failure.ErrInput)) {
		return err
	}
	for _, one := range failure.Each(err) {
		if text := one.Error(); !slices.Contains(s.found.Fails, text) {
			s.found.Fails = append(s.found.Fails, text)
		}
	}
	return nil
}

func (s *stageCheck) note(format string, args ...any) {
	s.found.Notes = append(s.found.Notes, fmt.Sprintf(format, args...))
}

func (s *stageCheck) run() error {
	if next, err := input.Chained(s.recipe, s.found.Stage); err != nil {
		s.note("%v", err)
	} else {
		s.recipe = next
	}
	if _, _, err := device.Placement(s.recipe.Device, s.recipe.Dtype); err != nil {
		s.note("not on this machine: %v", err)
	}
	preprocessor, err := input.OpenPreprocessor(s.recipe.Model)
	s.preprocessor = preprocessor
	if err := cmp.Or(s.fail(err), s.fail(s.model())); err != nil {
		return err
	}
	d, err := s.rows()
	if d != nil {
		defer d.Close()
	}
	if err := cmp.Or(s.fail(err), s.tryClean(d)); err != nil {
		return err
	}
	like, err := s.openLike(d)
	if err := cmp.Or(err, s.heldOut(), s.benchmarks()); err != nil || d == nil {
		return err
	}
	s.found.Rows, s.found.Steps = d.Mixture.Rows(), d.Steps.Steps()
	if warning := train.RateWarning(s.stage, s.found.Steps); warning != "" {
		s.note("%s", warning)
	}
	skipped, err := s.allRows(d, like)
	if err != nil {
		return err
	}
	if like != nil {
		if err := like.run(skipped); err != nil {
			return err
		}
		s.found.Against = like.against
		if s.options.Alike {
			s.found.Alike = &like.found
		}
	}
	if err := s.writeAllClean(d, skipped, like); err != nil {
		return err
	}
	s.noteTextAlone()
	return s.judge(d, skipped)
}

// allRows checks the rows of every data set, and returns those that a run leaves out.
func (s *stageCheck) allRows(d *input.Dataset, like *likeCheck) (skipped []input.SkippedRow, err error) {
	for source := range d.Sources {
		c := rowCheck{Dataset: d, source: source, options: s.options, hashes: like.hashesOf(source)}
		found, err := c.run()
		if err != nil {
			return nil, err
		}
		s.found.Data = append(s.found.Data, found.Found)
		for _, row := range found.Skipped {
			skipped = append(skipped, input.SkippedRow{Data: source, Row: row})
		}
		if rows := found.Found.Rows; rows > 0 && len(found.Skipped) == rows {
			err := failure.Inputf("data[%d]: none of its %s can be used", source, plural(rows, "row"))
			if err := s.fail(err); err != nil {
				return nil, err
			}
		}
	}
	return skipped, nil
}

// noteTextAlone warns of a stage whose rows do not reach what it trains.
func (s *stageCheck) noteTextAlone() {
	if _, ok := s.stage.Train[recipes.PartLanguage]; ok {
		return
	}
	for _, d := range s.found.Data {
		for _, f := range d.Folders {
			if f.Folder != textAlone && f.Rows > f.Skipped {
				return
			}
		}
	}
	s.note("no weight will change: the rows are text alone, and the parts that train learn from images only")
}

// model finds every weight that the stage starts from.
func (s *stageCheck) model() error {
	projector, err := input.ProjectorFile(s.recipe, s.found.Stage)
	if err != nil {
		s.note("%v", err)
	}
	selects, err := train.Trains(s.stage.Train)
	if err != nil {
		return err
	}
	options := model.OpenOptions{
		Trains: selects, LoRA: s.stage.Adapters(), Projector: projector,
		AnyProjector: slices.Contains(s.options.Accept, "model.projector.weights"),
	}
	if s.preprocessor != nil {
		options.NewTokens = s.preprocessor.NewTokens()
	}
	m, err := model.Rehearse(s.recipe.Model, options)
	if err != nil {
		return err
	}
	defer m.Free()
	for _, note := range m.Notes {
		s.note("%s", note)
	}
	if s.preprocessor == nil {
		return nil
	}
	last := s.recipe.Finetune == nil || s.found.Stage == recipes.StageFinetune
	if added := s.preprocessor.NewTokens(); len(added) > 0 && last && !m.TrainsTokens() {
		s.note("the %d new tokens of model.language.tokenizer.add stay the mean of the others: "+
			"the embedding and the head do not train", len(added))
	}
	return train.Fits(s.recipe, s.stage, s.preprocessor, m)
}

// rows opens the stage's data, nil where it cannot be read.
func (s *stageCheck) rows() (*input.Dataset, error) {
	if s.preprocessor != nil {
		return input.OpenRows(s.recipe, s.stage, s.preprocessor, s.options.Report)
	}
	_, err := input.OpenTemplate(s.recipe.Model, s.stage.Template)
	return nil, failure.Join(err, input.TryFiles(s.stage, nil, s.options.Report))
}

// heldOut checks the data of the stage's eval section, where it has one. A run may skip any number of its rows, unless
// bad_samples is fail.
func (s *stageCheck) heldOut() error {
	if s.stage.Eval == nil || len(s.stage.Eval.Data) == 0 {
		return nil
	}
	held := score.StageOf(s.stage, s.stage.Eval.Data)
	_, unknown := input.OpenTemplate(s.recipe.Model, held.Template)
	if unknown != nil || s.preprocessor == nil { // said already
		return s.fail(failure.Under("eval.", input.TryFiles(held, s.preprocessor, s.options.Report)))
	}
	d, err := input.OpenRows(s.recipe, held, s.preprocessor, s.options.Report)
	if d != nil {
		defer d.Close()
	}
	if err := s.fail(failure.Under("eval.", err)); err != nil || d == nil {
		return err
	}
	usable := 0
	for source := range d.Sources {
		c := rowCheck{Dataset: d, source: source, options: s.options}
		found, err := c.run()
		if err != nil {
			return err
		}
		s.found.Eval = append(s.found.Eval, found.Found)
		rows, skipped := found.Found.Rows, len(found.Skipped)
		usable += rows - skipped
		switch {
		case skipped == 0:
		case s.stage.BadSamples.Policy == "fail":
			err := failure.Inputf("eval.data[%d]: %s cannot be used and bad_samples is fail: fix or remove them",
				source, plural(skipped, "row"))
			if err := s.fail(err); err != nil {
				return err
			}
		case skipped == rows:
			s.note("eval.data[%d]: none of its %s can be used", source, plural(rows, "row"))
		default:
			s.note("eval.data[%d]: %s of %d cannot be used", source, plural(skipped, "row"), rows)
		}
	}
	if usable == 0 && s.stage.BadSamples.Policy != "fail" {
		s.note("nothing will be evaluated: no row of eval.data can be used")
	}
	return nil
}

// benchmarks reads the files of the benchmarks of the stage's eval section, and looks for their pictures.
func (s *stageCheck) benchmarks() error {
	if s.stage.Eval == nil {
		return nil
	}
	list, err := exam.OpenBenchmarks(s.stage.Eval.Benchmarks)
	defer exam.CloseBenchmarks(list)
	for _, b := range list {
		s.found.Benchmarks = append(s.found.Benchmarks, BenchmarkChecked{b.Name(), b.Questions()})
	}
	return s.fail(failure.Under("eval.", err))
}

// judge says whether the rows that would be skipped end the run, and at which step.
func (s *stageCheck) judge(d *input.Dataset, skipped []input.SkippedRow) error {
	if len(skipped) == 0 {
		return nil
	}
	limit := d.SkipLimit()
	if len(skipped) <= limit {
		s.note("%s would be skipped; a run may skip %d", plural(len(skipped), "row"), limit)
		return nil
	}
	if s.stage.BadSamples.Policy == "fail" {
		return s.judgeSteps(d, skipped, limit, failure.Inputf("%s cannot be used and bad_samples is fail: "+
			"fix or remove them, or set bad_samples: skip", plural(len(skipped), "row")))
	}
	return s.judgeSteps(d, skipped, limit,
		fmt.Errorf("%w: %d of %d rows, at most %d may be; "+
			"fix the data, remove the rows (llavatrain check --write-clean FILE does), or raise bad_samples.limit",
			data.ErrTooManySkipped, len(skipped), d.Mixture.Rows(), limit))
}

// judgeSteps decides whether a run that does not take every row reaches the rows that end it.
func (s *stageCheck) judgeSteps(d *input.Dataset, skipped []input.SkippedRow, limit int, fault error) error {
	if d.WholePass() {
		return s.fail(fault)
	}
	if err := d.OpenOrder(); err != nil {
		return err
	}
	bad := map[input.SkippedRow]bool{}
	for _, row := range skipped {
		bad[row] = true
	}
	if step := d.Passes(bad, limit); step > 0 {
		return s.fail(fmt.Errorf("at step %d: %w", step, fault))
	}
	s.note("%s cannot be used, more than the %d that a run may skip, but the run's %d steps do not reach that many",
		plural(len(skipped), "row"), limit, d.Steps.Steps())
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return runs.Grouped(int64(n)) + " " + noun + "s"
}
