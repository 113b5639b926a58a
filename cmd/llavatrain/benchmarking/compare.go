package benchmarking

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
)

// shownFlips is how many flips are listed; --json has all.
const shownFlips = 10

func newCompare(p *program.Program) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "compare A.json B.json…",
		Short: "Compare results of the same questions, the others with the first",
		Long: "Compare results of `benchmark score --json`, each of the others with the first: differences with 95 % " +
			"intervals of a paired bootstrap, and the questions that flipped. Results of other questions, prompts or " +
			"rules are refused.",
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			first, err := benchmarks.ReadRun(args[0])
			if err != nil {
				return err
			}
			var all []*benchmarks.Comparison
			for _, path := range args[1:] {
				run, err := benchmarks.ReadRun(path)
				if err != nil {
					return err
				}
				compared, err := benchmarks.Compare(first, run)
				if err != nil {
					return err
				}
				all = append(all, compared)
			}
			if asJSON {
				return program.PrintJSON(p.Out, all)
			}
			for _, compared := range all {
				fmt.Fprintf(p.Out, "%s → %s: %s\n", compared.A, compared.B, compared.Verdict())
				for _, line := range compared.Lines(shownFlips) {
					fmt.Fprintln(p.Out, line)
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, with all flips")
	return c
}
