package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/train"
)

func newMerge(p *program) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "merge MODEL --out DIR",
		Short: "Add trained adapters (LoRA) to their weights and write the whole model",
		Long: "Add trained adapters (LoRA) to their weights and write the whole model. MODEL is a run folder, a checkpoint or an exported folder of a run with lora.\n\n" +
			"The logits of a fixed prompt are compared before and after; nothing is written when they differ by more than rounding.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			where, err := locate(args[0])
			if err != nil {
				return err
			}
			terminal := newTerminal(p.err)
			defer terminal.close()
			m := train.Merging{Model: where.model, Open: where.open(), Notes: model.ExportNotes{Aspect: where.aspect, Template: where.template}, Out: out, Report: terminal}
			if m.Device, m.Dtype, err = train.Placement("auto", where.dtype); err != nil {
				return err
			}
			if err := m.Run(); err != nil {
				return fmt.Errorf("merge: %w", err)
			}
			terminal.Say("wrote " + out)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "`DIR` to write, which must not exist yet")
	c.MarkFlagRequired("out")
	return c
}
