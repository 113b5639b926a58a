package program

import (
	"errors"
	"os"
	"strings"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// LoadRecipe reads the recipe given on the command line, which must train something, and applies --set.
func LoadRecipe(args, set []string) (*recipes.Recipe, error) {
	r, err := LoadAnyRecipe(args, set)
	if err != nil {
		return nil, err
	}
	if r.Pretrain == nil && r.Finetune == nil {
		_, err = r.Stage(recipes.StagePretrain) // says so
	}
	return r, err
}

// LoadAnyRecipe is LoadRecipe for a recipe that may be for data alone.
func LoadAnyRecipe(args, set []string) (*recipes.Recipe, error) {
	path, err := recipePath(args)
	if err != nil {
		return nil, err
	}
	return recipes.Load(path, set)
}

func recipePath(args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	if _, err := os.Stat("recipe.yaml"); errors.Is(err, os.ErrNotExist) {
		return "",
			failure.Inputf("no RECIPE given and no recipe.yaml in this folder; `llavatrain init NAME` writes a "+
				"shipped recipe: %s",
				strings.Join(recipes.Names(), ", "))
	}
	return "recipe.yaml", nil
}
