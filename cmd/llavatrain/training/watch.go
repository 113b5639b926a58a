package training

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/report"
)

// NewWatch returns the command watch.
func NewWatch(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "watch RUN",
		Short: "Follow a run from another terminal until it ends",
		Long: "Follow a run until it ends: how far it is, how long it still takes, what it does, and its curves. " +
			"Where the output is no terminal, lines tell of steps, evaluations and checkpoints as they come.\n\n" +
			"RUN is the folder of a run, or of one of its stages. Watching only reads: Ctrl-C ends it, not the run.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			followed, err := report.Follow(args[0])
			if err != nil {
				return err
			}
			return watch(c.Context(), p, followed)
		},
	}
}

// watch looks at a run again and again until no process trains it.
func watch(ctx context.Context, p *program.Program, followed *report.Following) error {
	show := func(r *report.Run) {
		for _, line := range followed.Lines(r) {
			fmt.Fprintln(p.Out, program.Printable(line))
		}
	}
	if file, ok := p.Out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		show = func(r *report.Run) { redraw(file, r) }
	}
	waiting := false
	for {
		began := time.Now()
		r, trains, err := followed.Look()
		switch {
		case errors.Is(err, report.ErrNoSteps) && trains:
			if !waiting {
				fmt.Fprintf(p.Out, "%s: no step is finished yet\n", followed.Dir())
			}
			waiting = true
		case err != nil:
			return err
		default:
			show(r)
		}
		if !trains {
			return nil
		}
		select { // long logs take a while to read
		case <-time.After(max(time.Second, 10*time.Since(began))):
		case <-ctx.Done():
			return nil
		}
	}
}

// redraw draws a run in place of what the terminal shows.
func redraw(out *os.File, r *report.Run) {
	const home, restOfLine, restOfScreen = "\x1b[H", "\x1b[K", "\x1b[J"
	width, height, err := term.GetSize(int(out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	text := program.Printable(r.Screen(width, height, time.Now()))
	var drawn []byte
	for _, char := range []byte(text) {
		if char == '\n' {
			drawn = append(drawn, restOfLine...)
		}
		drawn = append(drawn, char)
	}
	fmt.Fprint(out, home, string(drawn), restOfScreen)
}
