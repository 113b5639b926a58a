package train

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/device"
)

// connectorRun is a connector in front of a language model: rows of text and images, with recorded features in place of
// a tower.
type connectorRun struct {
	Features  string             `json:"features"`
	Tokens    int                `json:"tokens_per_image"`
	Loss      float64            `json:"loss"`
	GradNorm  map[string]float64 `json:"grad_norm"`
	Positions []int              `json:"positions"`
	Stage1    struct {
		Groups []struct {
			LR float64 `json:"lr"`
		} `json:"groups"`
		Curve []struct {
			Rows     []int     `json:"rows"`
			Loss     float64   `json:"loss"`
			GradNorm float64   `json:"grad_norm"`
			LR       []float64 `json:"lr"`
		} `json:"curve"`
	} `json:"stage1"`
}

// recordedTower gives recorded features instead of a tower's: those of the picture whose number its pixels hold.
type recordedTower struct {
	model.Tower
	features [][]float32 // [P,Dv] of each picture
}

func (r recordedTower) Forward(s *torch.Scope, pixels *torch.Tensor, _ nn.DropoutKeys) *torch.Tensor {
	levels, n := torch.Read[float32](pixels), pixels.Size(0)
	var all []float32
	for i := range n {
		all = append(all, r.features[int(levels[i*int64(len(levels))/n])]...)
	}
	d := r.Describe().HiddenSize
	return torch.From(s, all, []int64{int64(len(all)) / d, d}, torch.CPU)
}

// connectorSections are the recorded connectors: their settings in recipes, by those of the set; what stands before
// their names in published files; and how recorded names of weights follow from ours.
var connectorSections = map[string]struct {
	settings func(n func(key string) int) string
	prefix   string
	names    *strings.Replacer
}{
	"qformer": {func(n func(key string) int) string {
		return fmt.Sprintf("type: qformer, queries: %d, layers: %d, width: %d, heads: %d, mlp: %d, cross_every: %d, "+
			"ln_vision: false", n("queries"), n("num_hidden_layers"), n("hidden_size"), n("num_attention_heads"),
			n("intermediate_size"), n("cross_attention_frequency"))
	}, "", strings.NewReplacer()},
	"resampler_tinyllava": {func(n func(key string) int) string {
		return fmt.Sprintf("type: resampler, queries: %d, layers: %d, heads: %d, head_width: %d", n("latents"),
			n("depth"), n("heads"), n("head_dim"))
	}, "_connector.", strings.NewReplacer()},
	"pixel_shuffle_idefics3": {func(n func(key string) int) string {
		return fmt.Sprintf("type: pixel_shuffle, then: linear, ratio: %d", n("ratio"))
	}, "model.connector.", strings.NewReplacer()},
	"pool_bilinear": {func(n func(key string) int) string {
		return fmt.Sprintf("type: pool, mode: bilinear, place: behind, stride: %d", n("stride"))
	}, "multi_modal_projector.", strings.NewReplacer("0.", "linear_1.", "2.", "linear_2.")},
}

// connectorSet is the recorded set.
type connectorSet struct {
	dir    string
	values *checkpoints.Weights
	Runs   map[string]connectorRun `json:"in_front_of_llm"`
	Cases  map[string]struct {
		File   string         `json:"weights_file"`
		Config map[string]any `json:"config"`
	} `json:"cases"`
}

