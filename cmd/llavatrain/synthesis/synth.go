// Package synthesis holds the commands that make training data.
package synthesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth"
	"github.com/llavatrain/llavatrain/synth/chat"
)

// synthOptions are the flags of synth.
type synthOptions struct {
	set       []string
	limit     int
	dryRun    bool
	unchecked bool
	batchOut  string
	batchIn   []string
}

// NewSynth returns the command synth and those below it.
func NewSynth(p *program.Program) *cobra.Command {
	var o synthOptions
	c := &cobra.Command{
		Use:   "synth [RECIPE]",
		Short: "Let a chat model write instruction data from captions and boxes",
		Long: "Let a chat model that reads text only write conversations, descriptions and reasoning about images, " +
			"from their captions and boxes, as LLaVA's makers did. The recipe's section synth says what, by which " +
			"endpoint, and for how much.\n\n" +
			"Every answer is kept as soon as it arrives. Run again, it goes on where it was and pays for nothing " +
			"twice, whatever stopped it. The rows are in RUNS/NAME/synth/rows.json, with a report beside them.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return o.run(p, c, args) },
	}
	f := c.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be asked and what it costs; send and write nothing")
	f.IntVar(&o.limit, "limit", 0, "make `N` rows in place of the recipe's number, of all kinds together")
	f.BoolVar(&o.unchecked, "yes", false, "go on even if the first ten answers of a kind are of no use")
	f.StringVar(&o.batchOut, "batch-out", "", "write the open requests into batch files in `FOLDER`, and send nothing")
	f.StringArrayVar(&o.batchIn, "batch-in", nil, "read a batch's output or error `FILE` (may be repeated); send "+
		"nothing")
	f.StringArrayVar(&o.set, "set", nil, "change a recipe key (may be repeated)")
	c.MarkFlagsMutuallyExclusive("dry-run", "batch-out", "batch-in")
	c.AddCommand(newBuild(p), newPrompts(p), newCaptions(p), newConvert(p))
	return c
}

func (o *synthOptions) run(p *program.Program, c *cobra.Command, args []string) error {
	if o.limit < 0 {
		return failure.Inputf("--limit must be at least 1")
	}
	recipe, err := program.LoadAnyRecipe(args, o.set)
	if err != nil {
		return err
	}
	terminal := program.NewTerminal(p.Err)
	defer terminal.Close()
	ctx, done := p.InterruptibleWhile(c.Context(), "waiting for the answers that are on their way")
	defer done()
	log.SetOutput(io.Discard) // net/http tells it what servers send unasked
	run, err := synth.Read(ctx, recipe, o.limit, &shown{Terminal: terminal})
	if err != nil {
		return interrupted(err)
	}
	defer run.Close()
	if o.dryRun {
		client, err := chat.Look(run.Folder, run.Settings(nil))
		if err != nil {
			return err
		}
		return errors.Join(run.DryRun(p.Out, client), client.Close())
	}
	client, err := chat.Open(run.Folder, run.Settings(terminal.Say))
	if err != nil {
		return err
	}
	err = o.make(ctx, p, run, client, terminal)
	return errors.Join(err, client.Close())
}

// make gets the answers, and then makes the rows from whatever is there, also if something stopped it.
func (o *synthOptions) make(ctx context.Context, p *program.Program, run *synth.Run, client *chat.Client,
	terminal *program.Terminal) error {
	view := &shown{Terminal: terminal, began: time.Now()}
	var err error
	switch {
	case len(o.batchIn) > 0:
		var found chat.BatchResult
		found, err = client.BatchIn(o.batchIn...)
		terminal.Say(fmt.Sprintf("%d answers read; %d faults and %d expired lines, whose requests are open again; %d "+
			"read before, %d of unknown requests, %d damaged", found.Answers, found.Faults, found.Expired,
			found.Repeated,
			found.Unknown, found.Damaged))
	case o.batchOut != "":
		var files []string
		files, err = run.WriteBatches(client, o.batchOut, view)
		for _, file := range files {
			fmt.Fprintln(p.Out, file)
		}
		terminal.Say(fmt.Sprintf("%d files; about %s tokens wait in batch files for --batch-in", len(files),
			runs.Grouped(client.Summary().Waiting.Total())))
		return err
	default:
		err = run.Make(ctx, client, o.unchecked, view)
	}
	terminal.Close()
	if err = interrupted(err); failure.IsStorage(err) || err != nil && client.Summary().Answers == 0 {
		return err
	}
	return errors.Join(err, build(p, run, client))
}

// interrupted is the error of a command that a signal ended in place of the context's.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return runs.ErrInterrupted
	}
	return err
}

// build makes the files and says what is in them.
func build(p *program.Program, run *synth.Run, client *chat.Client) error {
	s, err := run.Build(client)
	if err != nil {
		return err
	}
	rows, target := 0, 0
	for _, k := range s.Kinds {
		rows, target = rows+k.Rows, target+k.Target
	}
	fmt.Fprintf(p.Out, "%s of %s rows: %s\n", runs.Grouped(int64(rows)), runs.Grouped(int64(target)),
		run.Path(synth.RowsFile))
	fmt.Fprintf(p.Out, "for training: images: %s\n", s.Images)
	fmt.Fprintf(p.Out, "%s\n", spent(s))
	fmt.Fprintf(p.Out, "report: %s\n", run.Path(synth.ReportFile))
	return nil
}

// spent is what the answers cost, in words.
func spent(s *synth.Summary) string {
	text := runs.Grouped(s.Spent.Total()) + " tokens"
	if s.Spent.Money > 0 {
		text += fmt.Sprintf(", %.2f in money", s.Spent.Money)
	}
	if maybe := s.Maybe; maybe.Total() > 0 {
		text += fmt.Sprintf("; maybe %s more for faults", runs.Grouped(maybe.Total()))
		if s.Lost > 0 {
			text += fmt.Sprintf(" and %d requests that were lost", s.Lost)
		}
	}
	if s.Waiting.Total() > 0 {
		text += fmt.Sprintf("; about %s for requests in batch files, whose results --batch-in reads",
			runs.Grouped(s.Waiting.Total()))
	}
	return text
}

// shown shows a run on a terminal.
type shown struct {
	*program.Terminal
	began time.Time
}

// Progress implements synth.Observer.
func (v *shown) Progress(s synth.State) {
	text := s.String()
	if s.Spent.Money > 0 && s.Rows > 0 {
		text = fmt.Sprintf("cost %.2f, at the end %.2f, ", s.Spent.Money,
			s.Spent.Money*float64(s.Target)/float64(s.Rows)) + text
	}
	v.Terminal.Status("synth", text, int64(s.Rows), int64(s.Target))
}
