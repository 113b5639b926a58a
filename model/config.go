package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// neutral holds the fields of config.json that change what a model computes, each with the value that changes nothing
// (null never does). Any other value is refused unless the family implements the field.
//
// This is a list of what is refused, not of what is allowed: config.json is open-ended, and published files are full
// of keys that only describe (token ids, dtypes, notes of the training program). What transformers computes for a
// model_type depends on the fields of its configuration class, which our families read. The names here are those
// under which other configuration classes change the computation, so that a file with such a change is not run as if
// it had none.
var neutral = map[string]any{
	// additional biases and norms
	"attention_bias": false, "mlp_bias": false, "qkv_bias": false, "o_bias": false, "attention_out_bias": false,
	"use_bias": false, "use_qkv_bias": false, "use_qk_norm": false, "qk_norm": false, "qk_layernorm": false,
	"clip_qkv": nil,
	// factors and caps
	"attn_logit_softcapping": nil, "final_logit_softcapping": nil, "logit_softcapping": nil,
	"query_pre_attn_scalar": nil, "attention_multiplier": nil, "embedding_multiplier": 1., "residual_multiplier": 1.,
	"logits_scaling": 1., "logit_scale": 1., "scale_emb": 1., "scale_depth": nil,
	// positions
	"partial_rotary_factor": 1., "rotary_pct": 1., "rope_ratio": 1., "rope_interleaved": false,
	"rope_local_base_freq": nil, "no_rope_layers": nil, "use_mrope": false, "alibi": false, "use_alibi": false,
	// which positions attention sees
	"sliding_window": nil, "use_sliding_window": false, "layer_types": nil, "sliding_window_pattern": nil,
	"attention_chunk_size": nil, "dual_chunk_attention_config": nil, "use_bidirectional_attention": false,
	"add_cross_attention": false, "is_encoder_decoder": false,
	// layers of a different form
	"num_experts": 0., "num_local_experts": 0., "n_routed_experts": 0., "hidden_activation": nil,
	"parallel_attn": false, "use_parallel_residual": false,
	// training
	"attention_dropout": 0., "attn_pdrop": 0., "dropout": 0., "embd_pdrop": 0., "hidden_dropout": 0., "resid_pdrop": 0.,
	"attention_probs_dropout_prob": 0., "hidden_dropout_prob": 0., "drop_path_rate": 0., "quantization_config": nil,
}

// parseConfig decodes config.json over the defaults in config, then calls complete; implemented lists the fields of
// neutral that the family reads.
func parseConfig(raw []byte, config any, complete func() error, implemented ...string) error {
	var fields map[string]any
	err := json.Unmarshal(raw, &fields)
	if err == nil {
		err = refuse(fields, implemented)
	}
	if err == nil {
		err = json.Unmarshal(raw, config)
	}
	if err == nil {
		err = complete()
	}
	if err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	return nil
}

// refuse returns an error for the first field that asks for a computation that is not implemented.
func refuse(fields map[string]any, implemented []string) error {
	for _, name := range slices.Sorted(maps.Keys(neutral)) {
		value, given := fields[name]
		if !given || value == nil || value == neutral[name] || slices.Contains(implemented, name) {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		wanted := "absent or null"
		if neutral[name] != nil {
			wanted = fmt.Sprintf("absent or %v", neutral[name])
		}
		return fmt.Errorf("%s %.200q is not supported by this model_type; it must be %s", name, text, wanted)
	}
	return nil
}

func orDefault[V comparable](value, fallback V) V {
	if value == *new(V) {
		return fallback
	}
	return value
}
