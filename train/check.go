package train

import (
	"errors"
	"fmt"
	"slices"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// CheckOptions says how much of a recipe is looked at.
type CheckOptions struct {
	Stage    string // pretrain or finetune; "" for all that the recipe has
	Decode   bool   // decode every image, not only its header
	NoTokens bool   // leave lengths and supervised tokens out
	Report   Report
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
	stages, err := chosenStages(r, o.Stage)
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
	reading *Reading
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
	if next, err := chained(s.recipe, s.found.Stage); err != nil {
		s.note("%v", err)
	} else {
		s.recipe = next
	}
	var err error
	if s.reading, err = OpenReading(s.recipe.Model); err != nil {
		s.fail(err)
		return nil
	}
	s.fail(s.model())
	if _, _, err := Placement(s.recipe.Device, s.recipe.Dtype); err != nil {
		s.note("not on this machine: %v", err)
	}
	d, err := openRows(s.recipe, s.stage, s.reading, s.options.Report)
	if err != nil {
		s.fail(err)
		return nil
	}
	defer d.close()
	s.found.Rows, s.found.Steps = d.mixture.Rows(), d.steps.Steps()
	var skipped []skippedRow
	for source := range d.sources {
		c := rowCheck{dataset: d, source: source, options: s.options}
		found, err := c.run()
		if err != nil {
			return err
		}
		s.found.Data = append(s.found.Data, found.Found)
		for _, row := range found.Skipped {
			skipped = append(skipped, skippedRow{source, row})
		}
	}
	return s.judge(d, skipped)
}

// model finds every weight that the stage starts from.
func (s *stageCheck) model() error {
	projector, err := projectorFile(s.recipe, s.found.Stage)
	if err != nil {
		s.note("%v", err)
	}
	selects, err := trains(s.stage.Train)
	if err != nil {
		return err
	}
	m, err := model.Rehearse(s.recipe.Model, model.OpenOptions{Trains: selects, LoRA: s.stage.Adapters(), Projector: projector})
	if err != nil {
		return err
	}
	defer m.Free()
	return fits(s.recipe, s.stage, s.reading, m)
}

type skippedRow struct{ source, row int }

// judge says whether the rows that would be skipped end the run, and at which step.
func (s *stageCheck) judge(d *dataset, skipped []skippedRow) error {
	if len(skipped) == 0 {
		return nil
	}
	limit := data.SkipLimit(d.mixture.Rows())
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
		data.ErrTooManySkipped, len(skipped), d.mixture.Rows(), limit))
}

// judgeSteps finds out whether a run of less than one pass comes to the rows that end it.
func (s *stageCheck) judgeSteps(d *dataset, skipped []skippedRow, limit int, fault error) error {
	if d.wholePass() {
		s.fail(fault)
		return nil
	}
	if err := d.openOrder(); err != nil {
		return err
	}
	bad := map[skippedRow]bool{}
	for _, row := range skipped {
		bad[row] = true
	}
	if step := d.passes(bad, limit); step > 0 {
		s.fail(fmt.Errorf("at step %d: %w", step, fault))
		return nil
	}
	s.note("%s cannot be used, more than the %d that a run may skip, but the run's %d steps do not come to that many", plural(len(skipped), "row"), limit, d.steps.Steps())
	return nil
}

// wholePass says whether the run takes every row.
func (d *dataset) wholePass() bool {
	_, end := d.steps.Span(d.steps.Steps() - 1)
	return end >= int64(d.mixture.Len()) && !slices.ContainsFunc(d.stage.Data, func(entry recipes.Data) bool { return entry.Weight < 1 })
}

// passes is the step, from 1, in which the distinct rows of bad that have come are more than limit; 0 for none.
func (d *dataset) passes(bad map[skippedRow]bool, limit int) int {
	come := map[skippedRow]bool{}
	for step := range d.steps.Steps() {
		first, end := d.steps.Span(step)
		for position := first; position < end; position++ {
			source, row := d.order.At(position)
			if at := (skippedRow{source, row}); bad[at] {
				come[at] = true
			}
		}
		if len(come) > limit {
			return step + 1
		}
	}
	return 0
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(int64(n)) + " " + noun + "s"
}

// storageFault tells a fault of the disk from one of a row.
func storageFault(err error) bool { return err != nil && !errors.Is(err, data.ErrRow) }
