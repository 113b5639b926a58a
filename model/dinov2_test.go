package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// dinov2Goldens are the recorded towers: the side of their images, and what they have.
var dinov2Goldens = map[string]struct {
	size      int
	patches   int64
	registers int64
	inner     int64
}{
	"dinov2":                        {20, 25, 0, 32},
	"dinov2_swiglu":                 {28, 49, 0, 36},
	"dinov2_smaller":                {12, 9, 0, 48},
	"dinov2_with_registers":         {20, 25, 3, 32},
	"dinov2_with_registers_smaller": {12, 9, 2, 32},
	"dinov2_with_registers_larger":  {28, 49, 2, 36},
}

// tower opens the recorded tower beside a random language model.
func (g golden) tower(t *testing.T, v recipes.Vision) *LLaVA {
	t.Helper()
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	r.Vision = v
	r.Vision.Weights = g.dir
	return openModel(t, r, OpenOptions{Trains: func(part, _ string) bool { return part == recipes.PartVision }})
}

// features are the rows of a recorded hidden state [2,1+R+P,16] that the selected feature keeps.
func features(state []float32, rows, registers int64, feature string) (kept []float32) {
	const width = 16
	for picture := range slices.Chunk(state, int(rows*width)) {
		if feature == "cls_patch" {
			kept = append(kept, picture[:width]...)
		}
		kept = append(kept, picture[(1+registers)*width:]...)
	}
	return kept
}

func TestDINOv2MatchesTransformers(t *testing.T) {
	for name, c := range dinov2Goldens {
		g := openGolden(t, name)
		recorded, rows := g.floats(t, "hidden_states"), 1+c.registers+c.patches // [4,2,1+R+P,16]
		size := 2 * int(rows) * 16
		for layer, state := range map[int]int{-4: 0, 0: 0, 1: 1, -2: 2, -1: 3, 3: 3} {
			for _, feature := range []string{"patch", "cls_patch"} {
				m := g.tower(t, recipes.Vision{SelectLayer: layer, SelectFeature: feature, ImageSize: c.size})
				do(t, func(s *torch.Scope) {
					x := m.Tower.Forward(s, g.pixels(t, s), nn.DropoutKeys{})
					within(t, fmt.Sprintf("%s, layer %d, %s", name, layer, feature), torch.Read[float32](x),
						features(recorded[state*size:][:size], rows, c.registers, feature), familyTolerance.states)
				})
				want := TowerShape{HiddenSize: 16, ImageSize: int64(c.size), PatchSize: 4, Tokens: c.patches,
					Rows: rows, Layers: int64(state), IntermediateSize: c.inner, LayerScales: 2, Processor: "dinov2",
					Resizes: true}
				if feature == "cls_patch" {
					want.Tokens++
				}
				if shape := m.Tower.Describe(); shape != want {
					t.Errorf("%s described as %+v, want %+v", name, shape, want)
				}
			}
		}
	}
}

// The gradients are those of all rows; the features leave out the class token's and the registers'.
func TestGradientsOfDINOv2MatchTransformers(t *testing.T) {
	for name, c := range dinov2Goldens {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			m := g.tower(t, recipes.Vision{SelectLayer: -2, SelectFeature: "patch", ImageSize: c.size})
			tower := m.Tower.(*dinov2)
			do(t, func(s *torch.Scope) {
				x := tower.hidden(s, g.pixels(t, s), nn.DropoutKeys{})
				torch.Backward(x, torch.From(s, g.floats(t, "weights"), x.Shape(), torch.CPU))
			})
			g.compareGradients(t, m, visionPrefix)
		})
	}
}

