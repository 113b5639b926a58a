package recipes

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// namedPath is a key whose value is a file or folder, and that value.
type namedPath struct {
	key   string
	value *string
	hub   bool // may be a Hugging Face id instead
}

// paths lists every key whose value is a file or folder.
func (r *Recipe) paths() []namedPath {
	m := &r.Model
	paths := []namedPath{
		{"runs", &r.Runs, false},
		{"model.projector.weights", &m.Projector.Weights, false},
		{"model.language.weights", &m.Language.Weights, true},
		{"model.language.base", &m.Language.Base, true},
		{"model.language.config", &m.Language.Config, false},
		{"model.language.tokenizer.path", &m.Language.Tokenizer.Path, false},
	}
	for at, v := range m.Vision.each() {
		paths = append(paths, namedPath{at + ".weights", &v.Weights, true}, namedPath{at + ".tower", &v.Tower, true},
			namedPath{at + ".config", &v.Config, false})
	}
	for _, s := range r.sections() {
		paths = append(paths, dataPaths(s.name+".data.", s.stage.Data)...)
		if s.stage.Eval != nil {
			paths = append(paths, dataPaths(s.name+".eval.data.", s.stage.Eval.Data)...)
			for i := range s.stage.Eval.Benchmarks {
				entry := s.name + ".eval.benchmarks." + strconv.Itoa(i)
				paths = append(paths, namedPath{entry + ".data", &s.stage.Eval.Benchmarks[i].Data, true})
			}
		}
	}
	if r.Synth != nil {
		paths = append(paths, synthPaths(r.Synth)...)
	}
	return paths
}

func synthPaths(s *Synth) (paths []namedPath) {
	paths = append(paths, namedPath{"synth.prompts", &s.Prompts, false})
	for i := range s.Exclude {
		paths = append(paths, namedPath{"synth.exclude." + strconv.Itoa(i), &s.Exclude[i], false})
	}
	for i := range s.Scenes {
		at, scenes := "synth.scenes."+strconv.Itoa(i), &s.Scenes[i]
		paths = append(paths,
			namedPath{at + ".captions", &scenes.Captions, false},
			namedPath{at + ".instances", &scenes.Instances, false},
			namedPath{at + ".file", &scenes.File, false},
			namedPath{at + ".regions", &scenes.Regions, false},
			namedPath{at + ".image_data", &scenes.ImageData, false},
			namedPath{at + ".images", &scenes.Images, false})
	}
	return paths
}

func dataPaths(at string, sets []Data) (paths []namedPath) {
	for i := range sets {
		entry := at + strconv.Itoa(i)
		paths = append(paths, namedPath{entry + ".path", &sets[i].Path, false},
			namedPath{entry + ".shards", &sets[i].Shards, false},
			namedPath{entry + ".images", &sets[i].Images, false})
	}
	return paths
}

// hubID matches a model id of the Hugging Face hub: owner/name.
var hubID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$`)

// absolute makes the recipe's paths absolute, relative to the folder of its file, except for hub ids: see Load.
func (r *Recipe) absolute(folder string) {
	for _, p := range r.paths() {
		if *p.value == "" {
			continue
		}
		abs := filepath.Clean(*p.value)
		if !filepath.IsAbs(abs) {
			abs = filepath.Join(folder, abs)
		}
		if p.hub && hubID.MatchString(*p.value) && !exists(abs) {
			continue
		}
		*p.value = abs
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
