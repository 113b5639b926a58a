package training

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/report"
	"github.com/llavatrain/llavatrain/runs"
)

// NewReport returns the command report.
func NewReport(p *program.Program) *cobra.Command {
	var out string
	var inTerminal bool
	c := &cobra.Command{
		Use:   "report RUN [RUN…]",
		Short: "Show the curves of a run, or compare several, in one HTML file",
		Long: "Show runs in one HTML file, which needs nothing else: loss, held-out loss, learning rate, gradient " +
			"norm, speed, memory, what happened, and the recipe. Several runs are compared with each other.\n\n" +
			"RUN is the folder of a run, or of one of its stages; the run may still train. The file is report.html " +
			"in RUN, or in this folder for several.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			list, err := report.Open(args...)
			if err != nil {
				return err
			}
			if inTerminal {
				fmt.Fprint(p.Out, program.Printable(report.Draw(list, columns(p.Out))))
				return nil
			}
			if out == "" {
				if out = runs.ReportFile; len(args) == 1 {
					out = filepath.Join(args[0], runs.ReportFile)
				}
			}
			err = checkpoints.WriteFile(out, func(w io.Writer) error { return report.Write(w, list, time.Now()) })
			if err == nil {
				fmt.Fprintln(p.Out, "wrote "+out)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&out, "out", "", "write `FILE` instead")
	f.BoolVar(&inTerminal, "terminal", false, "draw the curves in the terminal, and write no file")
	c.MarkFlagsMutuallyExclusive("out", "terminal")
	return c
}

// columns is the width of a terminal, or a usual one.
func columns(out io.Writer) int {
	if file, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			return min(width, 200)
		}
	}
	return 80
}
