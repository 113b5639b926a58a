package models

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/train/answer"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/export"
)

// NewMerge returns the command merge.
func NewMerge(p *program.Program) *cobra.Command {
	var out string
	var named answer.Named
	c := &cobra.Command{
		Use:   "merge MODEL --out DIR",
		Short: "Add trained adapters (LoRA) to their weights and write the whole model",
		Long: "Add trained adapters (LoRA) to their weights and write the whole model. MODEL is a run folder, a " +
			"checkpoint or an exported folder of a run with lora adapters, or a folder of adapters of PEFT or of the " +
			"original LLaVA.\n\n" +
			"The logits of a fixed prompt are compared before and after; nothing is written if they differ by more " +
			"than rounding.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			named.Path = args[0]
			where, err := named.Locate()
			if err != nil {
				return err
			}
			terminal := program.NewTerminal(p.Err)
			defer terminal.Close()
			m := export.Merging{Model: where.Model, Open: where.Open(), Notes: where.Notes, Out: out, Report: terminal}
			if m.Device, m.Dtype, err = device.Placement("auto", where.Dtype); err != nil {
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
	program.NameFolders(c.Flags(), &named)
	c.MarkFlagRequired("out")
	return c
}
