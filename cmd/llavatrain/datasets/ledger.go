package datasets

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// NewLedger returns the command ledger.
func NewLedger(p *program.Program) *cobra.Command {
	var step int
	var asJSON bool
	c := &cobra.Command{
		Use:   "ledger RUN",
		Short: "Show which samples the steps of a run used",
		Long: "Show which samples the steps of a run used. RUN is the folder of one of its stages, or of a run with " +
			"one stage.\n\n" +
			"With --step: the rows of that optimizer step in order, as DATA:ROW, the form that preview takes, " +
			"and their ids.\n" +
			"Without it: what all steps used from each data set.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("step") && step < 1 {
				return failure.Inputf("--step %d: steps count from 1", step)
			}
			dir, err := stageFolder(args[0])
			if err != nil {
				return err
			}
			ledger, err := runs.OpenLedger(dir)
			if err != nil {
				return err
			}
			if step == 0 {
				summary, err := ledger.Summary()
				return show(p.Out, summary, err, asJSON, printSummary)
			}
			terminal := program.NewTerminal(p.Err)
			found, err := ledger.Step(step, terminal)
			terminal.Close()
			return show(p.Out, found, err, asJSON, printLedgerStep)
		},
	}
	f := c.Flags()
	f.IntVar(&step, "step", 0, "list the rows of optimizer step `N`, from 1")
	f.BoolVar(&asJSON, "json", false, "print the results as JSON")
	return c
}

// stageFolder returns the folder of one stage of a run: the path itself, or the folder of the only stage in it.
func stageFolder(path string) (string, error) {
	isStage := func(dir string) bool { return checkpoints.Exists(filepath.Join(dir, runs.RecipeFile)) }
	if isStage(path) {
		return path, nil
	}
	var stages []string
	for _, stage := range recipes.StageNames {
		if dir := filepath.Join(path, stage); isStage(dir) {
			stages = append(stages, dir)
		}
	}
	switch len(stages) {
	case 0:
		return "", failure.Inputf("%s is not a run: give the folder of one of its stages, such as runs/NAME/finetune",
			path)
	case 1:
		return stages[0], nil
	}
	return "", failure.Inputf("%s has both stages: give %s", path, strings.Join(stages, " or "))
}

// show prints found, unless finding it failed.
func show[T any](out io.Writer, found T, err error, asJSON bool, print func(io.Writer, T)) error {
	if err != nil {
		return err
	}
	if asJSON {
		return program.PrintJSON(out, found)
	}
	print(out, found)
	return nil
}

func printSummary(out io.Writer, s runs.LedgerSummary) {
	fmt.Fprintf(out, "%s, %v\n", s.Stage, s.Steps)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "data\tsamples\tskipped\tdistinct rows\tpath")
	named := map[int]bool{}
	for _, count := range s.Counts {
		changed := ""
		if named[count.Data] {
			changed = ", changed"
		}
		named[count.Data] = true
		fmt.Fprintf(w, "data[%d]%s\t%d\t%d\t%d of %d\t%s\n",
			count.Data, changed, count.Samples, count.Skipped, count.Distinct, count.Rows, count.Path)
	}
	w.Flush()
}

func printLedgerStep(out io.Writer, s runs.LedgerStep) {
	fmt.Fprintf(out, "%s, step %d, %d rows\n", s.Stage, s.Step, len(s.Rows))
	for _, source := range slices.Sorted(maps.Keys(s.Paths)) {
		fmt.Fprintf(out, "data[%d] %s\n", source, s.Paths[source])
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "row\tid")
	for _, row := range s.Rows {
		id := "-"
		if row.ID != "" {
			id = fmt.Sprintf("%q", row.ID)
		}
		fmt.Fprintf(w, "%d:%d\t%s", row.Data, row.Row, id)
		if row.Skipped {
			reason, _, _ := strings.Cut(row.Reason, "\n")
			fmt.Fprintf(w, "\tskipped: %s", reason)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}
