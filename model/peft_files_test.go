package model

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
)

// wholeFolder is a tiny LLaVA in transformers' layout, with a layer of the tower behind the selected one.
func wholeFolder(t *testing.T, language object) (dir string) {
	t.Helper()
	r := tinyRecipe(t, language, tinyVision)
	r.Vision.SelectLayer = -1
	dir, config := exportTo(t, r, tinyExport)
	config["vision_feature_layer"] = -2
	writeConfig(t, dir, config)
	return dir
}

// contentsOf are all tensors of a model's files as they are exported, those behind the tower's selected layer
// included.
func contentsOf(t *testing.T, r recipes.Model) map[string][]float32 {
	t.Helper()
	c, err := Inspect(r, OpenOptions{NeedProjector: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e, err := c.Export(ExportOptions{Format: "llava", Dtype: checkpoints.F32})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]float32{}
	for i, info := range e.Tensors {
		data, err := e.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		all[info.Name] = slices.Clone(floats(t, checkpoints.Tensor{Info: info, Data: data}))
	}
	return all
}

// addProduct adds scale B A to a weight.
func addProduct(t *testing.T, weight []float32, scale float64, b, a checkpoints.Tensor) {
	t.Helper()
	down, up := floats(t, a), floats(t, b)
	rank, in := a.Shape[0], a.Shape[1]
	for i := range b.Shape[0] {
		for j := range in {
			sum := 0.
			for k := range rank {
				sum += float64(up[i*rank+k]) * float64(down[k*in+j])
			}
			weight[i*in+j] += float32(scale * sum)
		}
	}
}

// PEFT names adapters as the modules of the model that it wraps: LlavaForConditionalGeneration of any version, or the
// original's.
func TestAdaptersOfAWholeLLaVA(t *testing.T) {
	base := wholeFolder(t, tinyLanguage)
	plain, _, err := ReadLLaVA(base, "")
	if err != nil {
		t.Fatal(err)
	}
	before := contentsOf(t, plain)
	tower := visionPrefix + "encoder.layers."
	adapted := map[string]string{ // by part
		"model.layers.1.self_attn.v_proj": recipes.PartLanguage, "lm_head": recipes.PartLanguage,
		tower + "0.self_attn.q_proj": recipes.PartVision, tower + "2.mlp.fc1": recipes.PartVision,
		projectorPrefix + "0": recipes.PartProjector,
	}
	shapes := map[string][2]int64{
		"model.layers.1.self_attn.v_proj": {4, 8}, "lm_head": {11, 8}, tower + "0.self_attn.q_proj": {6, 6},
		tower + "2.mlp.fc1": {10, 6}, projectorPrefix + "0": {8, 6},
	}
	for name, spelled := range map[string]layout{
		"the original's": original, "transformers 4": onDisk, "transformers 4.52": inModule,
		"transformers 5": {recipes.PartLanguage: inModule[recipes.PartLanguage],
			recipes.PartProjector: inModule[recipes.PartProjector], recipes.PartVision: bareTower[recipes.PartVision]},
	} {
		for _, adapter := range []string{"", ".default", ".other"} {
			want, file := maps.Clone(before), map[string]checkpoints.Tensor{}
			for module, part := range adapted {
				theirs := peftPrefix + strings.TrimSuffix(spelled[part].of(module+"."), ".")
				a, b := wave(2, shapes[module][1]), wave(shapes[module][0], 2)
				file[theirs+".lora_A"+adapter+".weight"], file[theirs+".lora_B"+adapter+".weight"] = a, b
				want[module+".weight"] = slices.Clone(want[module+".weight"])
				addProduct(t, want[module+".weight"], 3, b, a)
			}
			saved, bias := "", wave(8)
			if adapter != "" {
				saved = "modules_to_save" + adapter + "."
			}
			theirs := spelled[recipes.PartProjector].of(projectorPrefix + "2.")
			if at := strings.LastIndex(strings.TrimSuffix(theirs, "."), "."); saved != "" {
				theirs = theirs[:at+1] + saved + theirs[at+1:]
				file[peftPrefix+strings.Replace(theirs, saved, "original_module.", 1)+"bias"] = zeros("", 8)
			}
			file[peftPrefix+theirs+"bias"], want[projectorPrefix+"2.bias"] = bias, floats(t, bias)
			dir := writeAdapters(t, object{"peft_type": "LORA", "base_model_name_or_path": base, "lora_alpha": 6},
				map[string]map[string]checkpoints.Tensor{AdapterFile: file})
			r, _, err := ReadLLaVA(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			got := contentsOf(t, r)
			for parameter := range want {
				near(t, fmt.Sprintf("%s%s: %s", name, adapter, parameter), got[parameter], want[parameter], 1e-6)
			}
			for parameter, opened := range values(t, openModel(t, r, OpenOptions{})) {
				near(t, name+": opened "+parameter, opened, want[parameter], 1e-6)
			}
		}
	}
}

// The configuration of the whole LLaVA may stand beside its adapters, which do not hold the tower.
func TestAdaptersWithTheirModelsConfiguration(t *testing.T) {
	base := wholeFolder(t, tinyLanguage)
	dir := writeAdapters(t, object{"peft_type": "LORA", "base_model_name_or_path": base}, oneAdapter(8, 4))
	text, err := os.ReadFile(filepath.Join(base, "config.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := ReadLLaVA(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	openModel(t, r, OpenOptions{NeedProjector: true})
}

// oneAdapter is a file of PEFT with the adapter of one weight, [out,in].
func oneAdapter(in, out int64) map[string]map[string]checkpoints.Tensor {
	return map[string]map[string]checkpoints.Tensor{AdapterFile: {
		peftPrefix + adaptedModule + ".lora_A.weight": wave(2, in),
		peftPrefix + adaptedModule + ".lora_B.weight": wave(out, 2),
	}}
}

// A model of a folder is not completed with a random projector, and nothing in its files is passed over.
func TestAdaptersWithoutTheirProjector(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	base, projector := r.Language.Weights, tensors(t, source, recipes.PartProjector)
	r.Projector.Weights = ""
	config := object{"peft_type": "LORA", "base_model_name_or_path": base, "lora_alpha": 4}
	own := func(prefix string) map[string]checkpoints.Tensor {
		file := map[string]checkpoints.Tensor{}
		for name, tensor := range projector {
			file[prefix+strings.TrimPrefix(name, projectorPrefix)] = tensor
		}
		return file
	}
	open := func(file string, others map[string]checkpoints.Tensor) (err string) {
		files := oneAdapter(8, 4)
		if others != nil {
			files[file] = others
		}
		r.Language.Weights = writeAdapters(t, config, files)
		c, failed := Inspect(r, OpenOptions{NeedProjector: true})
		if failed != nil {
			return failed.Error()
		}
		c.Close()
		for name, got := range values(t, openModel(t, r, OpenOptions{NeedProjector: true, Seed: 7})) {
			if strings.HasPrefix(name, projectorPrefix) {
				near(t, name, got, floats(t, projector[name]), 0)
			}
		}
		return ""
	}
	for _, prefix := range []string{"base_model.model.model.mm_projector.", "model.mm_projector.", "mm_projector.",
		"base_model.model.model.mm_projector.modules_to_save.default."} {
		for _, file := range []string{OthersFile, "mm_projector.safetensors"} {
			if err := open(file, own(prefix)); err != "" {
				t.Errorf("%s with %s: %s", file, prefix, err)
			}
		}
	}
	unknown, partial := own("model.mm_projector."), own("model.mm_projector.")
	unknown["base_model.model.model.image_newline"] = zeros("", 8)
	delete(partial, "model.mm_projector.2.bias")
	for want, others := range map[string]map[string]checkpoints.Tensor{
		`no projector in "`: nil,
		"extra: base_model.model.model.image_newline, for which the model has no weight": unknown,
		"missing: model.mm_projector.2.bias [8]":                                         partial,
	} {
		if err := open(OthersFile, others); !strings.Contains(err, want) {
			t.Errorf("%s, want %q", err, want)
		}
	}

	r.Language.Weights = base // a whole model whose projector is beside it, or nowhere
	if err := openFails(t, r, OpenOptions{NeedProjector: true}); !strings.Contains(err, "mm_projector.bin)") {
		t.Error(err)
	}
	from := filepath.Join(writeFolder(t, nil, projector), "model.safetensors")
	if err := os.Rename(from, filepath.Join(base, "mm_projector.safetensors")); err != nil {
		t.Fatal(err)
	}
	opened := values(t, openModel(t, r, OpenOptions{NeedProjector: true}))
	near(t, "the projector beside", opened[projectorPrefix+"0.bias"], floats(t, projector[projectorPrefix+"0.bias"]), 0)
}

// A projector that is named goes before that beside adapters; the same tensor twice must be the same.
func TestAdaptersBesideOtherProjectors(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	config := object{"peft_type": "LORA", "base_model_name_or_path": r.Language.Weights}
	named, files := tensors(t, source, recipes.PartProjector), oneAdapter(8, 4)
	files[OthersFile] = map[string]checkpoints.Tensor{
		"model.mm_projector.0.bias": wave(8), peftPrefix + projectorPrefix + "0.lora_A.weight": wave(2, 6)}
	r.Language.Weights = writeAdapters(t, config, files)
	for name, got := range values(t, openModel(t, r, OpenOptions{})) {
		if strings.HasPrefix(name, projectorPrefix) {
			near(t, name, got, floats(t, named[name]), 0)
		}
	}
	files["mm_projector.safetensors"] = map[string]checkpoints.Tensor{"mm_projector.0.bias": wave(8)}
	files[OthersFile]["mm_projector.0.bias"] = zeros("", 8)
	r.Language.Weights = writeAdapters(t, config, files)
	if err := openFails(t, r, OpenOptions{}); !strings.Contains(err, "holds two tensors for mm_projector.0.bias") {
		t.Error(err)
	}
	r.Language.Base = r.Language.Weights
	if err := openFails(t, r, OpenOptions{}); !strings.Contains(err, "holds adapters itself: merge them first") {
		t.Error(err)
	}
}

// What PEFT does to a head that is tied to the embedding cannot be read; the cause is said.
func TestAdaptersOfTheEmbeddingAndTheHead(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	untied := r.Language.Weights
	language := tensors(t, source, recipes.PartLanguage)
	delete(language, "lm_head.weight")
	tied := writeFolder(t, tinyLanguage.with(object{"tie_word_embeddings": true}), language)
	const embedding, head = peftPrefix + "model.embed_tokens.", peftPrefix + "lm_head."
	ofHead := map[string]checkpoints.Tensor{head + "base_layer.weight": wave(11, 8),
		head + "lora_A.weight": wave(2, 8), head + "lora_B.weight": wave(11, 2)}
	for name, c := range map[string]struct {
		base   string
		config object
		file   map[string]checkpoints.Tensor
		want   string
	}{
		"an adapter of the embedding": {untied, object{}, map[string]checkpoints.Tensor{
			embedding + "base_layer.weight": wave(11, 8), embedding + "lora_embedding_A": wave(2, 11),
			embedding + "lora_embedding_B": wave(8, 2)}, "lora_embedding_A, an adapter of the embedding"},
		"an adapter of a tied head": {tied, object{}, ofHead, "because config.json ties the head"},
		"an adapter of the head":    {untied, object{}, ofHead, ""},
		"the embedding without its head": {tied, object{}, map[string]checkpoints.Tensor{
			embedding + "weight": wave(11, 8)}, "was trained apart from the head"},
		"the embedding and its head": {tied, object{"ensure_weight_tying": true}, map[string]checkpoints.Tensor{
			embedding + "weight": wave(11, 8), head + "weight": wave(11, 8)}, ""},
		"both": {untied, object{}, map[string]checkpoints.Tensor{
			embedding + "weight": wave(11, 8), head + "weight": zeros("", 11, 8)}, ""},
		"both of a tied model": {tied, object{}, map[string]checkpoints.Tensor{
			embedding + "weight": wave(11, 8), head + "weight": zeros("", 11, 8)}, "because config.json ties the head"},
	} {
		config := object{"peft_type": "LORA", "base_model_name_or_path": c.base}.with(c.config)
		r.Language.Weights = writeAdapters(t, config, map[string]map[string]checkpoints.Tensor{AdapterFile: c.file})
		if c.want == "" {
			openModel(t, r, OpenOptions{})
		} else if message := openFails(t, r, OpenOptions{}); !strings.Contains(message, c.want) {
			t.Errorf("%s: %s, want %q", name, message, c.want)
		}
	}
}

// Adapters of a language model alone make a LLaVA with the projector beside them, and a tower that the caller names.
func TestAdaptersOfALanguageModelAlone(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	config := object{"peft_type": "LORA", "base_model_name_or_path": r.Language.Weights}
	_, _, err := ReadLLaVA(writeAdapters(t, config, oneAdapter(8, 4)), "")
	for _, want := range []string{"holds adapters (LoRA) for", "is a language model", "no projector (non_lora"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	files := oneAdapter(8, 4)
	files["mm_projector.safetensors"] = tensors(t, source, recipes.PartProjector)
	dir := writeAdapters(t, config, files)
	m, notes, err := ReadLLaVA(dir, "")
	want := ExportNotes{Aspect: "square", Template: "vicuna_v1"}
	if err != nil || m.Projector.Type != "mlp2x_gelu" || notes != want {
		t.Fatal(m, notes, err)
	}
	m.Vision.Weights = r.Vision.Weights
	openModel(t, m, OpenOptions{NeedProjector: true})
	m.Vision.Weights = dir
	if err := openFails(t, m, OpenOptions{}); !strings.Contains(err, "holds adapters (LoRA), which go on top of") {
		t.Error(err)
	}

	identities := map[string]string{identityPrefix + recipes.PartVision: strings.Repeat("0000", identityWeights)}
	var list []checkpoints.Tensor
	for name, tensor := range tensors(t, source, recipes.PartProjector) {
		tensor.Name = name
		list = append(list, tensor)
	}
	if err := checkpoints.WriteSafetensors(ProjectorFile(dir), identities, list); err != nil {
		t.Fatal(err)
	}
	m.Vision.Weights = r.Vision.Weights
	if err := openFails(t, m, OpenOptions{}); !strings.Contains(err, "was trained with a different vision tower than") {
		t.Error(err)
	}
}
