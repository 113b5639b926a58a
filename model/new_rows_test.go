package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
)

// The rows of new tokens are the mean of the rows before them, whether the file lacks them or has padding there.
func TestNewRows(t *testing.T) {
	matrix := checkpoints.Tensor{
		Info: checkpoints.Info{Name: "model.embed_tokens.weight", Dtype: checkpoints.F32, Shape: []int64{4, 2}},
		Data: checkpoints.Float32Tensor("", []float32{1, 10, 3, 30, 5, 50, 7, 70}).Data,
	}
	for _, test := range []struct {
		name string
		ids  []int32
		rows int64
		want []float32
	}{
		{"behind the matrix", []int32{4, 5}, 6, []float32{1, 10, 3, 30, 5, 50, 7, 70, 4, 40, 4, 40}},
		{"and padding", []int32{4}, 6, []float32{1, 10, 3, 30, 5, 50, 7, 70, 4, 40, 4, 40}},
		{"within its padding", []int32{2}, 4, []float32{1, 10, 3, 30, 2, 20, 7, 70}},
		{"from its padding on", []int32{3, 4}, 5, []float32{1, 10, 3, 30, 5, 50, 3, 30, 3, 30}},
	} {
		grown, err := newRowsOf(test.ids).addTo(matrix, test.rows)
		if err != nil {
			t.Fatal(err)
		}
		got, err := grown.Float32s()
		if err != nil || !slices.Equal(got, test.want) || grown.Shape[0] != test.rows {
			t.Errorf("%s: %v %v, %v; want %v", test.name, grown.Shape, got, err, test.want)
		}
	}
}

func TestNewRowsFitOnlyTokenMatrices(t *testing.T) {
	n := newRowsOf([]int32{4, 5})
	param := func(name string, shape ...int64) *nn.Param {
		return &nn.Param{Name: name, Part: recipes.PartLanguage, Shape: shape}
	}
	for _, test := range []struct {
		param *nn.Param
		file  []int64
		want  bool
	}{
		{param("model.embed_tokens.weight", 64, 8), []int64{4, 8}, true},
		{param("lm_head.weight", 64, 8), []int64{5, 8}, true},
		{param("lm_head.weight", 64, 8), []int64{3, 8}, false}, // lacks tokens that are not new
		{param("lm_head.weight", 64, 8), []int64{4, 7}, false},
		{param("lm_head.weight", 64, 8), []int64{65, 8}, false},
		{param("model.layers.0.mlp.up_proj.weight", 64, 8), []int64{4, 8}, false},
	} {
		if got := n.fit(test.param, checkpoints.Info{Shape: test.file}); got != test.want {
			t.Errorf("%s %v from %v: %v", test.param.Name, test.param.Shape, test.file, got)
		}
	}
}

// The vocabulary grows in steps of 64 rows, and only where it has no room.
func TestVocabularyGrows(t *testing.T) {
	for _, test := range []struct {
		rows int64
		ids  []int32
		want int64
	}{
		{100, nil, 100}, {100, []int32{99}, 100}, {100, []int32{99, 100}, 128}, {128, []int32{127}, 128},
		{128, []int32{128}, 192},
	} {
		config := filepath.Join(t.TempDir(), "config.json")
		text, _ := json.Marshal(map[string]any{"model_type": "llama", "vocab_size": test.rows, "rms_norm_eps": 1e-5})
		if err := os.WriteFile(config, text, 0o666); err != nil {
			t.Fatal(err)
		}
		tower := filepath.Join(t.TempDir(), "tower.json")
		if err := os.WriteFile(tower, []byte(`{"model_type": "clip_vision_model"}`), 0o666); err != nil {
			t.Fatal(err)
		}
		c, err := readGrown(recipes.Model{Vision: recipes.Vision{Config: tower},
			Language: recipes.Language{Config: config}}, test.ids)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Rows int64 `json:"vocab_size"`
		}
		if err := json.Unmarshal(c.language, &got); err != nil || got.Rows != test.want {
			t.Errorf("%d rows and tokens %v: %d rows, %v; want %d", test.rows, test.ids, got.Rows, err, test.want)
		}
	}
}
