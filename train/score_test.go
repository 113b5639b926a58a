package train

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/input"
	"github.com/llavatrain/llavatrain/train/score"
)

// scores returns the scores of samples in the given micro-batches, in the order of the samples.
func scores(t *testing.T, tr *trainer, groups [][]data.Sample) []score.RowScore {
	t.Helper()
	live := torch.Live()
	rows, err := (&score.Scoring{Model: tr.model}).Step(data.Step{Micro: collate(t, tr, groups)})
	if err != nil {
		t.Fatal(err)
	}
	if leaked := torch.Live() - live; leaked != 0 {
		t.Fatalf("scoring left %d tensors behind", leaked)
	}
	return rows
}

// numbered gives samples with images a folder, and all samples their place in the list.
func numbered(samples []data.Sample) []data.Sample {
	for i := range samples {
		samples[i].Row = i
		if len(samples[i].Images) > 0 {
			samples[i].Folder = "coco/train2017"
		}
	}
	return samples
}

// A sample's loss does not depend on those that share its micro-batch, and is what training sums.
func TestScoresDoNotDependOnMicroBatches(t *testing.T) {
	const tolerance = 1e-5 // relative
	tr := openTiny(t, tinyStage)
	samples := numbered(tinySamples(tr, 3, 12))
	want := scores(t, tr, data.Split(samples, 1))
	for name, groups := range map[string][][]data.Sample{
		"3 x 4": data.Split(samples, 4), "100 positions": data.SplitTokens(samples, 100),
	} {
		for i, got := range scores(t, tr, groups) {
			if got.Row != i || got.SupervisedTokens != want[i].SupervisedTokens || got.Modality != want[i].Modality {
				t.Errorf("%s: sample %d is %+v, want %+v", name, i, *got.Scored, *want[i].Scored)
			}
			difference := math.Abs(float64(got.Loss-want[i].Loss)) / float64(want[i].Loss)
			if !(difference <= tolerance) {
				t.Errorf("%s: the loss of sample %d differs by %.2g relative", name, i, difference)
			}
		}
	}
	var all score.Total
	for _, row := range want {
		all = all.Add(*row.Scored)
	}
	m := takeStep(t, tr, tinyStep(t, tr, 0, samples, 12))
	trained := float64(m.Loss) * float64(m.SupervisedTokens)
	if math.Abs(all.Loss-trained)/trained > tolerance || all.SupervisedTokens != m.SupervisedTokens {
		t.Errorf("scores sum to %v over %d tokens, training has %v over %d",
			all.Loss, all.SupervisedTokens, trained, m.SupervisedTokens)
	}
}

// countingTower counts the images that pass through a tower.
type countingTower struct {
	model.Tower
	pictures int64
}

func (c *countingTower) Forward(s *torch.Scope, pixels *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	c.pictures += pixels.Size(0)
	return c.Tower.Forward(s, pixels, keys)
}

func TestTextPassesNoTower(t *testing.T) {
	tr := openTiny(t, tinyStage)
	samples := tinySamples(tr, 3, 12)
	pictures := slices.DeleteFunc(slices.Clone(samples), func(s data.Sample) bool { return len(s.Images) == 0 })
	texts := slices.DeleteFunc(slices.Clone(samples), func(s data.Sample) bool { return len(s.Images) > 0 })
	if len(texts) == 0 || len(pictures) == 0 {
		t.Fatal("the samples are of one modality")
	}
	inner := tr.model.Tower
	defer func() { tr.model.Tower = inner }()
	count := &countingTower{Tower: inner}
	tr.model.Tower = count
	for _, row := range scores(t, tr, data.Split(numbered(texts), 4)) {
		if row.Modality != "text" || row.Source != "text" {
			t.Errorf("a sample without an image is scored as %q from %q", row.Modality, row.Source)
		}
	}
	if count.pictures != 0 {
		t.Errorf("%d images passed the tower for samples without images", count.pictures)
	}
	if scores(t, tr, [][]data.Sample{numbered(samples)}); count.pictures != int64(len(pictures)) {
		t.Errorf("%d images passed the tower, want %d", count.pictures, len(pictures))
	}
}

