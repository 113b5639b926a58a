package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/train/exam"
)

// The prediction for a micro-batch is what libtorch's allocator counts, in both stages, with and without recomputation.
func TestMemoryIsPredicted(t *testing.T) {
	shapes := []string{"tiny", "small"}
	if testing.Short() {
		shapes = shapes[:1]
	}
	for _, shape := range shapes {
		for stage := 1; stage <= 2; stage++ {
			for _, recompute := range []nn.Recompute{nn.RecomputeNothing, nn.RecomputeSelective, nn.RecomputeLayers} {
				predicted, measured := predict(t, Bench{
					Shape: shape, Stage: stage, Batch: 4, Steps: 2, Device: "cpu", Dtype: "fp32", Threads: 1,
				}, recompute)
				off := float64(predicted)/float64(measured) - 1
				t.Logf("%s, stage %d, recompute %s: %d predicted, %d measured, %+.1f %%",
					shape, stage, recompute, predicted, measured, 100*off)
				if math.Abs(off) > 0.1 {
					t.Errorf("%s, stage %d, recompute %s: %d bytes predicted, %d measured: off by %.0f %%",
						shape, stage, recompute, predicted, measured, 100*off)
				}
			}
		}
	}
}

func predict(t *testing.T, b Bench, recompute nn.Recompute) (predicted, measured int64) {
	t.Helper()
	if _, err := torch.Open(); err != nil {
		t.Fatal(err)
	}
	base := torch.Allocated()
	tr, err := b.open()
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	tr.plan.recompute = recompute
	torch.ResetPeakAllocated()
	tr.baseMemory = base
	rows, err := b.rows()
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Steps {
		st, err := b.step(i, rows, tr, rand.New(rand.NewPCG(1, 0)))
		if err != nil {
			t.Fatal(err)
		}
		takeStep(t, tr, st)
	}
	return totalOf(sizeOf(tr.model).memory(tr.plan.setting(), tr.largest)), tr.measuredMemory()
}

// The prediction grows with everything that needs memory.
func TestMemoryIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := func(name string, most int64) int64 { return rapid.Int64Range(1, most).Draw(t, name) }
		size := modelSize{
			language: model.LanguageShape{
				HiddenSize: count("hidden", 8192), VocabSize: count("vocabulary", 1<<18), Layers: count("layers", 100),
				Heads: 8, QuerySize: 8 * count("head", 256), KeySize: count("key", 4096),
				IntermediateSize: count("inner", 1<<15),
			},
			tower: model.TowerShape{
				HiddenSize: count("vision", 2048), ImageSize: 336, Tokens: 576, Rows: 577,
				Layers: count("visionLayers", 50), IntermediateSize: count("visionInner", 8192),
			},
			frozen: count("frozen", 1<<36), trainable: count("trainable", 1<<36), projectorLayers: 2,
			trains: map[string]bool{recipes.PartProjector: true, recipes.PartLanguage: rapid.Bool().Draw(t, "trains")},
			head:   rapid.Bool().Draw(t, "head"),
		}
		l := load{count("positions", 1<<18), count("supervised", 1<<16), count("pictures", 64), 0}
		l.queries = rapid.Int64Range(0, l.positions).Draw(t, "queries")
		dtype := rapid.SampledFrom([]torch.Dtype{torch.Float32, torch.BFloat16}).Draw(t, "dtype")
		moments := rapid.SampledFrom([]torch.Dtype{torch.Float32, torch.BFloat16}).Draw(t, "moments")
		recomputes := []nn.Recompute{nn.RecomputeNothing, nn.RecomputeSelective, nn.RecomputeLayers}
		of := setting{dtype: dtype, moments: moments, recompute: rapid.SampledFrom(recomputes).Draw(t, "recompute")}
		size.language.Selective = rapid.Bool().Draw(t, "selective")
		before := totalOf(size.memory(of, l))
		grown, more := size, l
		grow := map[string]func(){
			"frozen":     func() { grown.frozen++ },
			"trainable":  func() { grown.trainable++ },
			"hidden":     func() { grown.language.HiddenSize++ },
			"layers":     func() { grown.language.Layers++ },
			"inner":      func() { grown.language.IntermediateSize++ },
			"positions":  func() { more.positions++ },
			"supervised": func() { more.supervised++ },
			"pictures":   func() { more.tiles++ },
			"queries":    func() { more.queries++ },
		}
		name := rapid.SampledFrom([]string{
			"frozen", "trainable", "hidden", "layers", "inner", "positions", "supervised", "pictures", "queries",
		}).Draw(t, "grows")
		grow[name]()
		if after := totalOf(grown.memory(of, more)); after < before {
			t.Errorf("with more %s it takes %d bytes; before it was %d", name, after, before)
		}
	})
}

