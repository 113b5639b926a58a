package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// neutral holds the fields of config.json that change what a model computes, with the value that leaves it unchanged (null always does).
// Any other value is refused, unless the family implements the field.
//
// This is a list of what is refused, not of what is allowed: config.json is open, and published files are full of keys that only
// describe (token ids, dtypes, notes of the program that trained the model). What transformers computes for a model_type depends on
// the fields of that type's configuration class, which the families read, and the names here are those that other classes gave to
// changes of the computation, so that a file which asks for one of them is not read as if it did not.
var neutral = map[string]any{
	// biases and norms beside the usual
	"attention_bias": false, "mlp_bias": false, "qkv_bias": false, "o_bias": false, "attention_out_bias": false, "use_bias": false,
	"use_qkv_bias": false, "use_qk_norm": false, "qk_norm": false, "qk_layernorm": false, "clip_qkv": nil,
	// factors and caps
	"attn_logit_softcapping": nil, "final_logit_softcapping": nil, "logit_softcapping": nil, "query_pre_attn_scalar": nil,
	"attention_multiplier": nil, "embedding_multiplier": 1., "residual_multiplier": 1., "logits_scaling": 1., "logit_scale": 1.,
	"scale_emb": 1., "scale_depth": nil,
	// positions
	"partial_rotary_factor": 1., "rotary_pct": 1., "rope_ratio": 1., "rope_interleaved": false, "rope_local_base_freq": nil,
	"no_rope_layers": nil, "use_mrope": false, "alibi": false, "use_alibi": false,
	// what a position sees
	"sliding_window": nil, "use_sliding_window": false, "layer_types": nil, "sliding_window_pattern": nil, "attention_chunk_size": nil,
	"dual_chunk_attention_config": nil,
	"use_bidirectional_attention": false, "add_cross_attention": false, "is_encoder_decoder": false,
	// layers of another form
	"num_experts": 0., "num_local_experts": 0., "n_routed_experts": 0., "hidden_activation": nil, "parallel_attn": false,
	"use_parallel_residual": false,
	// training
	"attention_dropout": 0., "attn_pdrop": 0., "dropout": 0., "embd_pdrop": 0., "hidden_dropout": 0., "resid_pdrop": 0.,
	"quantization_config": nil,
}

// parseConfig decodes config.json over the defaults that stand in config and completes it; implemented are the fields of neutral that
// the family reads.
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

// refuse names the first field that asks for a computation that is not implemented.
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
