package models

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/answer"
	"github.com/llavatrain/llavatrain/train/export"
)

// exportDtypes are the values of --dtype; by default the weights keep the dtype of the language model's files, or are
// F32 if those have several.
var exportDtypes = map[string]checkpoints.Dtype{"": "", "fp32": checkpoints.F32, "bf16": checkpoints.BF16,
	"fp16": checkpoints.F16}

// NewExport returns the command export.
func NewExport(p *program.Program) *cobra.Command {
	var c export.Conversion
	var named answer.Named
	var dtype, shards string
	command := &cobra.Command{
		Use:   "export MODEL --format FORMAT --out DIR",
		Short: "Write a model as a folder that other programs can read",
		Long: "Write a model as a folder that other programs can read. MODEL is a run folder, a checkpoint, a LLaVA " +
			"folder, or the Hugging Face id of one in the local hub cache.\n\n" +
			"Formats:\n  hf         transformers' LlavaForConditionalGeneration, with processor and tokenizer\n" +
			"  llava      the original LLaVA's format, including the vision tower\n" +
			"  projector  the projector only, for a recipe's model.projector.weights\n" +
			"  adapter    the adapters of a run with lora, as PEFT reads them",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			var known bool
			if c.Dtype, known = exportDtypes[dtype]; !known {
				return failure.NotOneOf("--dtype", dtype, slices.Sorted(maps.Keys(exportDtypes))[1:])
			}
			if c.ShardBytes, err = program.ParseSize(shards); err != nil {
				return fmt.Errorf("--shards: %w", err)
			}
			named.Path = args[0]
			where, err := named.Locate()
			if err != nil {
				return err
			}
			terminal := program.NewTerminal(p.Err)
			defer terminal.Close()
			c.Model, c.Report = where.Model, terminal
			c.Open = where.Open()
			c.Notes = where.Notes
			if err := c.Run(); err != nil {
				return fmt.Errorf("export: %w", err)
			}
			terminal.Say("wrote " + c.Out)
			return nil
		},
	}
	f := command.Flags()
	f.StringVar(&c.Format, "format", "", "hf, llava, projector or adapter")
	f.StringVar(&dtype, "dtype", "",
		"fp32, bf16 or fp16; default: that of the language model's files, or fp32 if they have several")
	f.StringVar(&shards, "shards", "5GB", "largest file of weights, a `SIZE` such as 500MB or 5GB")
	f.StringVar(&c.Out, "out", "", "`DIR` to write, which must not exist yet")
	program.NameFolders(f, &named)
	command.MarkFlagRequired("format")
	command.MarkFlagRequired("out")
	return command
}
