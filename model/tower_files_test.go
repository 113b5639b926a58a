package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/recipes"
)

var llavaExport = func() ExportOptions {
	o := tinyExport
	o.Format = "llava"
	return o
}()

// A whole LLaVA holds both towers with all their layers, and is read back as the same model, as a start of training
// too.
func TestAWholeFolderWithTwoTowersReadsBack(t *testing.T) {
	for name, c := range joinedGoldens {
		t.Run(name, func(t *testing.T) {
			r := tinyRecipe(t, tinyLanguage, tinyVision)
			r.Vision, r.Language.MaxLength = joinedVision(name), defaultLength
			dir, config := exportTo(t, r, llavaExport)
			want := map[string]any{"mm_hidden_size": float64(c.want.HiddenSize), "mm_vision_select_feature": "patch",
				"mm_vision_select_layer": []any{float64(c.layers[0]), float64(c.layers[1])},
				"mm_vision_image_size":   []any{float64(c.sides[0]), float64(c.sides[1])},
				"mm_vision_tower":        []any{r.Vision.Weights, r.Vision.Second.Weights}}
			for key, value := range want {
				if diff := cmp.Diff(value, config[key]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", key, diff)
				}
			}
			again, _, err := ReadLLaVA(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			source := openModel(t, r, OpenOptions{Seed: 1, Normalization: joinedTable(name)})
			named := r // as a recipe names the folder
			named.Vision, named.Language = r.Vision.From(dir), recipes.Language{Weights: dir}
			for _, read := range []recipes.Model{again, named} {
				m := openModel(t, read, OpenOptions{Seed: 9, Normalization: joinedTable(name)})
				if diff := cmp.Diff(values(t, source), values(t, m)); diff != "" {
					t.Error(diff)
				}
				if shape := m.Tower.Describe(); !equalShapes(shape, c.want) {
					t.Errorf("described as %+v", shape)
				}
			}
			twice, configAgain := exportTo(t, again, llavaExport)
			if diff := cmp.Diff(names(t, dir), names(t, twice)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(config, configAgain); diff != "" {
				t.Error(diff)
			}
			for tower, layer := range []string{"encoder.layers.2.", "encoder.layer.2."} { // behind the selected ones
				if !slices.ContainsFunc(names(t, dir), func(name string) bool {
					return strings.HasPrefix(name, towerPrefix(tower)+layer)
				}) {
					t.Errorf("the last layer of tower %d is missing", tower)
				}
			}
		})
	}
}

// twoCLIPs is a folder with two towers of one architecture and different values, and the model in it.
func twoCLIPs(t *testing.T) (dir string, m *LLaVA) {
	t.Helper()
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	second := r.Vision
	second.Config = writeConfig(t, t.TempDir(), tinyVision.with(object{"image_size": 6, "patch_size": 3}))
	r.Vision.Second = &second
	dir, _ = exportTo(t, r, llavaExport)
	return dir, openModel(t, r, OpenOptions{Seed: 1, Normalization: append(clipTable(), clipTable()...)})
}

// An entry of a list takes the tower of its place from a folder that has two.
func TestATowerIsTheOneOfItsPlace(t *testing.T) {
	dir, source := twoCLIPs(t)
	one := tinyFolders(t, openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 7}))
	wholeOne, _ := exportTo(t, one, llavaExport)
	entry := func(weights string) recipes.Vision {
		return recipes.Vision{Weights: weights, SelectLayer: -2, SelectFeature: "patch"}
	}
	for name, c := range map[string]struct {
		first, second string
		from          [2]bool // whether the tower is that of dir; else the one of wholeOne
	}{
		"both":                        {dir, dir, [2]bool{true, true}},
		"the first":                   {dir, wholeOne, [2]bool{true, false}},
		"the second":                  {wholeOne, dir, [2]bool{false, true}},
		"the tower of one, alone":     {dir, one.Vision.Weights, [2]bool{true, false}},
		"twice that of another LLaVA": {wholeOne, wholeOne, [2]bool{}},
	} {
		r := one
		second := entry(c.second)
		r.Vision, r.Projector.Weights = entry(c.first), ""
		r.Vision.Second = &second
		m := openModel(t, r, OpenOptions{Normalization: append(clipTable(), clipTable()...)})
		other := values(t, openModel(t, one, OpenOptions{}))
		for key, got := range values(t, m) {
			prefix, tower := visionPrefix, 0
			if isSecond(key) {
				prefix, tower = secondPrefix, 1
			}
			rest, isTower := strings.CutPrefix(key, prefix)
			want := other[visionPrefix+rest]
			if c.from[tower] {
				want = values(t, source)[key]
			}
			if isTower && !slices.Equal(got, want) {
				t.Errorf("%s: %s differs", name, key)
			}
		}
	}
}