func openConnectorSet(t *testing.T) *connectorSet {
	t.Helper()
	set := &connectorSet{dir: torchtest.Shared(t, "../../shared/parity-connectors")}
	text, err := os.ReadFile(filepath.Join(set.dir, "connectors.json"))
	if err == nil {
		err = json.Unmarshal(text, set)
	}
	if err == nil {
		set.values, err = checkpoints.Open(filepath.Join(set.dir, "connectors.safetensors"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.values.Close() })
	if set.dir, err = filepath.Abs(set.dir); err != nil {
		t.Fatal(err)
	}
	return set
}

func (set *connectorSet) tensor(t *testing.T, name string) (values []float32, tensor checkpoints.Tensor) {
	t.Helper()
	tensor, err := set.values.Tensor(name)
	if err == nil {
		values, err = tensor.Float32s()
	}
	if err != nil {
		t.Fatal(err)
	}
	return values, tensor
}

// section is model.projector of a recorded connector, with its weights in a folder.
func (set *connectorSet) section(t *testing.T, name string) string {
	t.Helper()
	c, known := connectorSections[name]
	if !known {
		t.Fatalf("a connector %s is recorded and not known here", name)
	}
	config, folder := set.Cases[name].Config, t.TempDir()
	if file := set.Cases[name].File; file != "" {
		folder = filepath.Join(set.dir, filepath.Dir(file))
	} else {
		var list []checkpoints.Tensor
		for _, recorded := range set.values.Names() {
			if rest, ours := strings.CutPrefix(recorded, name+".weight."); ours {
				_, tensor := set.tensor(t, recorded)
				tensor.Name = c.prefix + rest
				list = append(list, tensor)
			}
		}
		if err := checkpoints.WriteSafetensors(filepath.Join(folder, "model.safetensors"), nil, list); err != nil {
			t.Fatal(err)
		}
	}
	return "{" + c.settings(func(key string) int {
		value, _ := config[key].(float64)
		return int(value)
	}) + ", weights: " + folder + "}"
}

// open opens a connector and the language model as a run does, with the recorded features in place of a tower's. It
// returns the rows as samples.
func (set *connectorSet) open(t *testing.T, name string) (*trainer, []data.Sample) {
	t.Helper()
	run := set.Runs[name]
	r := set.recipe(t, name)
	torchtest.NoLeaks(t)
	tr := &trainer{recipe: r, options: Options{Stage: "pretrain"}, report: runs.Silent{}, peers: noPeers()}
	var err error
	if tr.plan, err = newPlan(r, r.Pretrain, r.Pretrain.Steps, checkpoints.State{}, noPeers().Place); err != nil {
		t.Fatal(err)
	}
	tr.startEngine()
	levels := make([]float32, 3*256) // a pixel level is its own normalised value
	for i := range levels {
		levels[i] = float32(i % 256)
	}
	if err := tr.openModel(model.OpenOptions{Normalization: levels}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.close)
	tr.plan.fitMemory(sizeOf(tr.model), 256, device.Memory(torch.CPU))
	if tr.optimizer, err = newOptimizer(r.Pretrain.Optimizer, tr.model.Params, tr.plan.moments, r.Seed); err != nil {
		t.Fatal(err)
	}
	if got := tr.model.ProjectorShape.Tokens; got != int64(run.Tokens) {
		t.Errorf("%d positions an image, want %d", got, run.Tokens)
	}
	tower := recordedTower{Tower: tr.model.Tower}
	samples := set.samples(t, run, &tower)
	tr.model.Tower = tower
	return tr, samples
}

// recipe is a stage 1 of the recorded schedule.
func (set *connectorSet) recipe(t *testing.T, name string) *recipes.Recipe {
	t.Helper()
	run, dir := set.Runs[name], t.TempDir()
	_, features := set.tensor(t, "llm."+run.Features+".row0")
	tower, err := json.Marshal(map[string]any{"model_type": "siglip_vision_model", "hidden_size": features.Shape[2],
		"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "patch_size": 2,
		"image_size": 2 * int64(math.Sqrt(float64(features.Shape[1])))})
	if err != nil {
		t.Fatal(err)
	}
	curve := run.Stage1
	text := fmt.Sprintf(`
device: cpu
dtype: fp32
threads: 1
model:
  vision: {config: tower.json}
  projector: %s
  language: {weights: %s, max_length: 256}
pretrain:
  data: [{path: none.json, images: .}]
  template: qwen_2
  train: {projector: {lr: %g}}
  batch: {global: %d}
  steps: %d
  schedule: {type: cosine, warmup: 1}
  optimizer: {clip: 0}
`, set.section(t, name), filepath.Join(set.dir, "llm"), curve.Groups[0].LR, len(curve.Curve[0].Rows), len(curve.Curve))
	for file, text := range map[string]string{"tower.json": string(tower), "recipe.yaml": text} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	r, err := recipes.Load(filepath.Join(dir, "recipe.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// samples encodes the recorded rows, numbers their pictures, and gives the tower these pictures' features.
func (set *connectorSet) samples(t *testing.T, run connectorRun, tower *recordedTower) (list []data.Sample) {
	t.Helper()
	words, err := tokenizer.OpenTokenizer(filepath.Join(set.dir, "llm"), "auto")
	if err != nil {
		t.Fatal(err)
	}
	template, err := data.OpenTemplate("qwen_2")
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := data.NewEncoder(words, template, 256, picture.Grid(run.Tokens))
	if err != nil {
		t.Fatal(err)
	}
	source, err := rows.Open(filepath.Join(set.dir, "rows.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	side := tower.Describe().ImageSize
	for row := range source.Len() {
		record, err := source.Record(row)
		if err != nil {
			t.Fatal(err)
		}
		s, err := encoder.Encode(record, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.IDs) != run.Positions[row] {
			t.Errorf("row %d has %d positions, want %d", row, len(s.IDs), run.Positions[row])
		}
		if len(s.Images) > 0 {
			values, features := set.tensor(t, fmt.Sprintf("llm.%s.row%d", run.Features, row))
			if int(features.Shape[0]) != len(s.Images) {
				t.Fatalf("row %d has %d pictures, and features of %d", row, len(s.Images), features.Shape[0])
			}
			for part := range slices.Chunk(values, len(values)/len(s.Images)) {
				tower.features = append(tower.features, part)
			}
		}
		for i := range s.Images {
			number := uint8(len(tower.features) - len(s.Images) + i)
			s.Images[i].Pixels = slices.Repeat([]uint8{number}, int(3*side*side))
		}
		list = append(list, s)
	}
	return list
}