// Smaller micro-batches come before recomputation, down to a quarter; what the recipe says is left as it is.
func TestFitMemory(t *testing.T) {
	size := modelSize{
		language: model.LanguageShape{
			HiddenSize: 1024, VocabSize: 32000, Layers: 16, Heads: 16,
			QuerySize: 1024, KeySize: 1024, IntermediateSize: 4096,
		},
		tower: model.TowerShape{
			HiddenSize: 1024, ImageSize: 336, Tokens: 576, Rows: 577, Layers: 23, IntermediateSize: 4096,
		},
		trains: map[string]bool{recipes.PartProjector: true, recipes.PartLanguage: true}, trainable: 1 << 28,
	}
	const nothing, selective, layers = nn.RecomputeNothing, nn.RecomputeSelective, nn.RecomputeLayers
	needs := func(micro int, recompute nn.Recompute, moments torch.Dtype) int64 {
		p := &plan{micro: micro}
		of := setting{dtype: torch.Float32, moments: moments, recompute: recompute}
		return int64(float64(totalOf(size.memory(of, p.worst(2048))))/share) + 1
	}
	need := func(micro int, recompute nn.Recompute) int64 {
		return needs(micro, recompute, torch.Float32)
	}
	for _, c := range []struct {
		name      string
		rule      string
		auto      bool
		available int64
		micro     int
		recompute nn.Recompute
	}{
		{"room for all", "auto", true, need(8, nothing), 8, nothing},
		{"for half", "auto", true, need(4, nothing), 4, nothing},
		{"for a quarter", "auto", true, need(2, nothing), 2, nothing},
		{"for less", "auto", true, need(8, layers), 8, layers},
		{"for little", "auto", true, need(1, layers), 1, layers},
		{"for nothing", "auto", true, 1, 1, layers},
		{"the recipe's micro", "auto", false, need(8, layers), 8, layers},
		{"never recompute", "none", true, need(1, nothing), 1, nothing},
		{"always recompute", "layers", true, need(8, nothing), 8, layers},
	} {
		p := &plan{stage: &recipes.Stage{Recompute: c.rule}, dtype: torch.Float32, micro: 8, autoMicro: c.auto}
		if p.fitMemory(size, 2048, c.available); p.micro != c.micro || p.recompute != c.recompute {
			t.Errorf("%s: micro %d, recompute %s; want %d, %s", c.name, p.micro, p.recompute, c.micro, c.recompute)
		}
	}
	p := &plan{stage: &recipes.Stage{Recompute: "layers"}, dtype: torch.Float32, tokens: 4096}
	if p.fitMemory(size, 2048, 1); p.recompute != layers || p.micro != 0 {
		t.Errorf("with tokens: micro %d, recompute %s", p.micro, p.recompute)
	}

	// A quarter of the samples is tried before recomputing layers, and fp32 moments before bf16.
	size.language.Selective = true
	for _, c := range []struct {
		available int64
		setting   string
		recompute nn.Recompute
		moments   torch.Dtype
	}{
		{needs(8, selective, torch.Float32), "auto", nothing, torch.Float32}, // in micro-batches of 4
		{needs(2, selective, torch.Float32), "auto", selective, torch.Float32},
		{needs(1, layers, torch.Float32), "auto", layers, torch.Float32},
		{needs(8, nothing, torch.BFloat16), "bf16", nothing, torch.BFloat16},
		{needs(1, layers, torch.Float32) - 2, "auto", layers, torch.BFloat16},
		{needs(1, layers, torch.Float32) - 2, "fp32", layers, torch.Float32}, // does not fit
	} {
		p := &plan{stage: &recipes.Stage{Recompute: "auto"}, dtype: torch.Float32, micro: 8, autoMicro: true,
			momentsSetting: c.setting}
		if p.fitMemory(size, 2048, c.available); p.recompute != c.recompute || p.moments != c.moments {
			t.Errorf("%d bytes, moments %s: recompute %s, moments %v, micro %d; want %s, %v",
				c.available, c.setting, p.recompute, p.moments, p.micro, c.recompute, c.moments)
		}
	}
}

