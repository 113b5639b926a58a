package model

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

func everything(string, string) bool { return true }

func TestWeightsComeFromTheirFolders(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	for _, o := range []OpenOptions{
		// fp32 files stay exact in split masters
		{Seed: 2}, {Seed: 2, Trains: everything}, {Seed: 2, Trains: everything, Dtype: torch.BFloat16},
	} {
		m := openModel(t, r, o)
		if diff := cmp.Diff(values(t, source), values(t, m)); diff != "" {
			t.Errorf("%v: %s", o.Dtype, diff)
		}
	}
}

func TestRandomWeightsDependOnTheSeed(t *testing.T) {
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	first := values(t, openModel(t, r, OpenOptions{Seed: 1}))
	if diff := cmp.Diff(first, values(t, openModel(t, r, OpenOptions{Seed: 1, Trains: everything}))); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(first, values(t, openModel(t, r, OpenOptions{Seed: 2}))) {
		t.Error("another seed gives the same model")
	}
}

func TestAllThatDoesNotFitIsReportedTogether(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	language := tensors(t, source, recipes.PartLanguage)
	delete(language, "model.layers.1.mlp.up_proj.weight")
	language["model.norm.weight"] = zeros("", 9)
	language["model.layers.2.mlp.up_proj.weight"] = zeros("", 1)
	vision := tensors(t, source, recipes.PartVision)
	delete(vision, visionPrefix+"pre_layrnorm.bias")
	projector := tensors(t, source, recipes.PartProjector)
	projector[projectorPrefix+"4.weight"] = zeros("", 1)
	r.Language.Weights, r.Vision.Weights = writeFolder(t, tinyLanguage, language), writeFolder(t, tinyVision, vision)
	r.Projector.Weights = writeFolder(t, nil, projector)

	message := openFails(t, r, OpenOptions{})
	for _, text := range []string{
		"missing: model.layers.1.mlp.up_proj.weight [12 8] (in " + r.Language.Weights + ")",
		"shape: model.norm.weight is [9], the model needs [8] (in " + r.Language.Weights + ")",
		"extra: model.layers.2.mlp.up_proj.weight (in " + r.Language.Weights + ")",
		"missing: " + visionPrefix + "pre_layrnorm.bias [6] (in " + r.Vision.Weights + ")",
		"extra: " + projectorPrefix + "4.weight (in " + r.Projector.Weights + ")",
	} {
		if !strings.Contains(message, text) {
			t.Errorf("the error does not say %q", text)
		}
	}
	if lines := strings.Count(message, "\n"); lines != 6 || !strings.Contains(message, "type: mlp3x_gelu") {
		t.Errorf("%d problems, want 5 and the projector's type:\n%s", lines, message)
	}
}

// Published towers come under several prefixes, with layers behind the wanted one, and with the text half beside them.
func TestTowersAreFoundUnderEverySpelling(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	for _, l := range layouts {
		prefix := l[recipes.PartVision].prefix()
		t.Run("prefix "+prefix, func(t *testing.T) {
			files := map[string]checkpoints.Tensor{}
			for name, tensor := range tensors(t, source, recipes.PartVision) {
				files[prefix+strings.TrimPrefix(name, visionPrefix)] = tensor
			}
			for _, more := range []string{"post_layernorm.weight", "encoder.layers.2.layer_norm1.weight",
				"embeddings.position_ids"} {
				files[prefix+more] = zeros("", 3)
			}
			r.Vision.Weights = writeFolder(t, tinyVision, files)
			if diff := cmp.Diff(values(t, source),
				values(t, openModel(t, r, OpenOptions{Seed: 2, Projector: r.Projector.Weights}))); diff != "" {
				t.Error(diff)
			}
			files[prefix+"embeddings.unheard_of"] = zeros("", 3)
			r.Vision.Weights = writeFolder(t, tinyVision, files)
			if message := openFails(t, r, OpenOptions{}); !strings.Contains(message,
				"extra: "+prefix+"embeddings.unheard_of") || strings.Count(message, "\n") != 1 {
				t.Errorf("error %q, want the extra tensor alone", message)
			}
		})
	}
}

func TestACLIPFolderWithItsTextHalfLoads(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	files := map[string]checkpoints.Tensor{
		"text_model.embeddings.token_embedding.weight": zeros("", 5, 2),
		"text_model.embeddings.position_ids":           zeros("", 1, 5),
		"text_projection.weight":                       zeros("", 2, 2), "visual_projection.weight": zeros("", 2, 6),
		"logit_scale":                      zeros(""),
		"vision_model.post_layernorm.bias": zeros("", 6),
	}
	for name, tensor := range tensors(t, source, recipes.PartVision) {
		files["vision_model."+strings.TrimPrefix(name, visionPrefix)] = tensor
	}
	both := object{"model_type": "clip", "projection_dim": 2, "hidden_size": 999,
		"text_config": object{"hidden_size": 2}, "vision_config": tinyVision}
	r.Vision.Weights = writeFolder(t, both, files)
	m := openModel(t, r, OpenOptions{Seed: 2})
	if diff := cmp.Diff(values(t, source), values(t, m)); diff != "" {
		t.Error(diff)
	}
	if shape, err := DescribeTower(r.Vision); err != nil || shape != m.Tower.Describe() {
		t.Errorf("DescribeTower: %v, %v; want %v", shape, err, m.Tower.Describe())
	}
}

