package model

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/loss"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
)

// peftGolden is an adapter of testdata/lora, made by lora_make.py, on its recorded model.
func peftGolden(t *testing.T, name string) (base, adapter golden, settings recipes.LoRA) {
	t.Helper()
	adapter.dir = filepath.Join("testdata/lora", name)
	raw, err := os.ReadFile(filepath.Join(adapter.dir, AdapterConfig))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Base    string  `json:"base_model_name_or_path"`
		R       int     `json:"r"`
		Alpha   float64 `json:"lora_alpha"`
		Targets any     `json:"target_modules"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	settings = recipes.LoRA{R: config.R, Alpha: config.Alpha}
	switch targets := config.Targets.(type) {
	case string:
		settings.Targets = "^" + targets + "$"
	case []any:
		var names []string
		for _, name := range targets {
			names = append(names, regexp.QuoteMeta(name.(string)))
		}
		settings.Targets = `\.(` + strings.Join(names, "|") + ")$"
	}
	if adapter.values, err = checkpoints.Open(filepath.Join(adapter.dir, "golden.safetensors")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { adapter.values.Close() })
	return openGolden(t, filepath.Base(config.Base)), adapter, settings
}

func TestAdaptersMatchPEFT(t *testing.T) {
	entries, err := os.ReadDir("testdata/lora")
	if err != nil || len(entries) == 0 {
		t.Fatalf("no recorded adapters: %v", err)
	}
	for _, entry := range entries {
		for _, recompute := range []bool{false, true} {
			t.Run(entry.Name()+map[bool]string{true: ", recomputed"}[recompute], func(t *testing.T) {
				base, adapter, settings := peftGolden(t, entry.Name())
				r := tinyRecipe(t, tinyLanguage, tinyVision)
				r.Language = recipes.Language{Weights: base.dir}
				m := openModel(t, r, OpenOptions{
					LoRA:    map[string]recipes.LoRA{recipes.PartLanguage: settings},
					Overlay: []string{filepath.Join(adapter.dir, AdapterFile)},
					Trains:  func(part, _ string) bool { return part == recipes.PartLanguage },
				})
				in := base.samples(t)
				in.Recompute = layersAgain[recompute]
				compareAdapter(t, m, in, adapter)
				adapter.compareGradients(t, m, "")
			})
		}
	}
}

func compareAdapter(t *testing.T, m *LLaVA, in Input, g golden) {
	t.Helper()
	var rows, labels []int64
	for i := range len(in.IDs) - 1 {
		if in.Positions[i+1] > 0 {
			rows, labels = append(rows, int64(i)), append(labels, in.IDs[i+1])
		}
	}
	do(t, func(s *torch.Scope) {
		pass := m.Forward(s, in)
		within(t, "logits", torch.Read[float32](m.Logits(s, pass.Hidden)), g.floats(t, "logits"),
			familyTolerance.logits)
		wanted := torch.IndexSelect(s, pass.Hidden, 0, m.indices(s, rows))
		sum, _ := loss.CrossEntropy(s, wanted, m.Language.Head().Tensor(), m.indices(s, labels))
		near(t, "loss", torch.Read[float32](sum), g.floats(t, "loss"), familyTolerance.loss)
		pass.Backward(s, sum)
	})
}

// openAdapted is a model with adapters in every part.
func openAdapted(t *testing.T, dtype torch.Dtype, dropout float64) *LLaVA {
	t.Helper()
	return openAdaptedParts(t, dtype, dropout, parts...)
}

// openAdaptedParts is a model with adapters beside every map of some parts, with B drawn too, so that they show.
func openAdaptedParts(t *testing.T, dtype torch.Dtype, dropout float64, parts ...string) *LLaVA {
	t.Helper()
	lora := map[string]recipes.LoRA{}
	for i, part := range parts {
		lora[part] = recipes.LoRA{R: 2 + i, Alpha: 3, Dropout: dropout, Targets: "."}
	}
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision),
		OpenOptions{Dtype: dtype, LoRA: lora, Trains: everything})
	do(t, func(s *torch.Scope) {
		for _, p := range m.Trainable() {
			p.Init = nn.Init{Kind: "normal", Scale: 0.3}
			p.Initialise(s, 5)
		}
	})
	return m
}

// adapterGradients are those of a weighted sum of hidden states, by name; the buffers are cleared afterwards.
func adapterGradients(t *testing.T, m *LLaVA, in Input) map[string][]float32 {
	t.Helper()
	gradients := map[string][]float32{}
	do(t, func(s *torch.Scope) {
		pass := m.Forward(s, in)
		m.Forward(s, withKeys(7, 8, 9)) // another pass in between
		weights := torch.Empty(s, pass.Hidden.Shape(), torch.Float32, torch.CPU)
		for i, first := range in.Starts[:len(in.Starts)-1] { // each sample's by its own place, wherever it lies
			torch.Narrow(s, weights, 0, first, in.Starts[i+1]-first).FillNormal(1, 3)
		}
		product := torch.Mul(s, pass.Hidden, weights)
		pass.Backward(s, torch.MatMul(s, torch.Reshape(s, product, 1, -1),
			torch.Ones(s, []int64{product.Elements(), 1}, torch.Float32, torch.CPU)))
		for _, p := range m.Trainable() {
			gradients[p.Name] = torch.Read[float32](p.Gradient(s))
			p.Gradient(s).Zero()
		}
	})
	return gradients
}

var drawn = flat([]int64{1, -1, 2, 3}, []int64{4, 5, 6}, []int64{7, -1, -1, 8})

func withKeys(keys ...uint64) Input {
	in := drawn
	in.DropoutKeys = keys
	return in
}

// The keys reach the adapters of each part, whichever of them have any.
func TestEachPartDropsByTheKeys(t *testing.T) {
	for _, part := range parts {
		m := openAdaptedParts(t, torch.Float32, 0.4, part)
		kept, dropped := hidden(t, m, withKeys()), hidden(t, m, withKeys(1, 2, 3))
		if slices.Equal(kept, dropped) {
			t.Errorf("%s drops nothing", part)
		}
		if !slices.Equal(dropped, hidden(t, m, withKeys(1, 2, 3))) ||
			slices.Equal(dropped, hidden(t, m, withKeys(4, 5, 6))) {
			t.Errorf("%s does not drop by its keys", part)
		}
	}
}

func TestDropoutIsTheSameWhenLayersRunAgain(t *testing.T) {
	m := openAdapted(t, torch.Float32, 0.4)
	kept, recomputed := withKeys(1, 2, 3), withKeys(1, 2, 3)
	recomputed.Recompute = nn.RecomputeLayers
	want := adapterGradients(t, m, kept)
	if diff := cmp.Diff(want, adapterGradients(t, m, recomputed)); diff != "" {
		t.Errorf("recomputation gives other gradients:\n%s", diff)
	}
	for name, other := range map[string]Input{"other keys": withKeys(1, 2, 4), "none": withKeys()} {
		for parameter, values := range adapterGradients(t, m, other) {
			if slices.Equal(values, want[parameter]) && strings.HasSuffix(parameter, "lora_A.weight") {
				t.Errorf("with %s the gradient of %s is the same: nothing was dropped", name, parameter)
			}
		}
	}
}

// What a sample's dropout is depends on its key alone: samples one by one give the gradient of the batch.
func TestDropoutDoesNotDependOnTheBatch(t *testing.T) {
	m := openAdapted(t, torch.Float32, 0.4)
	want, sum := adapterGradients(t, m, withKeys(1, 2, 3)), map[string][]float32{}
	for i, sample := range [][]int64{{1, -1, 2, 3}, {4, 5, 6}, {7, -1, -1, 8}} {
		in := flat(sample)
		in.DropoutKeys = []uint64{uint64(i + 1)}
		for name, values := range adapterGradients(t, m, in) {
			for k, x := range values {
				if sum[name] == nil {
					sum[name] = make([]float32, len(values))
				}
				sum[name][k] += x
			}
		}
	}
	// matrix products of other sizes round otherwise, by a share of the largest value (libtorch's own: 1.6e-5)
	for name, values := range want {
		within(t, name, sum[name], values, 5e-5*largestDifference(values, make([]float32, len(values))))
	}
}

// Runs that exist draw by these numbers. A picture's number follows from its sample and its place there, whichever of
// its rows are used.
func TestPicturesDrawByTheirSample(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{})
	in := flat([]int64{1, -1, -1, 2}, []int64{4, 5, 6}, []int64{7, -1})
	in.DropoutKeys = []uint64{1, 2, 3}
	want := []uint64{11035966612244867331, 18395765901794496440, 5195671247812147863}
	if got := m.pictureKeys(in).Keys; !slices.Equal(got, want) {
		t.Errorf("pictures draw %v, want %v", got, want)
	}
	in.Slots, in.Rows = []int64{2, 9}, []int64{5, 2} // of the second picture and the first
	if got := m.pictureKeys(in).Keys; !slices.Equal(got, want) {
		t.Errorf("pictures of which few rows are used draw %v, want %v", got, want)
	}
}

func TestMergedLogitsStay(t *testing.T) {
	m := openAdapted(t, torch.Float32, 0.4)
	before := values(t, m)
	moved, err := m.Merge()
	if t.Logf("logits moved by %.3g of the largest", moved); err != nil {
		t.Fatal(err)
	}
	after, merged := values(t, m), 0
	for _, part := range parts {
		if left := m.Adapted(part); len(left) > 0 {
			t.Errorf("%s still has adapters", part)
		}
		for _, linear := range m.Params.Linears(part) {
			name := linear.Name() + ".weight"
			if merged++; slices.Equal(before[name], after[name]) {
				t.Errorf("%s is as it was", name)
			}
		}
	}
	if merged != 2*6+2+2*7 {
		t.Errorf("%d linear maps", merged)
	}
}

func TestMergeRefusesAnotherModel(t *testing.T) {
	m := openAdapted(t, torch.BFloat16, 0) // the sums are rounded
	if moved, err := m.Merge(); err == nil || !strings.Contains(err.Error(), "the merged model differs") {
		t.Errorf("logits moved by %v and the error is %v", moved, err)
	}
	m = openAdapted(t, torch.Float32, 0)
	do(t, func(s *torch.Scope) {
		p := m.Trainable()[0]
		p.Load(s, bytes.Repeat([]byte{0xff}, int(4*p.Elements())), torch.Float32)
	})
	if moved, err := m.Merge(); err == nil || !math.IsNaN(moved) {
		t.Errorf("an adapter that is no number: moved by %v, %v", moved, err)
	}
}

// Adapters begin as nothing: the model computes what it computed without them.
func TestNewAdaptersChangeNothing(t *testing.T) {
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	lora := recipes.LoRA{R: 2, Alpha: 4, Targets: "."}
	m := openModel(t, r, OpenOptions{LoRA: map[string]recipes.LoRA{recipes.PartLanguage: lora}})
	// A layer without adapters runs as two nodes, which round otherwise.
	defer torchtest.SetFused(torchtest.SetFused(false))
	near(t, "hidden states", hidden(t, m, drawn), hidden(t, openModel(t, r, OpenOptions{}), drawn), 0)
	for _, p := range m.Params.All() {
		if !p.Adapter {
			continue
		}
		v, bound := values(t, m)[p.Name], 1/math.Sqrt(float64(p.Shape[1]))
		largest := largestDifference(v, make([]float32, len(v)))
		if strings.HasSuffix(p.Name, "lora_B.weight") && largest != 0 ||
			strings.HasSuffix(p.Name, "lora_A.weight") && !(largest > bound/4 && largest <= bound) {
			t.Errorf("%s begins with values up to %v", p.Name, largest)
		}
	}
}

func TestTargets(t *testing.T) {
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	of := func(part, targets string) OpenOptions {
		return OpenOptions{LoRA: map[string]recipes.LoRA{part: {R: 2, Alpha: 4, Targets: targets}}}
	}
	for _, c := range []struct{ part, targets, maps string }{
		{recipes.PartLanguage, ".",
			"q_proj (2), k_proj (2), v_proj (2), o_proj (2), gate_proj (2), up_proj (2), down_proj (2)"},
		{recipes.PartLanguage, "[qv]_proj$", "q_proj (2), v_proj (2)"},
		{recipes.PartLanguage, `layers\.1\..*down`, "down_proj (1)"},
		{recipes.PartVision, "_proj", "q_proj (2), k_proj (2), v_proj (2), out_proj (2)"},
		{recipes.PartProjector, `\.2$`, "2 (1)"},
	} {
		m := openModel(t, r, of(c.part, c.targets))
		for _, part := range parts {
			want := map[bool]string{true: c.maps}[part == c.part]
			if got := Maps(m.Adapted(part)); got != want {
				t.Errorf("%s of %s: %q of %s are adapted, want %q", c.targets, c.part, got, part, want)
			}
		}
	}
	for _, c := range []struct{ part, targets, want string }{
		{recipes.PartLanguage, "lm_head",
			`train.language.lora.targets: "lm_head" matches no linear map of language; there are q_proj (2), ` +
				`k_proj (2), v_proj (2), o_proj (2), gate_proj (2), up_proj (2), down_proj (2), ` +
				`such as model.layers.0.self_attn.q_proj`},
		{recipes.PartLanguage, "fc1",
			`train.language.lora.targets: "fc1" matches no linear map of language, but 2 of vision: ` +
				`give those adapters with train.vision.lora`},
		{recipes.PartLanguage, "mm_projector", "but 2 of projector: give those adapters with train.projector.lora"},
		{recipes.PartVision, "embed_tokens", "matches no linear map of vision; there are q_proj (2)"},
	} {
		if got := openFails(t, r, of(c.part, c.targets)); !strings.Contains(got, c.want) {
			t.Errorf("%s of %s: %q, want %q", c.targets, c.part, got, c.want)
		}
	}
	r.Projector.Type, r.Language.Config = "identity",
		writeConfig(t, t.TempDir(), tinyLanguage.with(object{"hidden_size": 6, "num_attention_heads": 3,
			"num_key_value_heads": 1}))
	if got := openFails(t, r, of(recipes.PartProjector, ".")); !strings.Contains(got,
		"matches no linear map of projector, which has none") {
		t.Errorf("an identity: %q", got)
	}
}

// Values that were trained must be there: an adapter that starts anew would pass for them.
func TestAMissingAdapterIsAnError(t *testing.T) {
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	overlay := writeFolder(t, nil, map[string]checkpoints.Tensor{"model.norm.weight": zeros("model.norm.weight", 8)})
	o := OpenOptions{LoRA: map[string]recipes.LoRA{recipes.PartLanguage: {R: 2, Alpha: 4, Targets: "layers.0.*q_proj"}},
		Overlay: []string{overlay}}
	if got := openFails(t, r, o); !strings.Contains(got,
		"missing: adapter model.layers.0.self_attn.q_proj.lora_A.weight [2 8]") {
		t.Errorf("%q", got)
	}
}

func TestDescribeAdapters(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{LoRA: map[string]recipes.LoRA{
		recipes.PartLanguage:  {R: 2, Alpha: 4, Dropout: 0.1, Targets: `layers\.0.*[qv]_proj`},
		recipes.PartProjector: {R: 3, Alpha: 5, Targets: `\.0$`},
	}})
	text, err := m.DescribeAdapters("owner/name")
	if err != nil {
		t.Fatal(err)
	}
	var got object
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := object{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "owner/name", "bias": "none",
		"fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "modules_to_save": nil,
		"r": 2., "lora_alpha": 4., "lora_dropout": 0.1,
		"target_modules": []any{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj",
			"model.mm_projector.0"},
		"rank_pattern":  map[string]any{"model.mm_projector.0": 3.},
		"alpha_pattern": map[string]any{"model.mm_projector.0": 5.},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("adapter_config.json (-want +got):\n%s", diff)
	}
}

// Adapters stand beside weights that stay: a projector finds the model that it was trained with.
func TestAdaptersLeaveTheIdentity(t *testing.T) {
	r := tinyFolders(t, openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{}))
	lora := map[string]recipes.LoRA{recipes.PartLanguage: {R: 2, Alpha: 4, Targets: "."},
		recipes.PartVision: {R: 2, Alpha: 4, Targets: "."}}
	want, got := openModel(t, r, OpenOptions{}).Belongs(), openModel(t, r, OpenOptions{LoRA: lora}).Belongs()
	if diff := cmp.Diff(want, got); len(want) != 2 || diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
}
