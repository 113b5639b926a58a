package benchmarking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/judge"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat"
)

// judging are the flags of judge.
type judging struct {
	given
	requests, replies string
	endpoint, name    string
	out               string
}

// keyVariable is the environment variable of an endpoint's key.
const keyVariable = "OPENAI_API_KEY"

func newJudge(p *program.Program) *cobra.Command {
	var j judging
	c := &cobra.Command{
		Use:   "judge NAME --data FOLDER --answers FILE {--requests FILE | --replies FILE | --endpoint URL}",
		Short: "Have a chat model score the answers to LLaVA-Bench or MM-Vet",
		Long: "Have a chat model score the answers to LLaVA-Bench or MM-Vet. --requests writes a batch file in " +
			"OpenAI's form, of which --replies reads the result; --endpoint asks any compatible server, with the " +
			"key in " + keyVariable + ", and keeps the replies in FILE.judge beside the answers: run again, it pays " +
			"for nothing twice.\n\n" +
			"The judge's instructions are read from the folder of the data: rule.json of LLaVA's repository, " +
			"mm-vet_evaluator.py of MM-Vet's.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return j.run(p, c, args[0]) },
	}
	j.flags(c)
	j.ruleFlag(c)
	f := c.Flags()
	f.StringVar(&j.requests, "requests", "", "write the requests to `FILE`, and ask nobody")
	f.StringVar(&j.replies, "replies", "", "score by the replies in `FILE`")
	f.StringVar(&j.endpoint, "endpoint", "", "ask the server at `URL`, which ends with /v1")
	f.StringVar(&j.name, "judge", "", "`MODEL` that judges; default: the one that the original asked")
	f.StringVar(&j.out, "json", "", "write the result to `FILE`, and the rows beside it")
	c.MarkFlagsOneRequired("requests", "replies", "endpoint")
	c.MarkFlagsMutuallyExclusive("requests", "replies", "endpoint")
	return c
}

func (j *judging) run(p *program.Program, c *cobra.Command, benchmark string) error {
	set, answers, err := j.open(benchmark, benchmarks.ToScore)
	if err != nil {
		return err
	}
	defer set.Close()
	if !set.Rule.Judged {
		return failure.Inputf("%s needs no judge: `llavatrain benchmark score %s`", benchmark, benchmark)
	}
	joined := set.Join(answers)
	if err := joined.Fault(j.answers); err != nil && !j.partial {
		return err
	}
	if j.replies != "" {
		read, err := judge.Read(j.replies, set, joined, j.partial)
		if err != nil {
			return err
		}
		return score(p, set, answers, j.given, read, j.out)
	}
	requests, err := judge.Make(set, joined, j.data)
	if err != nil {
		return err
	}
	j.name = cmp.Or(j.name, judge.DefaultJudge(set))
	if j.requests != "" {
		if err := judge.Write(j.requests, set, requests, j.name); err != nil {
			return err
		}
		fmt.Fprintf(p.Out, "%s: %d requests for %s\n", j.requests, len(requests), j.name)
		return nil
	}
	read, err := j.ask(p, c.Context(), set, requests)
	if err != nil {
		return err
	}
	return score(p, set, answers, j.given, read, j.out)
}

// ask asks the endpoint, after it has said what that may cost.
func (j *judging) ask(p *program.Program, ctx context.Context, set *benchmarks.Set,
	requests []judge.Request) (*judge.Replies, error) {
	prompt, completion := judge.Estimate(set, requests)
	fmt.Fprintf(p.Err, "%d requests to %s: about %s tokens, and replies of at most %s\n", len(requests), j.name,
		runs.Grouped(int64(prompt)), runs.Grouped(int64(completion)))
	terminal := program.NewTerminal(p.Err)
	defer terminal.Close()
	ctx, done := p.InterruptibleWhile(ctx, "waiting for the replies that are on their way")
	defer done()
	log.SetOutput(io.Discard) // net/http tells it what servers send unasked
	how := chat.Settings{URL: j.endpoint, Model: j.name, Say: terminal.Say}
	if os.Getenv(keyVariable) != "" {
		how.KeyEnv = keyVariable
	}
	folder := j.answers + ".judge"
	read, err := judge.Ask(ctx, folder, how, set, requests, func(n int) {
		terminal.Progress("judging", int64(n), int64(len(requests)))
	})
	if errors.Is(err, context.Canceled) {
		return nil, runs.ErrInterrupted
	}
	if err == nil {
		read.Source = files.Source{Name: folder}
	}
	return read, err
}

// tellReplies says which replies are of no use. If none is, there is no result.
func tellReplies(p *program.Program, result *benchmarks.Result, rows []benchmarks.Row, replies *judge.Replies) error {
	first := ""
	for _, row := range rows {
		if row.Unparsed && row.Fault == "" && first == "" {
			first = fmt.Sprintf("question %s: %.100q", row.ID, row.Reply)
		}
	}
	rambling := result.Unparsed - replies.Faults
	if result.Unparsed == result.Answered {
		return failure.Inputf("rule %s can read none of the %d replies (the first: %s): does this judge follow its "+
			"instructions?", result.Rule, result.Answered, cmp.Or(first, replies.Fault))
	}
	if replies.Faults > 0 {
		fmt.Fprintf(p.Err, "%d replies are none (the first: %s)\n", replies.Faults, replies.Fault)
	}
	if rambling > 0 {
		fmt.Fprintf(p.Err, "%d replies could not be read by rule %s (the first: %s)\n", rambling, result.Rule, first)
	}
	return nil
}
