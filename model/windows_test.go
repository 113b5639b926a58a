package model

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// windowsOf are the windows of a language model's layers.
func windowsOf(t *testing.T, config object) (windows []int64) {
	t.Helper()
	r := tinyRecipe(t, config, tinyVision)
	raw, err := os.ReadFile(r.Language.Config)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newLanguage(raw, nn.NewParams(), torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	defer m.(*llama).Free()
	for _, layer := range m.(*llama).layers {
		windows = append(windows, layer.window)
	}
	return windows
}

// Published Qwens have a window that is off; which layers have one is transformers' rule (configuration_qwen2.py).
func TestQwensWindows(t *testing.T) {
	qwen := tinyLanguage.with(object{"model_type": "qwen2", "num_hidden_layers": 3})
	for name, c := range map[string]struct {
		change object
		want   []int64
	}{
		"absent": {nil, []int64{0, 0, 0}},
		"off": {object{"use_sliding_window": false, "sliding_window": 5, "max_window_layers": 1},
			[]int64{0, 0, 0}},
		"the last layers": {object{"use_sliding_window": true, "sliding_window": 5, "max_window_layers": 2},
			[]int64{0, 0, 5}},
		"its default":          {object{"use_sliding_window": true, "max_window_layers": 2}, []int64{0, 0, 4096}},
		"max_window_layers 28": {object{"use_sliding_window": true, "sliding_window": 5}, []int64{0, 0, 0}},
		"null": {object{"use_sliding_window": true, "sliding_window": json.RawMessage("null"),
			"max_window_layers": 2}, []int64{0, 0, 0}},
		"layer_types decides": {object{"use_sliding_window": true, "sliding_window": 5, "max_window_layers": 2,
			"layer_types": []string{"sliding_attention", "full_attention", "full_attention"}}, []int64{5, 0, 0}},
	} {
		if got := windowsOf(t, qwen.with(c.change)); !slices.Equal(got, c.want) {
			t.Errorf("%s: windows %v, want %v", name, got, c.want)
		}
	}
}

func TestMistralsWindow(t *testing.T) {
	mistral := tinyLanguage.with(object{"model_type": "mistral"})
	for want, change := range map[int64]object{4096: nil, 5: {"sliding_window": 5},
		0: {"sliding_window": json.RawMessage("null")}} {
		if got := windowsOf(t, mistral.with(change)); !slices.Equal(got, []int64{want, want}) {
			t.Errorf("%v: windows %v, want %d", change, got, want)
		}
	}
}
