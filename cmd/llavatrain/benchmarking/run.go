package benchmarking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/answer"
	"github.com/llavatrain/llavatrain/train/exam"
)

// Files of a run's folder. The rows are beside the result.
const (
	answersFile = "answers.jsonl"
	resultFile  = "result.json"
)

// running are the arguments and flags of run.
type running struct {
	benchmark, data, rule, out string
	model                      answer.Named
	size                       int
	allRounds, rank            bool
	skipBad, asJSON            bool
}

func newRun(p *program.Program) *cobra.Command {
	var r running
	c := &cobra.Command{
		Use:   "run NAME MODEL --data FOLDER --out FOLDER",
		Short: "Have a model answer a benchmark's questions, and score the answers",
		Long: "Have a model answer a benchmark's questions, greedily and with the original's limit of tokens, and " +
			"score the answers. MODEL is what `generate` takes. The folder of --out gets " + answersFile + ", which " +
			"`benchmark score` reads, " + resultFile + " and result.rows.jsonl. Run again, the command asks only " +
			"what has no answer yet. Where a judge or a server gives the figures, it says which command comes next.",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			r.benchmark, r.model.Path = args[0], args[1]
			if r.size < 1 {
				return failure.Inputf("--batch-size must be at least 1")
			}
			return r.run(p, c)
		},
	}
	f := c.Flags()
	f.StringVar(&r.data, "data", "", "`FOLDER` of the benchmark's files, or the id of a set in the local hub cache")
	f.StringVar(&r.out, "out", "", "`FOLDER` for the answers and the result")
	f.StringVar(&r.rule, "rule", "", "`RULE` to ask and judge by; default: the benchmark's first (benchmark list NAME)")
	f.IntVar(&r.size, "batch-size", 8, "number of questions that are answered together")
	f.BoolVar(&r.allRounds, "all-rounds", false, "of MMBench: ask each question in all rotations of its options")
	f.BoolVar(&r.rank, "rank", false, "rank the options by their losses, in place of asking for a letter")
	f.BoolVar(&r.skipBad, "skip-bad", false, "leave out questions that cannot be asked, and score the others")
	f.BoolVar(&r.asJSON, "json", false, "print the result as JSON")
	program.NameFolders(f, &r.model)
	program.NameDtype(f, &r.model)
	c.MarkFlagRequired("data")
	c.MarkFlagRequired("out")
	c.MarkFlagsMutuallyExclusive("all-rounds", "rank") // the order of options has no part in their losses
	return c
}

func (r *running) run(p *program.Program, c *cobra.Command) error {
	set, err := benchmarks.Open(r.benchmark, r.data, r.rule, benchmarks.ToScore)
	if err != nil {
		return r.swapped(err)
	}
	defer set.Close()
	if r.allRounds {
		if err := set.AllRounds(); err != nil {
			return err
		}
	}
	if r.rank {
		if err := set.Ranked(); err != nil {
			return err
		}
	}
	terminal := program.NewTerminal(p.Err)
	defer terminal.Close()
	ctx, stop := p.InterruptibleWhile(c.Context(), "the answers that are there are kept")
	defer stop()
	if err := r.ask(ctx, set, terminal); err != nil {
		return err
	}
	terminal.Close()
	return r.finish(p, set)
}

// swapped explains an unknown benchmark that is a model, before a benchmark in the place of the model.
func (r *running) swapped(err error) error {
	if _, unknown := benchmarks.Find(r.benchmark); unknown != nil {
		if _, err := benchmarks.Find(r.model.Path); err == nil {
			return failure.Inputf("the benchmark comes before the model: `llavatrain benchmark run %s %s`",
				r.model.Path, r.benchmark)
		}
	}
	return err
}

