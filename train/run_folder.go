package train

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// writeRecipe writes the resolved recipe. A run that goes on with another one keeps the earlier as recipe.yaml.old-N:
// recipe.yaml says how the model has been trained last, and so how it is asked.
func (t *trainer) writeRecipe(from start) error {
	resolved, err := t.resolvedRecipe()
	if err != nil {
		return err
	}
	file := filepath.Join(t.run.Dir, runs.RecipeFile)
	earlier, err := os.ReadFile(file)
	if from.dir != "" && err == nil {
		if isRecipe(file, resolved) {
			return nil
		}
		kept := freeName(file)
		if err := checkpoints.ReplaceFile(kept, earlier); err != nil {
			return fmt.Errorf("%w: %w", failure.ErrStorage, err)
		}
		t.report.Say(fmt.Sprintf("the recipe has changed: %s is now this run's, the earlier one is kept as %s", file,
			filepath.Base(kept)))
	}
	if err := checkpoints.ReplaceFile(file, resolved); err != nil { // half a recipe must not pass for a run
		return fmt.Errorf("%w: %w", failure.ErrStorage, err)
	}
	return nil
}

// resolvedRecipe is the recipe with the projector that the stage starts from, so that recipe and checkpoint together
// are complete.
func (t *trainer) resolvedRecipe() ([]byte, error) {
	projector, err := t.projectorFile()
	if err != nil {
		return nil, err
	}
	recipe := *t.recipe
	recipe.Model.Projector.Weights = projector
	return recipe.Resolved()
}

// isRecipe says whether a file holds the recipe, even if an earlier version wrote it and left out keys that it lacked.
func isRecipe(file string, resolved []byte) bool {
	recipe, err := recipes.Load(file, nil)
	if err != nil {
		return false
	}
	text, err := recipe.Resolved()
	return err == nil && bytes.Equal(text, resolved)
}

// moveAside renames the existing run folder to the first free name.
func (t *trainer) moveAside() error {
	aside := freeName(t.run.Dir)
	if err := os.Rename(t.run.Dir, aside); err != nil {
		return fmt.Errorf("%w: %w", failure.ErrStorage, err)
	}
	t.report.Say("moved the old run to " + aside)
	return nil
}

// freeName is the first of path.old-1, path.old-2 and so on that does not exist.
func freeName(path string) string {
	for i := 1; ; i++ {
		if name := fmt.Sprintf("%s.old-%d", path, i); !checkpoints.Exists(name) {
			return name
		}
	}
}
