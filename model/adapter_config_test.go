package model

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Of PEFT's settings those are refused by name that change what adapters compute, or the weights beside them.
func TestAdapterSettingsThatAreRefused(t *testing.T) {
	read := func(settings string) (adapterConfig, error) {
		t.Helper()
		dir := t.TempDir()
		text := `{"peft_type": "LORA", "lora_alpha": 4, ` + settings + `}`
		if err := os.WriteFile(filepath.Join(dir, AdapterConfig), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return readAdapterConfig(dir)
	}
	for _, refused := range []string{
		`"init_lora_weights": "pissa"`, `"init_lora_weights": "pissa_niter_16"`, `"init_lora_weights": "olora"`,
		`"init_lora_weights": "loftq"`, `"init_lora_weights": "corda"`, `"init_lora_weights": "lora_ga"`,
		`"init_lora_weights": "of a later version"`, `"use_dora": true`, `"lora_bias": true`, `"bias": "lora_only"`,
		`"use_qalora": true`, `"use_bdlora": {"nblocks": 2}`, `"kasa_config": {"beta": 1}`,
		`"arrow_config": {"top_k": 3}`,
		`"monteclora_config": {"num_samples": 2}`, `"velora_config": {"scale": 1}`,
		`"layer_replication": [[0,2],[1,3]]`,
		`"alora_invocation_tokens": [5]`, `"trainable_token_indices": [5]`, `"target_parameters": ["experts"]`,
		`"trainable_token_indices": {"embed_tokens": [5]}`, `"use_something_new": true`, `"scale": 0.5`,
		`"alpha_pattern": {"(?=q)q_proj": 2}`,
	} {
		key := strings.Split(refused, `"`)[1]
		_, err := read(refused)
		if err == nil || !strings.Contains(err.Error(), AdapterConfig+": "+key+" ") ||
			!strings.Contains(err.Error(), "merge_and_unload") {
			t.Errorf("%s: %v", refused, err)
		}
	}
	for _, accepted := range []string{
		`"init_lora_weights": "gaussian", "use_something_new": false`,
		`"init_lora_weights": "eva", "eva_config": {"rho": 2}`,
		`"init_lora_weights": false, "loftq_config": {}, "corda_config": {"corda_method": "ipm"}`,
		`"init_lora_weights": "orthogonal"`, `"init_lora_weights": "mica"`, `"init_lora_weights": null`,
		`"trainable_token_indices": [], "use_bdlora": null, "arrow_config": {}, "bias": "none", "lora_bias": false`,
		`"target_modules": ["q_proj"], "r": 4, "lora_dropout": 0.1, "megatron_core": "megatron.core", "revision": "x"`,
	} {
		if _, err := read(accepted); err != nil {
			t.Errorf("%s: %v", accepted, err)
		}
	}
}

// The first key that matches counts, in the order of the file; the value of a key that is there twice is the last.
func TestAlphaPatternsKeepTheirOrder(t *testing.T) {
	for text, want := range map[string]float64{
		`{"q_proj": 16, "layers.1.self_attn.q_proj": 64}`:   16,
		`{"layers.1.self_attn.q_proj": 64, "q_proj": 16}`:   64,
		`{"^model\\.layers": 2, ".*q_proj": 3, "a": 4}`:     3,
		`{"q_proj": 1, "self_attn.q_proj": 2, "q_proj": 3}`: 3,
		`{"k_proj": 1}`: 8, `null`: 8, `{"proj": 1}`: 8, `{}`: 8,
	} {
		var ps patterns
		if err := ps.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := ps.of("model.layers.1.self_attn.q_proj", 8); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