func TestTiedEmbeddings(t *testing.T) {
	tied := tinyLanguage.with(object{"tie_word_embeddings": true})
	source := openModel(t, tinyRecipe(t, tied, tinyVision), OpenOptions{Seed: 1})
	embedding, _ := source.Params.Get("model.embed_tokens.weight")
	if _, has := source.Params.Get("lm_head.weight"); has || source.Language.Head() != embedding {
		t.Error("the head is not the embedding")
	}
	r := tinyFolders(t, source)
	files := tensors(t, source, recipes.PartLanguage)
	files["lm_head.weight"] = zeros("", 11, 8)
	r.Language.Weights = writeFolder(t, tied, files)
	if message := openFails(t, r, OpenOptions{}); !strings.Contains(message,
		"tie: config.json has tie_word_embeddings, but lm_head.weight differs from model.embed_tokens.weight") {
		t.Errorf("another head beside a tie: %s", message)
	}
	files["lm_head.weight"] = files["model.embed_tokens.weight"] // some files hold it twice
	r.Language.Weights = writeFolder(t, tied, files)
	m := openModel(t, r, OpenOptions{Seed: 2})
	if diff := cmp.Diff(values(t, source), values(t, m)); diff != "" {
		t.Error(diff)
	}

	delete(files, "lm_head.weight")
	r.Language.Weights = writeFolder(t, tinyLanguage, files) // not tied: the head must be there
	if message := openFails(t, r, OpenOptions{}); !strings.Contains(message, "missing: lm_head.weight [11 8]") {
		t.Errorf("error %q", message)
	}
}

func TestOverlaysReplaceByNameTheLastFirst(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	filled := func(value float32, names ...string) string {
		files := map[string]checkpoints.Tensor{}
		for _, name := range names {
			tensor := zeros("", 8)
			tensor.Data = slices.Repeat(binary.LittleEndian.AppendUint32(nil, math.Float32bits(value)), 8)
			files[name] = tensor
		}
		return filepath.Join(writeFolder(t, nil, files), "model.safetensors")
	}
	const norm, first = "model.norm.weight", "model.layers.0.input_layernorm.weight"
	m := openModel(t, r, OpenOptions{Overlay: []string{filled(2, norm, first), filled(3, norm)}})
	want := values(t, source)
	want[norm], want[first] = slices.Repeat([]float32{3}, 8), slices.Repeat([]float32{2}, 8)
	if diff := cmp.Diff(want, values(t, m)); diff != "" {
		t.Error(diff)
	}
	short := filepath.Join(writeFolder(t, nil, map[string]checkpoints.Tensor{norm: zeros("", 7)}), "model.safetensors")
	if message := openFails(t, r, OpenOptions{Overlay: []string{short}}); !strings.Contains(message,
		"shape: model.norm.weight is [7]") {
		t.Errorf("error %q", message)
	}
}

func TestTheProjectorComesFromTheNearestSource(t *testing.T) {
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	projector := func(seed uint64) (map[string]checkpoints.Tensor, []float32) {
		m := openModel(t, r, OpenOptions{Seed: seed})
		return tensors(t, m, recipes.PartProjector), values(t, m)[projectorPrefix+"0.weight"]
	}
	whole := tensors(t, openModel(t, r, OpenOptions{Seed: 1}), recipes.PartLanguage)
	inFolder, folderValue := projector(2)
	maps.Copy(whole, inFolder)
	inRecipe, recipeValue := projector(3)
	inOptions, optionsValue := projector(4)
	_, randomValue := projector(5)

	folders := r
	folders.Language = recipes.Language{Weights: writeFolder(t, tinyLanguage, whole)}
	named := folders
	named.Projector.Weights = writeFolder(t, nil, inRecipe)
	given := OpenOptions{Seed: 5, Projector: filepath.Join(writeFolder(t, nil, inOptions), "model.safetensors")}
	for _, c := range []struct {
		name   string
		recipe recipes.Model
		o      OpenOptions
		want   []float32
	}{
		{"the options", named, given, optionsValue},
		{"the recipe", named, OpenOptions{Seed: 5}, recipeValue},
		{"the language model's folder", folders, OpenOptions{Seed: 5}, folderValue},
		{"the seed", r, OpenOptions{Seed: 5}, randomValue},
	} {
		if got := values(t, openModel(t, c.recipe, c.o))[projectorPrefix+"0.weight"]; !slices.Equal(got, c.want) {
			t.Errorf("the projector does not come from %s", c.name)
		}
	}
}

