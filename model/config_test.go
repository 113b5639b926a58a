package model

import (
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// publishedConfigs are config.json of released models, as transformers 4 wrote them, without _name_or_path;
// max_position_embeddings are cut to 4096 where larger, to keep the rotary tables of this test small.
var publishedConfigs = map[string]string{
	"lmsys/vicuna-7b-v1.5": `{"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
		"hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008,
		"max_position_embeddings": 4096, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
		"num_key_value_heads": 32, "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
		"rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float16",
		"transformers_version": "4.31.0", "use_cache": true, "vocab_size": 32000}`,
	"liuhaotian/llava-v1.5-7b": `{"architectures": ["LlavaLlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
		"freeze_mm_mlp_adapter": false, "freeze_mm_vision_resampler": false, "hidden_act": "silu",
		"hidden_size": 4096, "image_aspect_ratio": "pad", "initializer_range": 0.02, "intermediate_size": 11008,
		"max_length": 4096, "max_position_embeddings": 4096, "mm_hidden_size": 1024,
		"mm_projector_type": "mlp2x_gelu", "mm_resampler_type": null, "mm_use_im_patch_token": false,
		"mm_use_im_start_end": false, "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2,
		"mm_vision_tower": "openai/clip-vit-large-patch14-336", "model_type": "llava", "num_attention_heads": 32,
		"num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 0, "pretraining_tp": 1,
		"rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float16",
		"tune_mm_mlp_adapter": false, "tune_mm_vision_resampler": false, "unfreeze_mm_vision_tower": false,
		"use_cache": true, "use_mm_proj": true, "vocab_size": 32000}`,
	"meta-llama/Llama-3.1-8B": `{"architectures": ["LlamaForCausalLM"], "attention_bias": false,
		"attention_dropout": 0.0, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009],
		"hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
		"max_position_embeddings": 4096, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
		"num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
		"rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
		"original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
		"tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.43.0.dev0",
		"use_cache": true, "vocab_size": 128256}`,
	"mistralai/Mistral-7B-v0.1": `{"architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
		"hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
		"max_position_embeddings": 4096, "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 32,
		"num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096,
		"tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.34.0.dev0",
		"use_cache": true, "vocab_size": 32000}`,
	"Qwen/Qwen2.5-7B": `{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
		"eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02,
		"intermediate_size": 18944, "max_position_embeddings": 4096, "max_window_layers": 28, "model_type": "qwen2",
		"num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
		"rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
		"transformers_version": "4.40.1", "use_cache": true, "use_mrope": false, "use_sliding_window": false,
		"vocab_size": 152064}`,
	"Qwen/Qwen3-8B": `{"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
		"bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096,
		"initializer_range": 0.02, "intermediate_size": 12288, "max_position_embeddings": 4096,
		"max_window_layers": 36, "model_type": "qwen3", "num_attention_heads": 32, "num_hidden_layers": 36,
		"num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000,
		"sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
		"transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936}`,
	"microsoft/Phi-3-mini-4k-instruct": `{"architectures": ["Phi3ForCausalLM"], "attention_bias": false,
		"attention_dropout": 0.0, "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "bos_token_id": 1,
		"embd_pdrop": 0.0, "eos_token_id": 32000, "hidden_act": "silu", "hidden_size": 3072,
		"initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 4096, "model_type": "phi3",
		"num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
		"original_max_position_embeddings": 4096, "pad_token_id": 32000, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05,
		"rope_scaling": null, "rope_theta": 10000.0, "sliding_window": 2047, "tie_word_embeddings": false,
		"torch_dtype": "bfloat16", "transformers_version": "4.40.2", "use_cache": true, "vocab_size": 32064}`,
}

// The list of what is refused must not catch what real files say without meaning it.
func TestPublishedConfigsAreAccepted(t *testing.T) {
	for name, text := range publishedConfigs {
		m, err := newLanguage([]byte(text), nn.NewParams(), torch.CPU)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m.(*llama).Free()
	}
}

func FuzzLanguageConfig(f *testing.F) {
	for _, text := range publishedConfigs {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := languageType(raw); err != nil {
			return
		}
		for _, build := range []func() error{
			func() error { c := llamaConfig{}; return parseConfig(raw, &c, c.complete, "sliding_window") },
			func() error {
				c := newQwenConfig()
				return parseConfig(raw, &c, c.complete, "sliding_window", "layer_types")
			},
			func() error { c := mistralConfig{}; return parseConfig(raw, &c, c.complete, "sliding_window") },
			func() error {
				half, err := visionHalf(raw)
				if err != nil {
					return nil // of a whole LLaVA without its tower
				}
				c := clipConfig{}
				return parseConfig(half, &c, c.complete)
			},
		} {
			if err := build(); err != nil && !strings.HasPrefix(err.Error(), "config.json: ") {
				t.Errorf("error %q does not say where", err)
			}
		}
	})
}
