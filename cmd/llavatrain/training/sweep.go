package training

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/report"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// NewSweep returns the command sweep.
func NewSweep(p *program.Program) *cobra.Command {
	var vary, set []string
	var parent string
	c := &cobra.Command{
		Use:   "sweep RECIPE --vary KEY=VALUE,VALUE",
		Short: "Train a recipe with all combinations of some settings, one after another",
		Long: "Train a recipe's stages with all combinations of some settings, one after another. Each is an " +
			"ordinary run in RUNS/NAME/sweep/KEY=VALUE,…; the same command line goes on where it ended. " +
			"sweep.jsonl in RUNS/NAME/sweep holds settings and results, which are printed as a table at the end.\n\n" +
			"Values are split at commas outside brackets: --vary 'finetune.optimizer.betas=[0.9,0.95],[0.9,0.999]'.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s := sweep{Program: p, recipe: args[0], set: set}
			if err := s.plan(vary, parent); err != nil {
				return err
			}
			ctx, done := p.Interruptible(c.Context())
			defer done()
			return s.run(ctx)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&vary, "vary", nil,
		"`KEY=VALUE,VALUE`: the values that a recipe key takes in turn (may be repeated)")
	f.StringArrayVar(&set, "set", nil,
		"change a recipe key in all runs, such as `finetune.steps=100` (may be repeated)")
	f.StringVar(&parent, "runs", "", "parent `FOLDER` of run folders, instead of the recipe's")
	if err := c.MarkFlagRequired("vary"); err != nil {
		panic(err) // the flag exists
	}
	return c
}

// sweep is the runs of a recipe with all combinations of some settings.
type sweep struct {
	*program.Program
	recipe string
	set    []string
	dir    string // RUNS/NAME/sweep
	list   []combination
	stages []string
}

// plan lists the combinations and checks the recipe with each, before anything is trained.
func (s *sweep) plan(vary []string, parent string) error {
	var variations []variation
	for _, text := range vary {
		v, err := parseVariation(text)
		if err != nil {
			return err
		}
		for _, earlier := range variations {
			if earlier.key == v.key {
				return failure.Inputf("--vary names %s twice: give all its values at once", v.key)
			}
		}
		variations = append(variations, v)
	}
	s.list = combinations(variations)
	names := map[string]bool{}
	for _, c := range s.list {
		if names[c.name()] {
			return failure.Inputf("two combinations have the folder %q: their values differ only in slashes", c.name())
		}
		names[c.name()] = true
		r, err := recipes.Load(s.recipe, s.sets(c))
		if err != nil {
			return fmt.Errorf("with %s: %w", c.name(), err)
		}
		s.take(r, parent)
	}
	return nil
}

// sets are all changes of the recipe for a combination.
func (s *sweep) sets(c combination) []string {
	sets := append([]string(nil), s.set...)
	for _, setting := range c {
		sets = append(sets, setting.key+"="+setting.value)
	}
	return sets
}

// take takes the folder and the stages from a recipe.
func (s *sweep) take(r *recipes.Recipe, parent string) {
	if parent == "" {
		parent = r.Runs
	}
	s.dir, s.stages = filepath.Join(parent, r.Name, "sweep"), nil
	for _, stage := range recipes.StageNames {
		if _, err := r.Stage(stage); err == nil {
			s.stages = append(s.stages, stage)
		}
	}
}

// run trains all combinations. One that fails is recorded and does not keep the others from running.
func (s *sweep) run(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o777); err != nil {
		return failure.Storage(err)
	}
	var results []sweepResult
	var failed error
	for i, c := range s.list {
		fmt.Fprintf(s.Err, "\n%d of %d: %s\n", i+1, len(s.list), c.name())
		err := s.train(ctx, c)
		if errors.Is(err, runs.ErrInterrupted) {
			return err
		}
		result := s.result(c)
		if err != nil {
			fmt.Fprintf(s.Err, "%s failed: %v\n", c.name(), err)
			result.Error, failed = err.Error(), err
		}
		results = append(results, result)
		if err := writeResults(filepath.Join(s.dir, "sweep.jsonl"), results); err != nil {
			return err
		}
	}
	fmt.Fprint(s.Out, resultTable(s.stages, results))
	s.report(results)
	if failed != nil {
		return fmt.Errorf("not all combinations could be trained, the last to fail: %w", failed)
	}
	return nil
}

// report writes one page about all combinations that took a step. It is no part of the results: the runs are as good
// without it.
func (s *sweep) report(results []sweepResult) {
	var list []string
	for _, stage := range s.stages {
		for _, r := range results {
			if r.Stages[stage].Steps > 0 {
				list = append(list, filepath.Join(r.Run, stage))
			}
		}
	}
	if list == nil {
		return
	}
	path := filepath.Join(s.dir, runs.ReportFile)
	found, err := report.Open(list...)
	if err == nil {
		err = checkpoints.WriteFile(path, func(w io.Writer) error { return report.Write(w, found, time.Now()) })
	}
	if err != nil {
		fmt.Fprintf(s.Err, "warning: %s could not be written: %v\n", path, err)
		return
	}
	fmt.Fprintln(s.Err, "wrote "+path)
}

// train runs the stages of one combination, as a user would.
func (s *sweep) train(ctx context.Context, c combination) error {
	for _, stage := range s.stages {
		args := []string{stage, s.recipe, "--runs", s.dir, "--resume"}
		for _, set := range s.set {
			args = append(args, "--set", set)
		}
		args = append(args, c.sets()...)
		args = append(args, "--set", "name="+quotedYAML(c.name()))
		if err := s.Command(ctx, args); err != nil {
			return fmt.Errorf("%s: %w", stage, err)
		}
	}
	return nil
}

// quotedYAML is text as a YAML value, whatever it holds.
func quotedYAML(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
