package datasets

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

// NewShard returns the command shard.
func NewShard(p *program.Program) *cobra.Command {
	var size string
	var set []string
	var o input.ShardOptions
	c := &cobra.Command{
		Use:   "shard [RECIPE] --out FOLDER",
		Short: "Write a stage's data into shards, which take one read per row",
		Long: "Write a stage's data into shards: its rows and images in a few large files, which training reads " +
			"with one read per row.\n" +
			"With --pixels the images are stored as the vision tower takes them, so training decodes nothing.\n\n" +
			"Stopped and started again, it keeps the shards that are whole.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.Bytes, err = program.ParseSize(size); err != nil {
				return fmt.Errorf("--size: %w", err)
			}
			r, err := program.LoadRecipe(args, set)
			if err != nil {
				return err
			}
			if o.Stage == "" {
				if o.Stage, err = onlyStage(r); err != nil {
					return err
				}
			}
			if o.Dir, err = filepath.Abs(o.Dir); err != nil {
				return err
			}
			terminal := program.NewTerminal(p.Err)
			defer terminal.Close()
			o.Report = terminal
			ctx, done := p.Interruptible(c.Context())
			defer done()
			return input.Shard(ctx, r, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Dir, "out", "", "`FOLDER` of the shards")
	f.StringVar(&o.Stage, "stage", "",
		"`STAGE` whose data is written: pretrain or finetune; needed if the recipe has both")
	f.BoolVar(&o.Pixels, "pixels", false, "store images as the recipe's vision tower takes them")
	f.StringVar(&size, "size", "512MB", "approximate `SIZE` of a shard")
	f.StringArrayVar(&set, "set", nil, "change a recipe key (may be repeated)")
	c.MarkFlagRequired("out")
	return c
}

// onlyStage returns the only section of a recipe.
func onlyStage(r *recipes.Recipe) (string, error) {
	switch {
	case r.Pretrain == nil:
		return recipes.StageFinetune, nil
	case r.Finetune == nil:
		return recipes.StagePretrain, nil
	}
	return "", failure.Inputf("recipe %q has both stages: give --stage pretrain or --stage finetune", r.Path)
}
