package model

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
)

// answers is the recorded greedy generation of one model in two layouts (llava-hf.json).
type answers struct {
	dir     string
	Patches int `json:"patches"`
	Prompts []struct {
		Pixels   string  `json:"pixels"`
		IDs      []int64 `json:"input_ids"` // -200 for the picture
		NewIDs   []int32 `json:"new_ids"`
		Logits   string  `json:"logits"`
		HFLogits string  `json:"hf_logits"`
	} `json:"prompts"`
}

func openAnswers(t *testing.T) (a answers) {
	t.Helper()
	a.dir = torchtest.Shared(t, "../../shared/parity")
	text, err := os.ReadFile(filepath.Join(a.dir, "llava-hf.json"))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a answers) read(t *testing.T, file, name string) []float32 {
	t.Helper()
	w, err := checkpoints.Open(filepath.Join(a.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tensor, err := w.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// input is a prompt with its picture, as the recorder gave it.
func (a answers) input(t *testing.T, prompt int) (in Input) {
	t.Helper()
	p := a.Prompts[prompt]
	in.Pixels = levels(t, a.read(t, "pixels.safetensors", p.Pixels))
	for _, id := range p.IDs {
		if id != -200 {
			in.IDs = append(in.IDs, id)
			continue
		}
		for row := range a.Patches {
			in.Slots, in.Rows = append(in.Slots, int64(len(in.IDs))), append(in.Rows, int64(row))
			in.IDs = append(in.IDs, 0)
		}
	}
	for i := range in.IDs {
		in.Positions = append(in.Positions, int64(i))
	}
	in.Starts, in.Wanted = []int64{0, int64(len(in.IDs))}, []int64{int64(len(in.IDs) - 1)}
	return in
}

// check compares logits and greedy answers with the recorded ones.
func (a answers) check(t *testing.T, r recipes.Model, logits func(prompt int) string) {
	t.Helper()
	m := openModel(t, r, OpenOptions{})
	for i, p := range a.Prompts {
		in := a.input(t, i)
		do(t, func(s *torch.Scope) {
			compare(t, "logits", torch.Read[float32](m.Logits(s, m.Forward(s, in).Hidden)),
				a.read(t, "llava-hf-logits.safetensors", logits(i)))
		})
		var got []int32
		in.Wanted = nil
		if err := m.Generate(in, Sampling{MaxTokens: len(p.NewIDs)},
			func(id int32) bool { got = append(got, id); return true }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, p.NewIDs) {
			t.Errorf("prompt %d: tokens %v, want %v", i, got, p.NewIDs)
		}
	}
}

// relayout writes the parity set's model anew, in another layout, with another folder of configuration.
func relayout(t *testing.T, folder string, rename func(name string) string) (dir string) {
	t.Helper()
	w, err := checkpoints.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	files := map[string]checkpoints.Tensor{}
	for _, name := range w.Names() {
		if files[rename(name)], err = w.Tensor(name); err != nil {
			t.Fatal(err)
		}
	}
	dir = writeFolder(t, nil, files)
	config, err := os.ReadFile(filepath.Join(folder, "config.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// All layouts of transformers, and the original's, give the recorded logits and answers.
func TestWholeFoldersMatchTheOriginal(t *testing.T) {
	a := openAnswers(t)
	hf := func(i int) string { return a.Prompts[i].HFLogits }
	own := func(i int) string { return a.Prompts[i].Logits }
	onDiskFolder := filepath.Join(a.dir, "llava-hf")
	module := strings.NewReplacer("language_model.model.", "model.language_model.", "language_model.lm_head.",
		"lm_head.",
		"multi_modal_projector.", "model.multi_modal_projector.", "vision_tower.", "model.vision_tower.")
	bareTower := func(name string) string {
		return strings.Replace(name, "vision_tower.vision_model.", "vision_tower.", 1)
	}
	bareModule := func(name string) string {
		return strings.Replace(module.Replace(name), "model.vision_tower.vision_model.", "model.vision_tower.", 1)
	}
	for name, c := range map[string]struct {
		dir    string
		logits func(int) string
	}{
		"original":                 {filepath.Join(a.dir, "llava-original"), own},
		"transformers on disk (A)": {onDiskFolder, hf},
		"transformers 4.52 (B)":    {relayout(t, onDiskFolder, module.Replace), hf},
		"transformers 5.6 (C)":     {relayout(t, onDiskFolder, bareModule), hf},
		"transformers 5.17 (D)":    {relayout(t, onDiskFolder, bareTower), hf},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, err := ReadLLaVA(c.dir, "")
			if err != nil {
				t.Fatal(err)
			}
			a.check(t, m, c.logits)
		})
	}
}

// The original's LLaVA often has no tower inside: it stands beside, or in the hub cache.
func TestTheTowerStandsBeside(t *testing.T) {
	a := openAnswers(t)
	whole := relayout(t, filepath.Join(a.dir, "llava-original"), func(name string) string { return name })
	w, err := checkpoints.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]checkpoints.Tensor{}
	for _, name := range w.Names() {
		if !strings.HasPrefix(name, visionPrefix) {
			files[name], _ = w.Tensor(name)
		}
	}
	dir := writeFolder(t, nil, files)
	w.Close()
	config := object{}
	text, err := os.ReadFile(filepath.Join(whole, "config.json"))
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	snapshot := hubRepository(t, cache, "models--openai--tiny", "abc", true)
	clip, err := filepath.Abs(filepath.Join(a.dir, "clip"))
	if err != nil {
		t.Fatal(err)
	}
	// the cache is made of links
	for _, name := range []string{"config.json", "model.safetensors", "preprocessor_config.json"} {
		if err := os.Symlink(filepath.Join(clip, name), filepath.Join(snapshot, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(clip, filepath.Join(dir, "tower")); err != nil {
		t.Fatal(err)
	}
	for name, tower := range map[string]string{"relative": "./tower", "absolute": clip, "hub": "openai/tiny"} {
		t.Run(name, func(t *testing.T) {
			writeConfig(t, dir, config.with(object{"mm_vision_tower": tower}))
			m, _, err := ReadLLaVA(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			a.check(t, m, func(i int) string { return a.Prompts[i].Logits })
		})
	}
	writeConfig(t, dir, config.with(object{"mm_vision_tower": "openai/gone"}))
	m, _, err := ReadLLaVA(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if message := openFails(t, m, OpenOptions{}); !strings.Contains(message, "mm_vision_tower") ||
		!strings.Contains(message, "hf download openai/gone") {
		t.Errorf("error %q", message)
	}
}

// The projector that the original pickled is the one in the safetensors file, also through a recipe.
func TestThePickledProjectorLoads(t *testing.T) {
	a := openAnswers(t)
	open := func(projector string) map[string][]float32 {
		all := values(t, openModel(t, recipes.Model{
			Vision:    recipes.Vision{Weights: filepath.Join(a.dir, "clip"), SelectLayer: -2, SelectFeature: "patch"},
			Projector: recipes.Projector{Type: "mlp2x_gelu", Weights: filepath.Join(a.dir, projector)},
			Language:  recipes.Language{Weights: filepath.Join(a.dir, "llm")},
		}, OpenOptions{}))
		maps.DeleteFunc(all, func(name string, _ []float32) bool { return !strings.HasPrefix(name, projectorPrefix) })
		return all
	}
	pickled := open("stage1/mm_projector.bin")
	if diff := cmp.Diff(open("stage1-final.safetensors"), pickled); diff != "" || len(pickled) != 4 {
		t.Errorf("%d tensors: %s", len(pickled), diff)
	}
}
