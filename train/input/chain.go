package input

import (
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// previousStage says which stage of the same recipe a stage goes on from.
var previousStage = map[string]string{recipes.StageFinetune: recipes.StagePretrain}

// Chained returns the recipe that a stage starts with. If the stage before it trained more than the projector, its
// whole export replaces the recipe's weights, so that nothing that was trained is lost silently. Adapters must be
// merged by the user, who may want them in another dtype. For an export of only the projector see ProjectorFile.
func Chained(r *recipes.Recipe, stage string) (*recipes.Recipe, error) {
	before, ok := previousStage[stage]
	if !ok || !hasStage(r, before) {
		return r, nil
	}
	run := runs.RunDir(r, before)
	export := filepath.Join(run, runs.ExportDir)
	if checkpoints.Exists(filepath.Join(export, model.AdapterConfig)) && r.Model.Projector.Weights == "" {
		return nil, failure.Inputf("%s trained adapters, which %s would leave out: merge them into the weights "+
			"(llavatrain merge %s --out FOLDER), name that folder in model.vision.weights, model.language.weights and "+
			"model.projector.weights, and run %s", before, stage, run, stage)
	}
	if !checkpoints.Exists(filepath.Join(export, "config.json")) {
		return r, nil
	}
	next := *r
	next.Model.Vision = next.Model.Vision.From(export)
	next.Model.Language.Weights, next.Model.Language.Config = export, ""
	return &next, nil
}

// ProjectorFile is the file that a stage's projector starts from: the recipe's, or the export of the stage before it;
// "" if the projector starts at random.
func ProjectorFile(r *recipes.Recipe, stage string) (string, error) {
	if path := r.Model.Projector.Weights; path != "" {
		return path, nil
	}
	before, ok := previousStage[stage]
	if !ok || !hasStage(r, before) {
		return "", nil
	}
	file := model.ProjectorFile(filepath.Join(runs.RunDir(r, before), runs.ExportDir))
	if !checkpoints.Exists(file) {
		return "", failure.Inputf("%s has no finished %s (no %s); run llavatrain %s first, "+
			"or name a projector in model.projector.weights", r.Name, before, file, before)
	}
	return file, nil
}

func hasStage(r *recipes.Recipe, name string) bool {
	_, err := r.Stage(name)
	return err == nil
}

// ChosenStages returns the name of the stage asked for, or for "" the names of all stages of the recipe, in order.
func ChosenStages(r *recipes.Recipe, only string) (names []string, err error) {
	if only != "" {
		if _, err := r.Stage(only); err != nil {
			return nil, err
		}
		return []string{only}, nil
	}
	for _, name := range recipes.StageNames {
		if hasStage(r, name) {
			names = append(names, name)
		}
	}
	return names, nil
}
