package looking

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/train"
)

// NewBench returns the command bench.
func NewBench(p *program.Program) *cobra.Command {
	var b train.Bench
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time training steps of a model of a named shape with random weights; prints JSON",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			terminal := program.NewTerminal(p.Err)
			defer terminal.Close()
			b.Report = terminal
			result, err := b.Run()
			if err != nil {
				return err
			}
			return json.NewEncoder(p.Out).Encode(result)
		},
	}
	f := c.Flags()
	f.StringVar(&b.Shape, "shape", "tiny", "`NAME` of the model's shape: tiny, small, 0.5b, 7b, 13b")
	f.IntVar(&b.Stage, "stage", 2, "1: the projector trains; 2: the projector and the language model")
	f.StringVar(&b.Projector, "projector", "mlp2x_gelu", "`TYPE` of the projector, with its default settings")
	f.BoolVar(&b.Tiles, "tiles", false, "images of several sizes, cut into up to five tiles as by LLaVA-1.6")
	f.IntVar(&b.Batch, "batch", 8, "samples in a micro-batch")
	f.IntVar(&b.Accum, "accum", 1, "micro-batches in a step")
	f.IntVar(&b.Steps, "steps", 10, "steps to time")
	f.IntVar(&b.Warmup, "warmup", 2, "untimed steps before those")
	f.IntVar(&b.Threads, "threads", 0, "threads of the engine; 0 for one per core")
	f.StringVar(&b.Device, "device", "auto", "auto, cpu or cuda")
	f.StringVar(&b.Dtype, "dtype", "auto", "auto, fp32 or bf16")
	f.StringVar(&b.Profile, "profile", "",
		"`FOLDER` for a profile of the same steps, run once more: operations, a trace, Go functions")
	f.StringVar(&b.Rows, "rows", "",
		"`FILE` of row lengths, as a list of {\"image\": true, \"turns\": [[question, answer], …]}; generated "+
			"without it")
	return c
}
