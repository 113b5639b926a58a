package train

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// openTwoTowers is openTiny with a second tower, of 28 pixels by 7 beside 56 by 14, and with everything drawn that is 0
// at first.
func openTwoTowers(t *testing.T, keys, stage string) *trainer {
	t.Helper()
	recipe := strings.Replace(tinyRecipe, "{config: tower.json}",
		"[{config: tower.json}, {config: second.json, image_size: 28}]", 1)
	recipe = strings.Replace(recipe, "finetune:", keys+"finetune:", 1) + stage
	table := make([]float32, 2*3*256)
	for i := range table {
		table[i] = float32(i%256)/128 - float32(1+i/768) // other values for each tower
	}
	tr := openTinyRecipe(t, recipe, table)
	if err := torch.Do(func(s *torch.Scope) {
		for _, p := range tr.model.Params.All() {
			if p.Init.Kind == "zeros" {
				p.Init = nn.Init{Kind: "normal", Scale: 0.1}
				p.Initialise(s, 3)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return tr
}

// withVision is a stage that trains everything, the tower by the given settings.
func withVision(settings string) string {
	return strings.Replace(trains("vision", "projector", "language"), "vision: {lr: 1e-3}",
		"vision: {lr: 1e-3"+settings+"}", 1)
}

// How a step is cut, and what backward recomputes, changes no gradient of either tower beyond rounding.
func TestGradientsOfTwoTowersDoNotDependOnCuts(t *testing.T) {
	const tolerance = 1e-5 // relative, over each flat buffer
	keyLines := []string{"", `  tiles: {pinpoints: "(1x1),(2x1),(2x2)"}` + "\n"}
	for _, name := range []string{"qformer", "gated", "tiles, pixel shuffle"} {
		keyLines = append(keyLines, "  "+tinyConnectors[name]+"\n")
	}
	for _, keys := range keyLines {
		for _, settings := range []string{"", ", only: vision_tower_2", ", lora: {r: 2, alpha: 4, dropout: 0.2}"} {
			tr := openTwoTowers(t, keys, withVision(settings))
			samples := tinySamples(tr, 3, 8)
			want := gradients(t, tr, data.Split(samples, 8))
			for _, groups := range [][][]data.Sample{data.Split(samples, 4), data.Split(samples, 1),
				data.SplitTokens(samples, 100)} {
				for _, recompute := range []nn.Recompute{nn.RecomputeNothing, nn.RecomputeLayers} {
					tr.plan.recompute = recompute
					for i, got := range gradients(t, tr, groups) {
						if d := distance(got, want[i]); !(d <= tolerance) {
							t.Errorf("%s%s, %d micro-batches, recompute %s: the gradient differs by %.2g relative",
								keys, settings, len(groups), recompute, d)
						}
					}
				}
			}
		}
	}
}

// A step changes the weights of the towers that only and except leave, and no bit of the others.
func TestOnlyTheChosenTowerTrains(t *testing.T) {
	for settings, want := range map[string][2]bool{ // which towers change
		"":                         {true, true},
		", only: vision_tower_2":   {false, true},
		", except: vision_tower_2": {true, false},
	} {
		tr := openTwoTowers(t, "", withVision(settings))
		before := vision(t, tr)
		for step := range 2 { // the first has the rate 0
			takeStep(t, tr, tinyStep(t, tr, step, tinySamples(tr, 3, 8), 4))
		}
		changed := map[bool]int{}
		for name, value := range vision(t, tr) {
			if !bytes.Equal(value, before[name]) {
				changed[strings.Contains(name, "vision_tower_2")]++
			}
		}
		// the first tower has 2 + 3 + 3*16 weights, the second 5 + 3*18
		if (changed[false] > 40) != want[0] || (changed[true] > 50) != want[1] ||
			!want[0] && changed[false] > 0 || !want[1] && changed[true] > 0 {
			t.Errorf("vision%s: %d weights of the first tower changed, %d of the second", settings, changed[false],
				changed[true])
		}
	}
}

func vision(t *testing.T, tr *trainer) map[string][]byte {
	t.Helper()
	values := map[string][]byte{}
	if err := torch.Do(func(s *torch.Scope) {
		for _, p := range tr.model.Params.All() {
			if p.Part == "vision" {
				values[p.Name] = bytes.Clone(p.Value(s).Bytes())
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return values
}

// The prediction is what libtorch's allocator counts: with frozen towers, with both and with one of them training.
func TestMemoryOfTwoTowersIsPredicted(t *testing.T) {
	for _, stage := range []string{trains("projector"), trains("projector", "language"), withVision(""),
		withVision(", only: vision_tower_2"), withVision(", except: vision_tower_2")} {
		for _, keys := range []string{"", `  tiles: {pinpoints: "(1x1),(2x1),(2x2)"}` + "\n"} {
			base := torch.Allocated()
			tr := openTwoTowers(t, keys, stage)
			tr.plan.recompute = nn.RecomputeNothing
			samples := tinySamples(tr, 3, 8)
			torch.ResetPeakAllocated()
			tr.baseMemory = base
			for i := range 2 {
				takeStep(t, tr, tinyStep(t, tr, i, samples, 8))
			}
			predicted := totalOf(sizeOf(tr.model).memory(tr.plan.setting(), tr.largest))
			measured := tr.measuredMemory()
			off := float64(predicted)/float64(measured) - 1
			t.Logf("%q%s: %d predicted, %d measured, %+.1f %%", keys, stage, predicted, measured, 100*off)
			if math.Abs(off) > 0.1 {
				t.Errorf("%q%s: off by %.0f %%", keys, stage, 100*off)
			}
		}
	}
}

// The operations of two towers are those of each.
func TestFlopsOfTwoTowers(t *testing.T) {
	done := amounts{100, 50, 3, 1e4}
	for name, c := range map[string]struct {
		stage  string
		passes [2]float64
	}{
		"frozen":   {trains("language"), [2]float64{1, 1}},
		"both":     {withVision(""), [2]float64{3, 3}},
		"a second": {withVision(", only: vision_tower_2"), [2]float64{1, 3}},
	} {
		m := openTwoTowers(t, "", c.stage).model
		shapes, tower := m.Tower.Describe().Each(), 0.
		for i, passes := range c.passes {
			tower += passes * towerFLOPs(shapes[i], done.tiles)
		}
		nothing := done
		nothing.tiles = 0
		trained := sizeOf(m).trains
		projector := 6 * done.tiles * 16 * (128*64 + 64*64)
		if got := flops(m, trained, done) - flops(m, trained, nothing); math.Abs(got/(tower+projector)-1) > 1e-9 {
			t.Errorf("%s: %g operations for images, want %g", name, got, tower+projector)
		}
	}
	if first := (model.TowerShape{HiddenSize: 2, Rows: 3, Layers: 1, IntermediateSize: 5}); towerFLOPs(first, 2) !=
		2*6*(4*4+2*2*5)+4*6*3*2 {
		t.Errorf("%g operations of a tower", towerFLOPs(first, 2))
	}
}
