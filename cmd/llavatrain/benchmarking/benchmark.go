// Package benchmarking holds the commands that judge models by benchmarks: run joins a benchmark's questions with the
// engine that answers them, and the others work on answers, whoever gave them.
package benchmarking

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
)

// NewBenchmark returns the command benchmark and those below it.
func NewBenchmark(p *program.Program) *cobra.Command {
	c := &cobra.Command{
		Use:   "benchmark",
		Short: "Judge models by public benchmarks",
		Long: "Judge models by the rules of public benchmarks, and compare them. `benchmark list` shows the " +
			"benchmarks; an answer file is one of LLaVA's form, as `benchmark run` and `generate --batch` write it.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error { return c.Help() },
	}
	c.AddCommand(newRun(p), newScore(p), newList(p), newSubmit(p), newCompare(p), newJudge(p))
	return c
}

// given are the flags that say which answers to which questions.
type given struct {
	data, answers, rule string
	partial             bool
}

func (g *given) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&g.data, "data", "", "`FOLDER` of the benchmark's files, or the id of a set in the local hub cache")
	f.StringVar(&g.answers, "answers", "", "answer `FILE` of the model")
	f.BoolVar(&g.partial, "partial", false, "take what belongs together, although answers or questions are missing "+
		"or doubled")
	c.MarkFlagRequired("data")
	c.MarkFlagRequired("answers")
}

func (g *given) ruleFlag(c *cobra.Command) {
	c.Flags().StringVar(&g.rule, "rule", "", "`RULE` to judge by; default: the benchmark's first (benchmark list NAME)")
}

// open reads the questions and the answers.
func (g *given) open(benchmark string, purpose benchmarks.Purpose) (*benchmarks.Set, *benchmarks.Answers, error) {
	set, err := benchmarks.Open(benchmark, g.data, g.rule, purpose)
	if err != nil {
		return nil, nil, err
	}
	answers, err := benchmarks.ReadAnswers(g.answers, g.partial)
	if err == nil && purpose == benchmarks.ToScore && answers.Rounds() {
		err = set.AllRounds()
	}
	if err != nil {
		set.Close()
		return nil, nil, err
	}
	return set, answers, nil
}

func newList(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "list [NAME]",
		Short: "List the benchmarks, or one with its files and rules",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return listOne(p, args[0])
			}
			table := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
			for _, b := range benchmarks.All() {
				var rules []string
				for _, rule := range b.Rules {
					rules = append(rules, rule.Name)
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", b.Name, b.Title, strings.Join(rules, ", "), b.Hub)
			}
			return table.Flush()
		},
	}
}

func listOne(p *program.Program, name string) error {
	b, err := benchmarks.Find(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Out, "%s: %s\n", b.Name, b.Title)
	fmt.Fprintf(p.Out, "files: %s; or the parquet files of %s\n", strings.Join(b.Files, ", "), b.Hub)
	fmt.Fprintf(p.Out, "answers: at most %d tokens, greedy\n", b.Limit)
	for _, rule := range b.Rules {
		fmt.Fprintf(p.Out, "rule %s: %s\n", rule.Name, rule.What)
	}
	if b.Upload != "" {
		fmt.Fprintf(p.Out, "upload: %s\n", b.Upload)
	}
	return nil
}