// ask asks the questions that have no answer yet. Whatever can be wrong with files is found before weights are loaded.
func (r *running) ask(ctx context.Context, set *benchmarks.Set, terminal *program.Terminal) error {
	located, err := r.model.Locate()
	if err != nil {
		return err
	}
	under := benchmarks.Conditions{Step: located.Step, Template: located.Notes.Template,
		Image: cmp.Or(located.Notes.Aspect, "square"), MaxTokens: set.Benchmark.Limit, Temperature: new(float64)}
	if r.rank {
		under.MaxTokens, under.Temperature, under.Ranked = 0, nil, true
	}
	before, err := r.before(set)
	if err != nil {
		return err
	}
	if err := before.sameModel(r.name(), under, false); err != nil {
		return err
	}
	survey, asked := r.survey(set, before)
	all := before.n + len(asked)
	if before.n > 0 {
		terminal.Say(fmt.Sprintf("%d of %d questions are already answered in %s", before.n, all, before.path))
	}
	if len(asked) == 0 {
		return nil
	}
	if !r.skipBad {
		if err := survey.Look("--skip-bad leaves such questions out"); err != nil {
			return err
		}
	}
	log, err := r.log()
	if err != nil {
		return err
	}
	survey.Progress = func(done int) { terminal.Progress("answering", int64(before.n+done), int64(all)) }
	if r.skipBad {
		survey.Skip = func(i int, why error) error {
			terminal.Say(fmt.Sprintf("%s is left out: %v", survey.Items[i].Where, why))
			return nil
		}
	}
	write := func(i int, reply answer.Reply, under benchmarks.Conditions) error {
		q := &set.Questions[asked[i]]
		if r.rank {
			return log.Append(benchmarks.NewRanking(q, reply.Losses, reply.Tokens, r.name(), under))
		}
		return log.Append(benchmarks.NewAnswer(q, reply.Text, r.name(), under))
	}
	return errors.Join(r.answer(ctx, survey, before, under, terminal, write), log.Close())
}

// answer has the model answer the survey.
func (r *running) answer(ctx context.Context, survey *answer.Survey, before *earlier, under benchmarks.Conditions,
	terminal *program.Terminal, write func(i int, reply answer.Reply, under benchmarks.Conditions) error) error {
	a, err := answer.OpenAnswerer(r.model, terminal)
	if err != nil {
		return err
	}
	defer a.Close()
	under.Dtype = a.LLaVA.Params.Dtype().String()
	if err := before.sameModel(r.name(), under, true); err != nil {
		return err
	}
	survey.Write = func(i int, reply answer.Reply) error {
		under.Cut = reply.Cut
		return write(i, reply, under)
	}
	return survey.Run(ctx, a)
}

// survey makes a list of the questions that are to be asked, and says which of the set's each is.
func (r *running) survey(set *benchmarks.Set, before *earlier) (s *answer.Survey, asked []int) {
	s = &answer.Survey{Folder: set.PictureFolder, Size: r.size,
		How: model.Sampling{MaxTokens: set.Benchmark.Limit, TopP: 1}}
	for i := range set.Questions {
		if before.answers[i] != nil || !set.Wanted(i) {
			continue
		}
		item := exam.Item(set, i)
		if r.rank {
			item.Choices = set.Questions[i].Choices()
		}
		s.Items, asked = append(s.Items, item), append(asked, i)
	}
	return s, asked
}

// log opens the answer file for more answers.
func (r *running) log() (*checkpoints.JSONL, error) {
	if err := os.MkdirAll(r.out, 0o777); err != nil {
		return nil, failure.Storage(err)
	}
	return checkpoints.OpenJSONL(r.file(answersFile))
}

// name is the model's in answers: its path, however it was typed.
func (r *running) name() string { return filepath.Clean(r.model.Path) }

func (r *running) file(name string) string { return filepath.Join(r.out, name) }

// finish scores the answers, or says who does.
func (r *running) finish(p *program.Program, set *benchmarks.Set) error {
	path := r.file(answersFile)
	answers, err := benchmarks.ReadAnswers(path, false)
	if err != nil {
		return err
	}
	if next := r.next(set); next != "" {
		if r.asJSON {
			return program.PrintJSON(p.Out, struct {
				Benchmark string `json:"benchmark"`
				Answers   string `json:"answers"`
				Answered  int    `json:"answered"`
				Next      string `json:"next"`
			}{r.benchmark, path, len(answers.List), next})
		}
		fmt.Fprintf(p.Out, "%s: %d answers to %s, split %s; %s\n", path, len(answers.List), r.benchmark, set.Split,
			next)
		return nil
	}
	result, rows, err := set.Score(answers, path, benchmarks.ScoreOptions{Partial: r.skipBad})
	if err != nil {
		return err
	}
	if err := result.Write(r.file(resultFile), rows); err != nil {
		return err
	}
	if r.asJSON {
		return program.PrintJSON(p.Out, result)
	}
	tell(p, result)
	return nil
}

// next is what is to be done with answers that cannot be scored here, "" where they can.
func (r *running) next(set *benchmarks.Set) string {
	var does, command string
	switch {
	case set.Rule.Judged:
		does, command = "a judge scores them", "judge"
	case !set.Labelled:
		does, command = "their labels are not public, and a server takes what this writes", "submit"
	default:
		return ""
	}
	return fmt.Sprintf("%s: `llavatrain benchmark %s %s --data %s --answers %s`", does, command, r.benchmark, r.data,
		r.file(answersFile))
}