// The prediction of a run with adapters, whose layers are single operations and keep inputs only where an adapter needs
// them.
func TestMemoryOfAdaptersIsPredicted(t *testing.T) {
	for _, lora := range []string{
		"{r: 8, alpha: 16}", "{r: 8, alpha: 16, dropout: 0.1}", "{r: 8, alpha: 16, targets: 'q_proj|v_proj'}",
		"{r: 8, alpha: 16, dropout: 0.1, targets: 'mlp'}",
	} {
		w := newWorld(t, "finetune.train={projector: {lr: 1e-3}, language: {lr: 1e-3, lora: "+lora+"}}",
			"finetune.batch.micro=4", "finetune.steps=2", "finetune.eval.every=9", "model.language.max_length=200")
		told := w.must(Options{})
		at := slices.IndexFunc(told.said, func(line string) bool { return strings.HasPrefix(line, "peak memory") })
		var predicted, measured float64
		var positions int
		if _, err := fmt.Sscanf(told.said[at], "peak memory of tensors: %f MB predicted for the largest micro-batch "+
			"(%d positions), %f MB measured", &predicted, &positions, &measured); err != nil {
			t.Fatalf("%s: %v", told.said[at], err)
		}
		t.Logf("%s: %s, %+.1f %%", lora, told.said[at], 100*(predicted/measured-1))
		if math.Abs(predicted/measured-1) > 0.1 {
			t.Errorf("%s: %s", lora, told.said[at])
		}
	}
}

// Of several processes each keeps its part of the optimizer's state, and the sums of its part of the gradients.
func TestShardedMemory(t *testing.T) {
	size := modelSize{trainable: 1 << 20, frozen: 1 << 10, language: model.LanguageShape{Layers: 1, HiddenSize: 8,
		VocabSize: 8, Heads: 1, QuerySize: 8, KeySize: 8, IntermediateSize: 8}}
	items := func(of setting) map[string]int64 {
		bytes := map[string]int64{}
		for _, item := range size.memory(of, load{}) {
			bytes[item.Name] = item.Bytes
		}
		return bytes
	}
	of := setting{dtype: torch.BFloat16, moments: torch.Float32}
	alone := items(of)
	of.zero, of.shards, of.communication = nn.States, 4, 5
	sharded := items(of)
	for name, want := range map[string]int64{"weights": alone["weights"], "masters": alone["masters"] / 4,
		"gradients": alone["gradients"] * 5 / 4, "moments": alone["moments"] / 4, "communication": 5} {
		if sharded[name] != want {
			t.Errorf("%s: %d, want %d", name, sharded[name], want)
		}
	}
	size.layersTrainable, size.layerTrainable = 1<<19, 1<<16
	of.zero = nn.Gradients
	slots := int64(1<<20 - 1<<19 + 2<<16)
	if got, want := items(of)["gradients"], 2*slots+4<<20/4+2*slots/4; got != want {
		t.Errorf("divided gradients: %d, want %d", got, want)
	}
	if _, has := alone["communication"]; has {
		t.Error("a process alone communicates")
	}
}

// Answers to benchmarks are in the place of a step's activations: they count only as far as they need more.
func TestMemoryOfAnswers(t *testing.T) {
	tr := openTiny(t, tinyStage)
	size, l, of := sizeOf(tr.model), load{positions: 32, supervised: 32, tiles: 1, queries: 32}, tr.plan.setting()
	step := size.memory(of, l)
	for _, room := range []exam.Room{{}, {Positions: 1, Prompts: 1}} {
		if of.answers = room; totalOf(size.memory(of, l)) != totalOf(step) {
			t.Errorf("%+v changes the memory of a step", room)
		}
	}
	of.answers = exam.Room{Positions: 1 << 20, Prompts: 1 << 10}
	more := size.memory(of, l)
	free := int64(0)
	for _, item := range step {
		if item.Name == "activations" || item.Name == "workspace" {
			free += item.Bytes
		}
	}
	want := size.answering(4, of.answers) - free
	if last := more[len(more)-1]; last.Name != "keys and values" || last.Bytes != want || want <= 0 {
		t.Errorf("%+v, want %d bytes", last, want)
	}
}
