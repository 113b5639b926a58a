package recipes

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"
)

func TestShippedNames(t *testing.T) {
	want := []string{"llava-flamingo", "llava-onevision-qwen2-7b", "llava-qformer", "llava-small", "llava-v1-7b",
		"llava-v1-scienceqa", "llava-v1.5-13b", "llava-v1.5-7b", "llava-v1.5-7b-lora", "llava-v1.6-vicuna-7b",
		"shapes", "shapes-base", "shapes-gated_cross_attention", "shapes-pixel_shuffle", "shapes-pool",
		"shapes-qformer", "shapes-resampler", "synth-coco"}
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if _, err := Shipped("llava"); err == nil || !strings.Contains(err.Error(), `"llava"`) ||
		!strings.Contains(err.Error(), "shapes-base") {
		t.Errorf("Shipped(llava): %v", err)
	}
}

func loadShipped(t *testing.T, name string) *Recipe {
	t.Helper()
	text, err := Shipped(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := load("/folder/"+name+".yaml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != name {
		t.Errorf("%s is called %q", name, r.Name)
	}
	return r
}

// TestShippedNumbers fixes the hyper-parameters of the original's scripts (scripts/ and scripts/v1_5/ of
// haotian-liu/LLaVA) and the outline of the demo.
func TestShippedNumbers(t *testing.T) {
	type stage struct {
		projector, language, vision float64
		global, steps               int
		epochs, warmup, clip        float64
		template, image, order      string
	}
	numbers := func(s *Stage) stage {
		if s == nil {
			return stage{}
		}
		return stage{
			s.Train["projector"].LR, s.Train["language"].LR, s.Train["vision"].LR, s.Batch.Global, s.Steps,
			s.Epochs, s.Schedule.Warmup, s.Optimizer.Clip, s.Template, s.Image, s.Order,
		}
	}
	type model struct{ vision, projector, language string }
	for name, want := range map[string]struct {
		model              model
		pretrain, finetune stage
	}{
		"llava-v1-7b": {
			model{"openai/clip-vit-large-patch14", "linear", "lmsys/vicuna-7b-v1.3"},
			stage{2e-3, 0, 0, 128, 0, 1, 0.03, 0, "plain", "square", "shuffled"},
			stage{2e-5, 2e-5, 0, 128, 0, 3, 0.03, 0, "vicuna_v1", "square", "shuffled"},
		},
		"llava-v1-scienceqa": {
			model{"openai/clip-vit-large-patch14", "linear", "lmsys/vicuna-13b-v1.3"},
			stage{2e-3, 0, 0, 128, 0, 1, 0.03, 0, "plain", "square", "shuffled"},
			stage{2e-5, 2e-5, 0, 128, 0, 12, 0.03, 0, "vicuna_v1", "square", "shuffled"},
		},
		"llava-v1.5-7b": {
			model{"openai/clip-vit-large-patch14-336", "mlp2x_gelu", "lmsys/vicuna-7b-v1.5"},
			stage{1e-3, 0, 0, 256, 0, 1, 0.03, 0, "plain", "square", "shuffled"},
			stage{2e-5, 2e-5, 0, 128, 0, 1, 0.03, 0, "vicuna_v1", "pad", "grouped"},
		},
		"llava-v1.5-7b-lora": {
			model{"openai/clip-vit-large-patch14-336", "mlp2x_gelu", "lmsys/vicuna-7b-v1.5"},
			stage{1e-3, 0, 0, 256, 0, 1, 0.03, 0, "plain", "square", "shuffled"},
			stage{2e-5, 2e-4, 0, 128, 0, 1, 0.03, 0, "vicuna_v1", "pad", "grouped"},
		},
		"llava-v1.6-vicuna-7b": {
			model{"openai/clip-vit-large-patch14-336", "mlp2x_gelu", "lmsys/vicuna-7b-v1.5"},
			stage{1e-3, 0, 0, 256, 0, 1, 0.03, 0, "plain", "square", "shuffled"},
			stage{1e-5, 1e-5, 2e-6, 128, 0, 1, 0.03, 0, "vicuna_v1", "anyres", "grouped"},
		},
		"llava-onevision-qwen2-7b": {
			model{"google/siglip-so400m-patch14-384", "mlp2x_gelu", "Qwen/Qwen2-7B-Instruct"},
			stage{1e-3, 0, 0, 256, 0, 1, 0.03, 0, "plain", "square", "shuffled"},
			stage{1e-5, 1e-5, 2e-6, 128, 0, 1, 0.03, 0, "qwen_2", "anyres", "grouped"},
		},
		"llava-qformer": {
			model{"openai/clip-vit-large-patch14-336", "qformer", "lmsys/vicuna-7b-v1.5"},
			stage{1e-4, 0, 0, 256, 0, 1, 0.03, 0, "plain", "square", "shuffled"},
			stage{2e-5, 2e-5, 0, 128, 0, 1, 0.03, 0, "vicuna_v1", "pad", "grouped"},
		},
		"llava-flamingo": {
			model{"openai/clip-vit-large-patch14-336", "gated_cross_attention", "lmsys/vicuna-7b-v1.5"},
			stage{1e-4, 0, 0, 256, 0, 1, 0.03, 0, "plain", "square", "shuffled"},
			stage{2e-5, 2e-5, 0, 128, 0, 1, 0.03, 0, "vicuna_v1", "pad", "grouped"},
		},
		"llava-v1.5-13b": {
			model{"openai/clip-vit-large-patch14-336", "mlp2x_gelu", "lmsys/vicuna-13b-v1.5"},
			stage{1e-3, 0, 0, 256, 0, 1, 0.03, 0, "plain", "square", "shuffled"},
			stage{2e-5, 2e-5, 0, 128, 0, 1, 0.03, 0, "vicuna_v1", "pad", "grouped"},
		},
	} {
		r := loadShipped(t, name)
		if got := (model{r.Model.Vision.Weights, r.Model.Projector.Type, r.Model.Language.Weights}); got != want.model {
			t.Errorf("%s: model %+v, want %+v", name, got, want.model)
		}
		if got := numbers(r.Pretrain); got != want.pretrain {
			t.Errorf("%s: pretrain %+v, want %+v", name, got, want.pretrain)
		}
		if got := numbers(r.Finetune); got != want.finetune {
			t.Errorf("%s: finetune %+v, want %+v", name, got, want.finetune)
		}
	}
}

// TestShippedLoRA fixes those of scripts/v1_5/finetune_lora.sh, and that no other recipe trains adapters.
func TestShippedLoRA(t *testing.T) {
	for _, name := range Names() {
		r, want := loadShipped(t, name), map[string]LoRA{}
		if name == "llava-v1.5-7b-lora" {
			want["language"] = LoRA{R: 128, Alpha: 256, Dropout: 0.05, Targets: "."}
		}
		if r.Finetune == nil {
			continue
		}
		if diff := cmp.Diff(want, r.Finetune.Adapters(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: adapters (-want +got):\n%s", name, diff)
		}
	}
}

// TestShippedIsComplete: the recipes that reproduce a model give every key, apart from alternatives to those that they
// use.
func TestShippedIsComplete(t *testing.T) {
	absent := map[string]bool{
		"model.vision.config": true, "model.language.config": true, "model.projector.weights": true,
		"model.language.tokenizer.path": true, "model.vision.tower": true, "model.language.base": true,
		"model.language.system": true, "model.tiles.pinpoints": true, "model.tiles.max": true,
		"model.tiles.merge": true, "model.tiles.several": true, "model.language.tokenizer.add.0": true,
		"synth.scenes.0.file": true, "synth.scenes.0.regions": true, "synth.scenes.0.image_data": true,
		"model.vision.image_size": true,
	}
	for _, stage := range []string{"pretrain", "finetune"} {
		absent[stage+".steps"], absent[stage+".batch.tokens"] = true, true
		// the original does not evaluate
		for _, key := range []string{".data.0.path", ".data.0.shards", ".data.0.images", ".data.0.weight", ".every",
			".samples",
			".benchmarks.0.name", ".benchmarks.0.data", ".benchmarks.0.rule", ".benchmarks.0.questions",
			".benchmarks.0.every"} {
			absent[stage+".eval"+key] = true
		}
		absent[stage+".data.0.shards"] = true
		absent[stage+".bad_samples.limit"] = true
		absent[stage+".orientation"], absent[stage+".max_pixels"] = true, true // as the original has them
		for _, part := range partNames {
			for _, key := range []string{".only", ".except", ".lora.r", ".lora.alpha", ".lora.dropout",
				".lora.targets"} {
				absent[stage+".train."+part+key] = true
			}
		}
		absent[stage+".train.vision.lr"] = true
	}
	absent["pretrain.train.language.lr"] = true
	for _, name := range Names() {
		if !strings.HasPrefix(name, "llava-") && name != "synth-coco" {
			continue
		}
		for _, key := range []string{"r", "alpha", "dropout", "targets"} {
			absent["finetune.train.language.lora."+key] = !strings.HasSuffix(name, "-lora")
		}
		text, err := Shipped(name)
		if err != nil {
			t.Fatal(err)
		}
		var tree yaml.Node
		if err := yaml.Unmarshal(text, &tree); err != nil {
			t.Fatal(err)
		}
		written := map[string]string{}
		flatten(tree.Content[0], "", written)
		for _, key := range keys(reflect.TypeFor[Recipe](), "") {
			_, ok := written["."+strings.TrimSuffix(key, ".policy")]        // bad_samples: skip is its policy
			if name == "llava-small" && strings.HasSuffix(key, ".epochs") { // it has steps in their place
				continue
			}
			last := strings.TrimSuffix(key, ".0")
			last = last[strings.LastIndex(last, ".")+1:]
			if name == "synth-coco" && strings.Contains(string(text), last+":") {
				continue // in a comment
			}
			if key != "name" && key != "runs" && strings.HasPrefix(key, "synth.") != (name == "synth-coco") {
				continue
			}
			if strings.HasPrefix(key, "model.projector.") && key != "model.projector.type" { // of other types
				continue
			}
			if _, list := written["."+key+".0"]; !ok && !list && !absent[key] {
				t.Errorf("%s lacks %s", name, key)
			}
		}
	}
}

// TestShippedShapes fixes what the demo's two recipes train and where they start; their numbers may be tuned.
func TestShippedShapes(t *testing.T) {
	shapes, base := loadShipped(t, "shapes"), loadShipped(t, "shapes-base")
	if got := shapes.Model.Vision.Weights; got != "/folder/base" || got != shapes.Model.Language.Weights {
		t.Errorf("shapes starts from %q", got)
	}
	if base.Model.Vision.Config == "" || base.Model.Language.Config == "" ||
		base.Model.Language.Tokenizer.Path != "/folder/base" {
		t.Errorf("shapes-base starts from %+v", base.Model)
	}
	for _, c := range []struct {
		stage *Stage
		parts string
	}{
		{shapes.Pretrain, "projector"},
		{shapes.Finetune, "language projector"},
		{base.Pretrain, "language projector vision"},
		{base.Finetune, "language projector vision"},
	} {
		var parts []string
		for _, name := range partNames {
			if _, ok := c.stage.Train[name]; ok {
				parts = append(parts, name)
			}
		}
		if got := strings.Join(parts, " "); got != c.parts {
			t.Errorf("trains %s, want %s", got, c.parts)
		}
	}
}