func TestWeightsOfOtherDtypesAreConverted(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	const name = "model.norm.weight"
	files := tensors(t, source, recipes.PartLanguage)
	for dtype, engine := range dtypeNames {
		do(t, func(s *torch.Scope) {
			x := torch.To(s, torch.From(s, []float32{1, 2, 3, 4, 5, 6, 7, -0.5}, []int64{8}, torch.CPU), engine)
			files[name] = checkpoints.Tensor{Info: checkpoints.Info{Dtype: dtype, Shape: []int64{8}}, Data: x.Bytes()}
		})
		r.Language.Weights = writeFolder(t, tinyLanguage, files)
		near(t, string(dtype), values(t, openModel(t, r, OpenOptions{}))[name], []float32{1, 2, 3, 4, 5, 6, 7, -0.5}, 0)
	}
	files[name] = checkpoints.Tensor{Info: checkpoints.Info{Dtype: checkpoints.I32, Shape: []int64{8}},
		Data: make([]byte, 32)}
	r.Language.Weights = writeFolder(t, tinyLanguage, files)
	if message := openFails(t, r, OpenOptions{}); !strings.Contains(message,
		"dtype: model.norm.weight is I32; weights are F32, F16, BF16 or F64 (in "+r.Language.Weights+")") {
		t.Errorf("error %q", message)
	}
}

// Published folders hold several dtypes at once. Every value comes as it is there, and an export of the folder keeps
// them all.
func TestAFolderOfMixedDtypes(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	mixture := []checkpoints.Dtype{checkpoints.BF16, checkpoints.F32, checkpoints.F16, checkpoints.F64}
	files, want := tensors(t, source, recipes.PartLanguage), values(t, source)
	for i, name := range slices.Sorted(maps.Keys(files)) {
		maps.Copy(files, inDtype(t, map[string]checkpoints.Tensor{name: files[name]}, mixture[i%len(mixture)]))
		var err error
		if want[name], err = files[name].Float32s(); err != nil {
			t.Fatal(err)
		}
	}
	r.Language.Weights = writeFolder(t, tinyLanguage, files)
	for _, o := range []OpenOptions{{}, {Trains: everything}, {Trains: everything, Dtype: torch.BFloat16}} {
		if diff := cmp.Diff(want, values(t, openModel(t, r, o))); diff != "" {
			t.Errorf("%v: %s", o.Dtype, diff)
		}
	}
	c, err := Inspect(r, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Dtype(); got != checkpoints.F32 {
		t.Errorf("an export has dtype %q", got)
	}
}

// What Config and the parameters make is a folder that serves all three parts.
func TestAWholeFolderLoadsAgain(t *testing.T) {
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	source := openModel(t, r, OpenOptions{Seed: 1})
	dir := writeFolder(t, nil, tensors(t, source, ""))
	text, err := source.Config(r, ExportNotes{Aspect: "pad", Template: "vicuna_v1"}, checkpoints.F32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o666); err != nil {
		t.Fatal(err)
	}
	again := recipes.Model{
		Vision:    recipes.Vision{Weights: dir, SelectLayer: -2, SelectFeature: "patch"},
		Projector: recipes.Projector{Type: "mlp2x_gelu"}, Language: recipes.Language{Weights: dir},
	}
	if diff := cmp.Diff(values(t, source), values(t, openModel(t, again, OpenOptions{Seed: 2}))); diff != "" {
		t.Error(diff)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"model_type": "llava_llama", "mm_projector_type": "mlp2x_gelu",
		"mm_vision_select_layer": -2., "mm_hidden_size": 6., "hidden_size": 8., "image_aspect_ratio": "pad",
		"conversation_template": "vicuna_v1", "torch_dtype": "float32"} {
		if config[key] != want {
			t.Errorf("config.json has %s = %v, want %v", key, config[key], want)
		}
	}
}

func TestFingerprintsFollowTheWeights(t *testing.T) {
	random := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	want := map[string]string{recipes.PartVision: "random", recipes.PartProjector: "random",
		recipes.PartLanguage: "random"}
	if diff := cmp.Diff(want, random.Fingerprints); diff != "" {
		t.Error(diff)
	}
	first := openModel(t, tinyFolders(t, random), OpenOptions{}).Fingerprints
	if diff := cmp.Diff(first, openModel(t, tinyFolders(t, random), OpenOptions{}).Fingerprints); diff != "" {
		t.Errorf("the same weights in other folders:\n%s", diff)
	}
	other := openModel(t, tinyFolders(t, openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 2})),
		OpenOptions{}).Fingerprints
	for part, print := range first {
		if print == other[part] || len(print) != 32 {
			t.Errorf("%s: %q and %q for different weights", part, print, other[part])
		}
	}
}

func TestProgressEndsAtTheTotal(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	var last, total, calls int64
	openModel(t, tinyFolders(t, source), OpenOptions{Progress: func(done, all int64) {
		if done < last {
			t.Errorf("progress went back from %d to %d", last, done)
		}
		last, total = done, all
		calls++
	}})
	want := int64(0)
	for _, p := range source.Params.All() {
		want += 4 * p.Elements()
	}
	if last != total || total != want || calls == 0 {
		t.Errorf("progress ended at %d of %d bytes, want %d", last, total, want)
	}
}
