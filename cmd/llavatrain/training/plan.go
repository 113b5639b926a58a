package training

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train"
)

// NewPlan returns the command plan.
func NewPlan(p *program.Program) *cobra.Command {
	var set []string
	var memory string
	var asJSON bool
	var o train.PlanOptions
	c := &cobra.Command{
		Use:   "plan [RECIPE]",
		Short: "Predict what a run needs: memory, steps, disk, hours",
		Long: "Predict what a run needs, without loading weights: parameters, memory by purpose, the " +
			"micro-batch and recomputation that\n" +
			"auto would choose, steps, disk, and hours at a given speed or at that of an earlier run of the recipe.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if memory != "" {
				var err error
				if o.DeviceMemory, err = program.ParseSize(memory); err != nil {
					return fmt.Errorf("--device-memory: %w", err)
				}
			}
			if o.Processes < 0 {
				return failure.Inputf("--gpus %d: a run has at least one process", o.Processes)
			}
			if o.TokensPerS < 0 {
				return failure.Inputf("--tokens-per-s %g: it must be above 0", o.TokensPerS)
			}
			r, err := program.LoadRecipe(args, set)
			if err != nil {
				return err
			}
			terminal := program.NewTerminal(p.Err)
			o.Report = terminal
			plans, err := train.MakePlan(r, o)
			terminal.Close()
			if err != nil {
				return err
			}
			if asJSON {
				return program.PrintJSON(p.Out, plans)
			}
			for _, planned := range plans {
				printPlan(p.Out, planned)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Stage, "stage", "", "plan only stage `NAME`: pretrain or finetune")
	f.StringVar(&memory, "device-memory", "",
		"plan for a GPU with memory of this `SIZE`, such as 80GB or 79GiB, instead of this machine's device")
	f.IntVar(&o.Processes, "gpus", 0, "plan for `N` processes that train together, one on each GPU")
	f.Float64Var(&o.TokensPerS, "tokens-per-s", 0,
		"positions per second, for the hours; default: the speed of an earlier run")
	f.BoolVar(&asJSON, "json", false, "print the plan as JSON")
	f.StringArrayVar(&set, "set", nil, "change a recipe key, such as `finetune.batch.micro=4` (may be repeated)")
	return c
}

func printPlan(out io.Writer, p train.Planned) {
	fmt.Fprintf(out, "%s, %s%s\n", p.Stage, p.Dtype, processesText(p))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tparameters\ttrained\tfrozen\t")
	for _, part := range p.Parts {
		fmt.Fprintf(w, "\t%s\t%d\t%d\t\n", part.Part, part.Trained, part.Frozen)
	}
	w.Flush()
	printModes(out, p)
	fmt.Fprintf(out, "  %s%s: %s in %s\n", microText(p), train.SavingText(p.Recompute, p.Moments), p.Why,
		gigabytes(p.DeviceMemory))
	fmt.Fprintln(w, "\tmemory\t\t")
	for _, item := range p.Memory {
		fmt.Fprintf(w, "\t%s\t%s\t\n", item.Name, gigabytes(item.Bytes))
	}
	fmt.Fprintf(w, "\ttotal, at most\t%s\t\n", gigabytes(p.MemoryTotal))
	if p.SampledPeak > 0 {
		fmt.Fprintf(w, "\twith the rows of the first steps\t%s\t\n", gigabytes(p.SampledPeak))
	}
	w.Flush()
	if p.Steps > 0 {
		fmt.Fprintf(out, "  %d steps of about %.0f positions, %.3g in all\n", p.Steps, p.StepTokens,
			float64(p.Steps)*p.StepTokens)
	}
	fmt.Fprintf(out, "  disk: %s for checkpoints, %s for the export\n", gigabytes(p.Checkpoints), gigabytes(p.Export))
	switch {
	case p.Hours > 0 && p.Measured:
		fmt.Fprintf(out, "  %.2f hours at %.0f positions per second, the speed of the existing run\n", p.Hours,
			p.TokensPerS)
	case p.Hours > 0:
		fmt.Fprintf(out, "  %.2f hours at %.0f positions per second\n", p.Hours, p.TokensPerS)
	default:
		fmt.Fprintln(out, "  hours: give --tokens-per-s, or plan again after some steps of a run")
	}
	for _, note := range p.Notes {
		fmt.Fprintf(out, "  note   %s\n", note)
	}
}

// printModes has a line for each value of zero, of several processes.
func printModes(out io.Writer, p train.Planned) {
	if len(p.Modes) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  zero\tat most\tmicro-batch\trecompute\tmoments\t")
	for _, mode := range p.Modes {
		micro, fits := fmt.Sprint(mode.Micro), ""
		if mode.Micro == 0 {
			micro = fmt.Sprintf("%d positions", p.Tokens)
		}
		if !mode.Fits {
			fits = "  does not fit"
		}
		if mode.Zero == p.Zero {
			fits += "  (this plan)"
		}
		fmt.Fprintf(w, "  %d\t%s\t%s\t%s\t%s\t%s\n", mode.Zero, gigabytes(mode.MemoryTotal), micro, mode.Recompute,
			mode.Moments, strings.TrimSpace(fits))
	}
	w.Flush()
}

// processesText says how many processes train; "" for one alone.
func processesText(p train.Planned) string {
	if p.Processes < 2 {
		return ""
	}
	return fmt.Sprintf(", each of %d processes, zero %d", p.Processes, p.Zero)
}

func microText(p train.Planned) string {
	if p.Tokens > 0 {
		return fmt.Sprintf("micro-batches of up to %d positions", p.Tokens)
	}
	return fmt.Sprintf("micro-batches of %d", p.Micro)
}

func gigabytes(bytes int64) string { return fmt.Sprintf("%.3f GB", float64(bytes)/1e9) }
