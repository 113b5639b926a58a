package check

import (
	"errors"
	"fmt"
	"slices"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train"
	"github.com/llavatrain/llavatrain/train/input"
)

// CheckOptions says how much of a recipe is looked at.
type CheckOptions struct {
	Stage    string // pretrain or finetune; "" for all that the recipe has
	Decode   bool   // decode every image, not only its header
	NoTokens bool   // leave lengths and supervised tokens out
	Report   runs.Report
}

// Checked is what a check found. Its JSON is a contract with scripts.
type Checked struct {
	Recipe string         `json:"recipe"`
	Stages []StageChecked `json:"stages"`
}

// StageChecked is what was found about one stage.
type StageChecked struct {
	Stage string        `json:"stage"`
	Fails []string      `json:"fails"` // what would end its run
	Notes []string      `json:"notes"` // what would not, and the user should know
	Rows  int           `json:"rows"`
	Steps int           `json:"steps"`
	Data  []DataChecked `json:"data"`
}

// Failed says whether a run would fail.
func (c Checked) Failed() bool {
	return slices.ContainsFunc(c.Stages, func(s StageChecked) bool { return len(s.Fails) > 0 })
}

// Check goes through everything that a run of the recipe reads: weights by their headers, every row and every image by the code that a
// run uses. What is wrong with the recipe's files is in the result; an error is a fault of the storage.
func Check(r *recipes.Recipe, o CheckOptions) (Checked, error) {
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
		s := stageCheck{recipe: r, stage: stage, options: o, found: StageChecked{Stage: name, Fails: []string{}, Notes: []string{}, Data: []DataChecked{}}}
		if err := s.run(); err != nil {
			return c, err
		}
		c.Stages = append(c.Stages, s.found)
	}
	return c, nil
}

// stageCheck is the check of one stage under way.
type stageCheck struct {
	recipe  *recipes.Recipe
	stage   *recipes.Stage
	reading *input.Reading
	options CheckOptions
	found   StageChecked
}

func (s *stageCheck) fail(err error) {
	if err != nil {
		s.found.Fails = append(s.found.Fails, err.Error())
	}
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
	var err error
	if s.reading, err = input.OpenReading(s.recipe.Model); err != nil {
		s.fail(err)
		return nil
	}
	s.fail(s.model())
	if _, _, err := train.Placement(s.recipe.Device, s.recipe.Dtype); err != nil {
		s.note("not on this machine: %v", err)
	}
	d, err := input.OpenRows(s.recipe, s.stage, s.reading, s.options.Report)
	if err != nil {
		s.fail(err)
		return nil
	}
	defer d.Close()
	s.found.Rows, s.found.Steps = d.Mixture.Rows(), d.Steps.Steps()
	var skipped []input.SkippedRow
	for source := range d.Sources {
		c := rowCheck{Dataset: d, source: source, options: s.options}
		found, err := c.run()
		if err != nil {
			return err
		}
		s.found.Data = append(s.found.Data, found.Found)
		for _, row := range found.Skipped {
			skipped = append(skipped, input.SkippedRow{Data: source, Row: row})
		}
	}
	return s.judge(d, skipped)
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
	m, err := model.Rehearse(s.recipe.Model, model.OpenOptions{Trains: selects, LoRA: s.stage.Adapters(), Projector: projector})
	if err != nil {
		return err
	}
	defer m.Free()
	return train.Fits(s.recipe, s.stage, s.reading, m)
}

// judge says whether the rows that would be skipped end the run, and at which step.
func (s *stageCheck) judge(d *input.Dataset, skipped []input.SkippedRow) error {
	if len(skipped) == 0 {
		return nil
	}
	limit := data.SkipLimit(d.Mixture.Rows())
	if s.stage.BadSamples == "fail" {
		limit = 0
	}
	if len(skipped) <= limit {
		s.note("%s would be skipped; a run may skip %d", plural(len(skipped), "row"), limit)
		return nil
	}
	if over := plural(len(skipped), "row"); s.stage.BadSamples == "fail" {
		over += " cannot be used and bad_samples is fail: mend or remove them, or set bad_samples: skip"
		return s.judgeSteps(d, skipped, limit, errors.New(over))
	}
	return s.judgeSteps(d, skipped, limit, fmt.Errorf("%w: %d of %d rows, at most %d may be; mend the data or remove the rows",
		data.ErrTooManySkipped, len(skipped), d.Mixture.Rows(), limit))
}

// judgeSteps finds out whether a run of less than one pass comes to the rows that end it.
func (s *stageCheck) judgeSteps(d *input.Dataset, skipped []input.SkippedRow, limit int, fault error) error {
	if d.WholePass() {
		s.fail(fault)
		return nil
	}
	if err := d.OpenOrder(); err != nil {
		return err
	}
	bad := map[input.SkippedRow]bool{}
	for _, row := range skipped {
		bad[row] = true
	}
	if step := d.Passes(bad, limit); step > 0 {
		s.fail(fmt.Errorf("at step %d: %w", step, fault))
		return nil
	}
	s.note("%s cannot be used, more than the %d that a run may skip, but the run's %d steps do not come to that many", plural(len(skipped), "row"), limit, d.Steps.Steps())
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return runs.Grouped(int64(n)) + " " + noun + "s"
}
