package main

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tiledSet is a model of ../../../shared/parity-connectors with tiles, and what transformers computes with it; the
// README there describes the files.
type tiledSet struct {
	Rows   []tiledLoss
	Padded []struct { // rows with several images, of which each is one tile
		Row int
		tiledLoss
	} `json:"padded_rows"`
	Curves map[string]struct {
		Groups []struct {
			Pattern string
			LR      float64
		}
		Trained []string
		Curve   []struct {
			Rows     []int
			Loss     float64
			GradNorm float64 `json:"grad_norm"`
			LR       []float64
		}
	}
}

type tiledLoss struct {
	Sum   float64 `json:"loss_sum"`
	Count int     `json:"loss_count"`
}

// tiledModel is how a recipe names one of the two models.
type tiledModel struct {
	name, vision string
	several      string // what the recorded rows do with several images
}

var tiledModels = []tiledModel{
	{"llava-next", "select_layer: -2, select_feature: patch", "tile"},
	{"llava-onevision", "select_layer: -1, select_feature: patch", "pad"},
}

func readTiledSet(t *testing.T, name string) (set tiledSet) {
	t.Helper()
	if err := json.Unmarshal(read(t, shared(t, "parity-connectors", name+".json")), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// tiles is the section of a recipe for the folder's configuration, whose pairs are (height, width).
func (m tiledModel) tiles(t *testing.T) string {
	t.Helper()
	var config struct {
		Pinpoints [][2]int `json:"image_grid_pinpoints"`
		Limit     string   `json:"vision_aspect_ratio"`
	}
	if err := json.Unmarshal(read(t, shared(t, "parity-connectors", m.name, "config.json")), &config); err != nil {
		t.Fatal(err)
	}
	var pairs []string
	for _, pair := range config.Pinpoints {
		pairs = append(pairs, fmt.Sprintf("[%d, %d]", pair[1], pair[0]))
	}
	limit := ""
	if number, ok := strings.CutPrefix(config.Limit, "anyres_max_"); ok {
		limit = ", max: " + number
	}
	return fmt.Sprintf("{pinpoints: [%s]%s, several: %s}", strings.Join(pairs, ", "), limit, m.several)
}

// recipe trains the model on; its rows are in their order.
func (m tiledModel) recipe(t *testing.T, rows, train string, batch, steps int) string {
	t.Helper()
	return fmt.Sprintf(`
threads: 2
dtype: fp32
model:
  vision: {weights: %[1]s, %[2]s}
  language: {weights: %[1]s}
  tiles: %[3]s
finetune:
  data: [{path: %[4]s, images: %[5]s}]
  template: qwen_2
  image: anyres
  order: sequential
  train: %[6]s
  batch: {global: %[7]d, micro: 1}
  steps: %[8]d
  schedule: {type: cosine, warmup: 1}
  optimizer: {clip: 0}
`, shared(t, "parity-connectors", m.name), m.vision, m.tiles(t), rows, shared(t, "parity-connectors", "images"), train,
		batch, steps)
}

// Folders of LLaVA-1.6 and LLaVA-OneVision, as transformers writes them, give transformers' losses.
func TestLossesWithTiles(t *testing.T) {
	for _, m := range tiledModels {
		set := readTiledSet(t, m.name)
		out := filepath.Join(t.TempDir(), "scores.jsonl")
		command(t, 0, "score", shared(t, "parity-connectors", m.name), shared(t, "parity-connectors", "rows.json"),
			"--images", shared(t, "parity-connectors", "images"), "--template", "qwen_2", "--out", out)
		want := slices.Clone(set.Rows)
		for _, padded := range set.Padded { // by default, one of several images is one tile
			want[padded.Row] = padded.tiledLoss
		}
		lines := strings.Split(strings.TrimSpace(string(read(t, out))), "\n")
		if len(lines) != len(want) {
			t.Fatalf("%s: %d scores of %d rows", m.name, len(lines), len(want))
		}
		worst := 0.0
		for i, line := range lines {
			var got struct {
				Loss   float64
				Tokens int `json:"supervised_tokens"`
			}
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatal(err)
			}
			if got.Tokens != want[i].Count {
				t.Errorf("%s, row %d: %d supervised tokens, want %d", m.name, i, got.Tokens, want[i].Count)
			}
			worst = math.Max(worst, relative(got.Loss, want[i].Sum))
		}
		if t.Logf("%s: largest relative difference of a loss: %.2g", m.name, worst); worst > lossTolerance {
			t.Errorf("%s: a loss differs by %.2g", m.name, worst)
		}
	}
}

// Training from these folders gives transformers' curves: the projector with and without the newline, then with the
// language model, then with the tower at a rate of its own.
func TestCurvesWithTiles(t *testing.T) {
	for _, m := range tiledModels {
		set := readTiledSet(t, m.name)
		if len(set.Curves) == 0 {
			t.Errorf("%s: no curves", m.name)
		}
		for name, recorded := range set.Curves {
			t.Run(m.name+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				var rows, ordered []json.RawMessage
				if err := json.Unmarshal(read(t, shared(t, "parity-connectors", "rows.json")), &rows); err != nil {
					t.Fatal(err)
				}
				for _, step := range recorded.Curve {
					for _, row := range step.Rows {
						ordered = append(ordered, rows[row])
					}
				}
				writeRows(t, filepath.Join(dir, "rows.json"), ordered)
				parts := map[string]string{}
				for _, group := range recorded.Groups {
					if strings.Contains(group.Pattern, "projector") {
						parts["projector"] = fmt.Sprintf("lr: %g", group.LR)
						if !strings.Contains(group.Pattern, "newline") {
							parts["projector"] += ", except: image_newline"
						}
					}
					if strings.Contains(group.Pattern, "language") {
						parts["language"] = fmt.Sprintf("lr: %g", group.LR)
					}
					if strings.Contains(group.Pattern, "tower") {
						parts["vision"] = fmt.Sprintf("lr: %g", group.LR)
					}
				}
				train := ""
				for part, keys := range parts {
					train += fmt.Sprintf("%s: {%s}, ", part, keys)
				}
				write(t, filepath.Join(dir, "curve.yaml"), m.recipe(t, filepath.Join(dir, "rows.json"), "{"+train+"}",
					len(recorded.Curve[0].Rows), len(recorded.Curve)))
				command(t, 0, "finetune", filepath.Join(dir, "curve.yaml"))
				metrics := readMetrics(t, filepath.Join(dir, "runs", "curve", "finetune"))
				if len(metrics) != len(recorded.Curve) {
					t.Fatalf("%d steps, want %d", len(metrics), len(recorded.Curve))
				}
				var worstLoss, worstNorm float64
				for i, want := range recorded.Curve {
					worstLoss = math.Max(worstLoss, relative(float64(metrics[i].Loss), want.Loss))
					worstNorm = math.Max(worstNorm, relative(float64(metrics[i].GradNorm), want.GradNorm))
				}
				t.Logf("largest relative difference: loss %.2g, gradient norm %.2g", worstLoss, worstNorm)
				if worstLoss > lossTolerance || worstNorm > normTolerance {
					t.Errorf("loss differs by %.2g relative, gradient norm by %.2g", worstLoss, worstNorm)
				}
			})
		}
	}
}
