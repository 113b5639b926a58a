package benchmarking

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/benchmarks/judge"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
)

func newScore(p *program.Program) *cobra.Command {
	var g given
	var out, replies string
	c := &cobra.Command{
		Use:   "score NAME --data FOLDER --answers FILE",
		Short: "Score an answer file",
		Long: "Score an answer file. Figures are in percent, with their standard errors. With --json FILE the result " +
			"and what it rests on go to FILE, and every question with its answer and score to FILE.rows.jsonl (for " +
			"x.json: x.rows.jsonl), which `benchmark compare` reads.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			set, answers, err := g.open(args[0], benchmarks.ToScore)
			if err != nil {
				return err
			}
			defer set.Close()
			var read *judge.Replies
			if set.Rule.Judged && replies != "" {
				if read, err = judge.Read(replies, set, set.Join(answers), g.partial); err != nil {
					return err
				}
			}
			return score(p, set, answers, g, read, out)
		},
	}
	g.flags(c)
	g.ruleFlag(c)
	c.Flags().StringVar(&out, "json", "", "write the result to `FILE`, and the rows beside it")
	c.Flags().StringVar(&replies, "replies", "", "`FILE` of a judge's replies: batch results, or a JSON list of "+
		"texts in the order of the questions; not read where no judge is needed")
	return c
}

// score scores answers, with a judge's replies where there are any, and says what came out.
func score(p *program.Program, set *benchmarks.Set, answers *benchmarks.Answers, g given, replies *judge.Replies,
	out string) error {
	o := benchmarks.ScoreOptions{Partial: g.partial}
	if replies != nil {
		o.Replies, o.Judge = replies.List, replies.Judge
	}
	result, rows, err := set.Score(answers, g.answers, o)
	if err != nil {
		return err
	}
	if replies != nil {
		result.Replies = &replies.Source
		if err := tellReplies(p, result, rows, replies); err != nil {
			return err
		}
	}
	if out != "" {
		if err := result.Write(out, rows); err != nil {
			return err
		}
	}
	tell(p, result)
	return nil
}

// tell says what came out.
func tell(p *program.Program, result *benchmarks.Result) {
	fmt.Fprintln(p.Out, result.Counts())
	for _, line := range result.Lines() {
		fmt.Fprintln(p.Out, line)
	}
	if result.Missing > 0 {
		fmt.Fprintf(p.Err, "%d questions have no answer\n", result.Missing)
	}
	if result.Torn {
		fmt.Fprintln(p.Err, "the last line of the answers is cut off, and left out")
	}
	if result.Mixed {
		fmt.Fprintln(p.Err, "the answers are of several models, or of one under several conditions")
	}
}

func newSubmit(p *program.Program) *cobra.Command {
	var g given
	var out string
	c := &cobra.Command{
		Use:   "submit NAME --data FOLDER --answers FILE --out FILE",
		Short: "Write what a benchmark's server takes",
		Long: "Write what a benchmark's server takes, where the labels are hidden. An answer file with answers " +
			"missing is refused: a server counts them as wrong.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			set, answers, err := g.open(args[0], benchmarks.ToSubmit)
			if err != nil {
				return err
			}
			defer set.Close()
			done, err := set.Submit(answers, g.answers, out, g.partial)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.Out, "%s: %d answers of split %s, %s\n", out, done.Written, done.Split, set.Benchmark.Upload)
			if done.Missing > 0 || done.Dropped > 0 || done.Torn {
				fmt.Fprintf(p.Err, "%d questions have no answer, %d answers are left out\n", done.Missing, done.Dropped)
			}
			if done.Changed > 0 {
				fmt.Fprintf(p.Err, "%d answers have tabs or line breaks, which became spaces: the form has no room "+
					"for them\n",
					done.Changed)
			}
			if done.Unneeded {
				fmt.Fprintf(p.Err, "the labels are here too: `llavatrain benchmark score %s` gives the figure\n",
					args[0])
			}
			return nil
		},
	}
	g.flags(c)
	c.Flags().StringVar(&out, "out", "", "`FILE` to write, for mme a folder")
	c.MarkFlagRequired("out")
	return c
}
