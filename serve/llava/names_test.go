package llava_test

import (
	"testing"

	"github.com/llavatrain/llavatrain/serve/llava"
)

// TestTemplateByName has what the original's web program chose for each name (scripts/reference/serve_original.py).
func TestTemplateByName(t *testing.T) {
	for _, test := range []struct {
		name, template string
		fails          bool
	}{
		{"llava-llama-2-13b-chat", "llava_llama_2", false},
		{"LLaVA-Llama-2-7b", "llava_llama_2", false},
		{"llava-v1.6-mistral-7b", "mistral_instruct", false},
		{"llava-mixtral", "mistral_instruct", false},
		{"llava-mistral-orca", "mistral_orca", true},
		{"llava-mixtral-hermes-orca", "mistral_orca", true},
		{"llava-nous-hermes-mistral", "chatml_direct", false},
		{"llava-v1.6-34b", "chatml_direct", false},
		{"llava-v1.5-7b", "llava_v1", false},
		{"llava-v1-mmtag", "v1_mmtag", false},
		{"llava-v1-plain", "v1_mmtag", false},
		{"llava-v1-plain-finetune", "llava_v1", false},
		{"llava-mpt-7b", "mpt", false},
		{"LLaVA-Lightning-MPT-7B-preview", "mpt", false},
		{"llava-7b", "llava_v0", false},
		{"llava-7b-mmtag", "v0_mmtag", false},
		{"llava-7b-plain", "v0_mmtag", false},
		{"llava-7b-plain-finetune", "llava_v0", false},
		{"mpt-7b", "mpt_text", true},
		{"llama-2-7b", "llama_2", false},
		{"Llama-2-7b", "vicuna_v1", false}, // without "llava" the case counts
		{"vicuna-13b", "vicuna_v1", false},
		{"", "vicuna_v1", false},
	} {
		template, fails := llava.TemplateByName(test.name)
		if template != test.template || fails != test.fails {
			t.Errorf("%s: %s, %v", test.name, template, fails)
		}
	}
}

func TestModelName(t *testing.T) {
	for path, want := range map[string]string{
		"liuhaotian/llava-v1.5-7b":    "llava-v1.5-7b",
		"runs/x/":                     "x",
		"runs/x/checkpoint-100":       "x_checkpoint-100",
		"/a/llava/checkpoint-7/":      "llava_checkpoint-7",
		"checkpoint-7":                "checkpoint-7",
		"model":                       "model",
		"runs/checkpoint-1/something": "something",
	} {
		if got := llava.ModelName(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}
