package training

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/shapes"
)

// materials makes the files that a shipped recipe needs: the demo's recipes come with their data. It is nil for others.
func materials(name string) func(t *program.Terminal) error {
	switch {
	case name == "shapes-base":
		return writeShapesBase
	case name == "shapes" || strings.HasPrefix(name, "shapes-"):
		return func(t *program.Terminal) error { return writeShapes(".", 1, t) }
	}
	return nil
}

// writeShapesBase makes what the recipe shapes-base needs.
func writeShapesBase(t *program.Terminal) error {
	if err := os.MkdirAll("base", 0o777); err != nil {
		return err
	}
	if err := shapes.WriteConfigs("base"); err != nil {
		return err
	}
	return shapes.WriteBase("data", shapes.Options{Seed: 1},
		func(done, total int) { t.Progress("drawing", int64(done), int64(total)) })
}

// NewInit returns the command init.
func NewInit(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "init NAME",
		Short: "Write a shipped recipe, NAME.yaml, into the current folder",
		Long: "Write a shipped recipe, NAME.yaml, into the current folder. NAME is one of " +
			strings.Join(recipes.Names(), ", ") + ".",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := recipes.Shipped(args[0])
			if err != nil {
				return err
			}
			path := args[0] + ".yaml"
			file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
			if errors.Is(err, os.ErrExist) {
				return failure.Inputf("%s exists already; move it or edit it", path)
			}
			if err != nil {
				return failure.Storage(err)
			}
			_, err = file.Write(text)
			if err := errors.Join(err, file.Close()); err != nil {
				return failure.Storage(err)
			}
			if prepare := materials(args[0]); prepare != nil {
				if err := prepare(program.NewTerminal(p.Err)); err != nil {
					return failure.Storage(err)
				}
				fmt.Fprintf(p.Out, "wrote %s and the files it needs; now run llavatrain pretrain %s\n", path, path)
				return nil
			}
			what, next := "weights and data", "pretrain"
			if strings.HasPrefix(args[0], "synth-") {
				what, next = "annotations and endpoint", "synth"
			}
			fmt.Fprintf(p.Out, "wrote %s: set its paths to your %s, then run llavatrain %s %s\n", path, what, next,
				path)
			return nil
		},
	}
}