func TestTowersThatDoNotFit(t *testing.T) {
	dir, _ := twoCLIPs(t)
	patch := func(v recipes.Vision) recipes.Vision { v.SelectLayer, v.SelectFeature = -2, "patch"; return v }
	clip := func(side int) recipes.Vision {
		return patch(recipes.Vision{Config: writeConfig(t, t.TempDir(), tinyVision.with(object{"image_size": side}))})
	}
	dino := patch(recipes.Vision{Weights: openGolden(t, "dinov2").dir})
	for name, c := range map[string]struct {
		first, second recipes.Vision
		want          []string
	}{
		"the second can be set": {clip(6), dino, []string{"model.vision: the first tower makes 3x3 patches of an " +
			"image (6 pixels a side, patches of 2), the second 5x5 (20 pixels, patches of 4)",
			"set model.vision.1.image_size to 12"}},
		"the first can be set": {dino, clip(6), []string{"set model.vision.0.image_size to 12"}},
		"neither can":          {clip(4), clip(6), []string{"take towers with equal grids, or a DINOv2"}},
		"a size that is no multiple": {clip(4), func() recipes.Vision {
			v := dino
			v.ImageSize = 9
			return v
		}(), []string{"model.vision.1: ", "set model.vision.1.image_size to 8 or 12"}},
		"a class token": {func() recipes.Vision {
			v := clip(4)
			v.SelectFeature = "cls_patch"
			return v
		}(), clip(4), []string{"model.vision.0: select_feature cls_patch", "joined row by row"}},
		"files that are missing": {clip(4), patch(recipes.Vision{Weights: writeFolder(t, tinyVision, nil)}),
			[]string{"missing: ", "no tensor of the vision has the expected name"}},
	} {
		r := tinyRecipe(t, tinyLanguage, tinyVision)
		r.Vision = c.first
		r.Vision.Second = &c.second
		message := openFails(t, r, OpenOptions{Normalization: append(clipTable(), clipTable()...)})
		for _, want := range c.want {
			if !strings.Contains(message, want) {
				t.Errorf("%s: %q, want %q", name, message, want)
			}
		}
	}
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	r.Vision = patch(recipes.Vision{Weights: dir})
	if message := openFails(t, r, OpenOptions{}); !strings.Contains(message,
		`model.vision.weights: "`+dir+`" has two towers: name it for both`) {
		t.Errorf("one of two: %q", message)
	}
}

// A configuration that lists something else than two towers is refused with the key.
func TestBadListsOfTowers(t *testing.T) {
	dir, _ := twoCLIPs(t)
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config object
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	for key, values := range map[string][]any{
		"mm_vision_select_layer": {[]int{}, []int{-2}, []int{-2, -2, -2}, []any{-2, nil}, []any{-2, "x"},
			[]any{nil, -2}},
		"mm_vision_tower":      {"a/b", []string{"a/b"}, 3},
		"vision_config":        {object{}, []object{{}, {}, {}}},
		"mm_vision_image_size": {4, []int{4}},
	} {
		for _, value := range values {
			writeConfig(t, dir, config.with(object{key: value}))
			if m, _, err := ReadLLaVA(dir, ""); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("%s %v: %v, %+v", key, value, err, m.Vision)
			}
		}
	}
	writeConfig(t, dir, config.with(object{"mm_vision_select_feature": "cls_patch"}))
	m, _, err := ReadLLaVA(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if message := openFails(t, m, OpenOptions{}); !strings.Contains(message, "a class token is a row") {
		t.Errorf("class tokens: %q", message)
	}
}

// The size of a DINOv2's images does not stay in the export of a model that has another tower.
func TestTheSizeOfAnotherTowerIsNotExported(t *testing.T) {
	dir, _ := twoCLIPs(t)
	r := tinyFolders(t, openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{}))
	r.Language = recipes.Language{Weights: dir}
	_, config := exportTo(t, r, llavaExport)
	if size, has := config["mm_vision_image_size"]; has {
		t.Errorf("mm_vision_image_size %v", size)
	}
}

// The fields of both towers are compared on resume.
func TestSettingsOfTwoTowers(t *testing.T) {
	m, err := Rehearse(func() recipes.Model {
		r := tinyRecipe(t, tinyLanguage, tinyVision)
		r.Vision = joinedVision("siglip_dinov2")
		return r
	}(), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	for key, want := range map[string]string{"vision.0.hidden_size": "16", "vision.1.hidden_size": "12",
		"vision.1.layerscale_value": "1", "vision.hidden_size": ""} {
		if m.Settings[key] != want {
			t.Errorf("%s is %q, want %q", key, m.Settings[key], want)
		}
	}
}