// The losses of single samples are those recorded with the original's code (shared/parity/README.md, "forward").
func TestScoresMatchTheOriginal(t *testing.T) {
	const tolerance = 1e-5 // relative
	shared, err := filepath.Abs(torchtest.Shared(t, "../../shared"))
	if err != nil {
		t.Fatal(err)
	}
	parity := filepath.Join(shared, "parity")
	type losses struct {
		Sum   []float64 `json:"loss_sum"`
		Count []int     `json:"loss_count"`
	}
	var recorded struct {
		Indices []int  `json:"indices"`
		Linear  losses `json:"linear"`
		losses
	}
	readJSON(t, filepath.Join(parity, "forward.json"), &recorded)
	var tokenizer struct{ Legacy bool }
	readJSON(t, filepath.Join(parity, "llm", "tokenizer_config.json"), &tokenizer)
	legacy := strconv.FormatBool(tokenizer.Legacy)
	rows := filepath.Join(t.TempDir(), "rows.json")
	pick(t, filepath.Join(shared, "coco-mini", "instruct.json"), recorded.Indices, rows)
	for projector, want := range map[string]losses{"mlp2x": recorded.losses, "linear": recorded.Linear} {
		m := recipes.Model{
			Vision: recipes.Vision{Weights: filepath.Join(parity, "clip"), SelectLayer: -2, SelectFeature: "patch"},
			Projector: recipes.Projector{
				Type:    map[string]string{"mlp2x": "mlp2x_gelu", "linear": "linear"}[projector],
				Weights: filepath.Join(parity, "projector-"+projector+".safetensors"),
			},
			Language: recipes.Language{
				Weights: filepath.Join(parity, "llm"), MaxLength: 2048,
				Tokenizer: recipes.Tokenizer{Path: filepath.Join(shared, "llama-tokenizer"), Legacy: legacy},
			},
		}
		images := filepath.Join(shared, "coco-mini", "images")
		got := scoreFile(t, m, recipes.Data{Path: rows, Images: images, Weight: 1})
		if len(got) != len(want.Sum) || len(got) == 0 {
			t.Fatalf("%d scores, want %d", len(got), len(want.Sum))
		}
		for i, row := range got {
			difference := math.Abs(float64(row.Loss)-want.Sum[i]) / want.Sum[i]
			if !(difference <= tolerance) || row.SupervisedTokens != want.Count[i] || row.Row != i {
				t.Errorf("%s, sample %d: %v over %d tokens, want %v over %d",
					projector, i, row.Loss, row.SupervisedTokens, want.Sum[i], want.Count[i])
			}
			perplexity := math.Exp(want.Sum[i] / float64(want.Count[i]))
			if math.Abs(float64(row.Perplexity)-perplexity)/perplexity > 1e-3 {
				t.Errorf("%s, sample %d: perplexity %v, want %v", projector, i, row.Perplexity, perplexity)
			}
		}
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// pick writes the given rows of a data set.
func pick(t *testing.T, from string, indices []int, to string) {
	t.Helper()
	var all, picked []json.RawMessage
	readJSON(t, from, &all)
	for _, i := range indices {
		picked = append(picked, all[i])
	}
	text, err := json.Marshal(picked)
	if err == nil {
		err = os.WriteFile(to, text, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// scoreFile scores a file as vicuna_v1 with padded images.
func scoreFile(t *testing.T, m recipes.Model, rows recipes.Data) (scores []score.RowScore) {
	t.Helper()
	torchtest.NoLeaks(t)
	preprocessor, err := input.OpenPreprocessor(m)
	if err != nil {
		t.Fatal(err)
	}
	table := preprocessor.Normalization()
	llava, err := model.Open(m, model.OpenOptions{Device: torch.CPU, Dtype: torch.Float32, Normalization: table})
	if err != nil {
		t.Fatal(err)
	}
	defer llava.Free()
	o := score.Options{Model: m, Data: rows, Template: "vicuna_v1", Image: "pad"}
	err = score.Score(context.Background(), llava, preprocessor, o, runs.Silent{}, func(row score.RowScore) error {
		scores = append(scores, row)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return scores
}
