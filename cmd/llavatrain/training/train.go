package training

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/ranks"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train"
)

// NewPretrain returns the command pretrain.
func NewPretrain(p *program.Program) *cobra.Command {
	return newStage(p, recipes.StagePretrain, "Train the projector: the recipe's pretrain section")
}

// NewFinetune returns the command finetune.
func NewFinetune(p *program.Program) *cobra.Command {
	return newStage(p, recipes.StageFinetune, "Tune on instruction data: the recipe's finetune section")
}

// newest is the value of --resume without a checkpoint.
const newest = "newest"

// isCheckpoint says whether an argument that should be a recipe is a folder, or is named as a checkpoint.
func isCheckpoint(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir() || err != nil && strings.HasPrefix(filepath.Base(path), "step-")
}

// runStage runs a stage as one of the processes that a launcher has started, or alone. A recipe that this one could not
// load (failed) ends all.
func runStage(ctx context.Context, p *program.Program, r *recipes.Recipe, failed error, o train.Options) error {
	place, err := ranks.Find(os.Getenv)
	if err != nil {
		return err
	}
	if place.World > 1 {
		if o.Group, err = join(p, place, r, failed, o); err != nil {
			return err
		}
	}
	if failed != nil {
		return end(o.Group, failed)
	}
	terminal := program.NewTerminal(p.Err)
	defer terminal.Close()
	o.Report = terminal
	ctx, done := p.Interruptible(ctx)
	defer done()
	return end(o.Group, train.Run(ctx, r, o))
}

// newStage returns one of the two training commands. They differ in the section that they run.
func newStage(p *program.Program, stage, short string) *cobra.Command {
	var set, accept []string
	var resume, runs string
	o := train.Options{Stage: stage}
	c := &cobra.Command{
		Use:   stage + " [RECIPE]",
		Short: short,
		Long: short +
			".\n\nRECIPE is a YAML file; without one, recipe.yaml in the current folder. `llavatrain init` writes " +
			"shipped ones.",
		Args: func(c *cobra.Command, args []string) error {
			if last := len(args) - 1; resume == newest && last >= 0 && isCheckpoint(args[last]) {
				return failure.Inputf("--resume takes a checkpoint behind an equals sign: --resume=%s", args[last])
			}
			return cobra.MaximumNArgs(1)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if o.StopAt < 0 {
				return failure.Inputf("--stop-at %d: steps count from 1", o.StopAt)
			}
			o.Resume = resume != ""
			if resume != newest {
				o.From = resume
			}
			o.Accept = accept
			r, err := program.LoadRecipe(args, set)
			if err == nil && runs != "" {
				r.Runs, err = filepath.Abs(runs)
			}
			return runStage(c.Context(), p, r, err, o)
		},
	}
	f := c.Flags()
	f.StringVar(&resume, "resume", "",
		"continue from the newest good checkpoint, or from `CHECKPOINT` (--resume=CHECKPOINT)")
	f.Lookup("resume").NoOptDefVal = newest
	f.BoolVar(&o.Overwrite, "overwrite", false, "start over; the existing run is kept as FOLDER.old-1")
	f.StringArrayVar(&set, "set", nil, "change a recipe key, such as `pretrain.batch.global=64` (may be repeated)")
	f.IntVar(&o.StopAt, "stop-at", 0, "save and stop after step `N`; the schedule does not change")
	f.BoolVar(&o.Profile, "profile", false,
		"profile steps 3 to 5 of this process; results go to profile/ in the run folder")
	f.StringVar(&runs, "runs", "", "parent `FOLDER` of run folders, instead of the recipe's")
	f.StringArrayVar(&accept, "accept", nil,
		"on resume, let this `KEY` differ from the checkpoint's (may be repeated); "+
			"model.projector.weights: take a projector of another language model or tower")
	c.MarkFlagsMutuallyExclusive("resume", "overwrite")
	return c
}