// dinov2Folder is a recorded tower as a folder of its own, whose image processor makes images of a size.
func dinov2Folder(t *testing.T, name string, change object, processor string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var config object
	for _, file := range []string{"config.json", "model.safetensors"} {
		text, err := os.ReadFile(filepath.Join(openGolden(t, name).dir, file))
		if file == "config.json" {
			err = errors.Join(err, json.Unmarshal(text, &config))
			text, _ = json.Marshal(config.with(change))
		}
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, file), text, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	if processor != "" {
		if err := os.WriteFile(filepath.Join(dir, "preprocessor_config.json"), []byte(processor), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheSizeOfImages(t *testing.T) {
	const crops = `{"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}, "do_center_crop": true}`
	for name, c := range map[string]struct {
		asked     int
		processor string
		change    object
		want      int64
		refused   string
	}{
		"config.json":       {want: 20},
		"the folder's crop": {processor: crops, want: 28},
		"without a crop":    {processor: strings.Replace(crops, "true", "false", 1), want: 32},
		"numbers":           {processor: `{"size": 40, "crop_size": 24}`, want: 24},
		"transformers 5":    {processor: `{"image_processor": {"size": {"height": 16, "width": 16}}}`, want: 16},
		"no JSON":           {processor: `{`, want: 20},
		"the recipe's":      {asked: 12, processor: crops, want: 12},
		"not a multiple": {asked: 30, refused: "images of 30 pixels a side are not a multiple of patch_size 4: " +
			"set model.vision.image_size to 28 or 32"},
		"of the folder":      {processor: `{"size": 27}`, refused: "set model.vision.image_size to 24 or 28"},
		"configured":         {change: object{"image_size": 22}, refused: "not a multiple of patch_size 4"},
		"smaller than one":   {asked: 3, refused: "images of 3 pixels a side: it must be from patch_size 4"},
		"a whole LLaVA":      {change: object{"mm_vision_image_size": 16}, processor: crops, want: 16},
		"asked beside LLaVA": {asked: 12, change: object{"mm_vision_image_size": 16}, want: 12},
	} {
		dir := dinov2Folder(t, "dinov2", c.change, c.processor)
		if file := "processor_config.json"; name == "transformers 5" {
			if err := os.Rename(filepath.Join(dir, "preprocessor_config.json"), filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
		}
		shape, err := DescribeTower(recipes.Vision{Weights: dir, SelectLayer: -2, SelectFeature: "patch",
			ImageSize: c.asked})
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: error %v, want %q", name, err, c.refused)
			}
		} else if err != nil || shape.ImageSize != c.want || shape.Tokens != c.want/4*c.want/4 {
			t.Errorf("%s: %v, %d pixels and %d features, want %d pixels", name, err, shape.ImageSize, shape.Tokens,
				c.want)
		}
	}
}

// A whole LLaVA keeps the size of its images beside its position embeddings, which are for another.
func TestAWholeFolderWithDINOv2ReadsBack(t *testing.T) {
	for name, c := range dinov2Goldens {
		for _, format := range []string{"llava", "hf"} {
			t.Run(name+" "+format, func(t *testing.T) {
				r, o := tinyRecipe(t, tinyLanguage, tinyVision), tinyExport
				o.Format = format
				r.Vision = recipes.Vision{Weights: openGolden(t, name).dir, SelectLayer: -2, SelectFeature: "cls_patch",
					ImageSize: c.size}
				if format == "hf" && c.registers > 0 {
					refusesNested(t, r, o, "the register tokens would be features: use --format llava")
					return
				}
				dir, config := exportTo(t, r, o)
				vision := config["vision_config"].(map[string]any)
				if vision["image_size"] != 20. || config["mm_vision_image_size"] != float64(c.size) {
					t.Errorf("image_size %v of %v", config["mm_vision_image_size"], vision["image_size"])
				}
				again, _, err := ReadLLaVA(dir, "")
				if err != nil || again.Vision.SelectFeature != "cls_patch" || again.Vision.ImageSize != 0 {
					t.Fatal(err, again.Vision)
				}
				want, got := openModel(t, r, OpenOptions{Seed: 1}), openModel(t, again, OpenOptions{Seed: 9})
				if diff := cmp.Diff(values(t, want), values(t, got)); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(want.Tower.Describe(), got.Tower.Describe()); diff != "" {
					t.Error(diff)
				}
				twice, _ := exportTo(t, again, o)
				if diff := cmp.Diff(names(t, dir), names(t, twice)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func refusesNested(t *testing.T, r recipes.Model, o ExportOptions, want string) {
	t.Helper()
	c, err := Inspect(r, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Export(o); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// transformers' LLaVA takes the class token for granted, and takes a mask token and a last norm, where files have them.
func TestExportedDINOv2HasWhatTransformersLoads(t *testing.T) {
	for name, masked := range map[string]bool{"dinov2": false, "dinov2_smaller": true} {
		r := tinyRecipe(t, tinyLanguage, tinyVision)
		r.Vision = recipes.Vision{Weights: openGolden(t, name).dir, SelectLayer: -2, SelectFeature: "patch"}
		dir, config := exportTo(t, r, tinyExport)
		vision, list := config["vision_config"].(map[string]any), names(t, dir)
		strategy := config["vision_feature_select_strategy"]
		if vision["use_mask_token"] != masked ||
			slices.Contains(list, "vision_tower.embeddings.mask_token") != masked ||
			!slices.Contains(list, "vision_tower.layernorm.weight") || vision["num_hidden_layers"] != 3. ||
			!slices.Contains(list, "vision_tower.encoder.layer.2.layer_scale2.lambda1") ||
			vision["vision_use_head"] != nil || vision["out_features"] != nil || strategy != "default" {
			t.Errorf("%s: strategy %v, tower %v, tensors %v", name, strategy, vision, list)
		}
	}
}

// LLaVA-NeXT lays tiles out by image_size of vision_config.
func TestTilesOfAnotherSizeAreRefusedInTransformersLayout(t *testing.T) {
	r, o := tinyRecipe(t, tinyLanguage, tinyVision), tinyExport
	r.Vision = recipes.Vision{Weights: openGolden(t, "dinov2").dir, SelectLayer: -2, SelectFeature: "patch",
		ImageSize: 12}
	r.Tiles = &recipes.Tiles{Pinpoints: "[[12,24]]", Merge: recipes.MergeSpatialUnpad, Several: "pad"}
	o.Notes.Aspect = recipes.AnyResolution
	refusesNested(t, r, o, "takes tiles to be of 20 pixels, the image_size of vision_config, not of this model's 12")
	r.Vision.ImageSize = 20
	exportTo(t, r, o)
}

// The names of an image classifier begin with those of the tower.
func TestTheTowerOfADINOv2ClassifierIsRead(t *testing.T) {
	source := openGolden(t, "dinov2").tower(t, recipes.Vision{SelectLayer: -1, SelectFeature: "patch"})
	files := map[string]checkpoints.Tensor{"classifier.weight": zeros("", 2, 32)}
	for name, tensor := range tensors(t, source, recipes.PartVision) {
		files[strings.Replace(name, visionPrefix, "dinov2.", 1)] = tensor
	}
	dir := dinov2Folder(t, "dinov2", nil, "")
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	r.Vision = recipes.Vision{Weights: writeFolder(t, object{}, files), SelectLayer: -1, SelectFeature: "patch"}
	if err := os.Rename(filepath.Join(dir, "config.json"), filepath.Join(r.Vision.Weights, "config.json")); err != nil {
		t.Fatal(err)
	}
	got := openModel(t, r, OpenOptions{})
	for name, want := range tensors(t, source, recipes.PartVision) {
		if !bytes.Equal(tensors(t, got, recipes.PartVision)[name].Data, want.Data) {
			t.Errorf("%s differs", name)
		}
	}
}
