package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// adapterConfig is adapter_config.json (peft/tuners/lora/config.py), in which a missing lora_alpha is 8.
type adapterConfig struct {
	Type    string   `json:"peft_type"`
	Base    string   `json:"base_model_name_or_path"`
	Alpha   float64  `json:"lora_alpha"`
	Alphas  patterns `json:"alpha_pattern"`
	RSLoRA  bool     `json:"use_rslora"`
	TieHead bool     `json:"ensure_weight_tying"` // of a tied model: embed_tokens in modules_to_save is the head too
}

// patterns are alpha_pattern in the order of the file: the first whose key matches the end of a module's name counts
// (peft/utils/other.py, get_pattern_key).
type patterns []struct {
	module *regexp.Regexp
	value  float64
}

// String lists the patterns with their values, in their order.
func (ps patterns) String() string {
	var texts []string
	for _, p := range ps {
		texts = append(texts, fmt.Sprintf("%v: %v", p.module, p.value))
	}
	return strings.Join(texts, ", ")
}

// UnmarshalJSON reads an object.
func (ps *patterns) UnmarshalJSON(text []byte) error {
	values := map[string]float64{}
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return nil // the end: the object is whole
		}
		key, isKey := token.(string)
		value, unread := values[key]
		if !isKey || !unread {
			continue
		}
		delete(values, key) // of a key that is there twice, the last value has the first place
		module, err := regexp.Compile(`^(.*\.)?(?:` + key + `)$`)
		if err != nil {
			return fmt.Errorf("alpha_pattern %q is a pattern that is not supported: %w; %s", key, err, mergeWithPEFT)
		}
		*ps = append(*ps, struct {
			module *regexp.Regexp
			value  float64
		}{module, value})
	}
}

// of is a module's value.
func (ps patterns) of(module string, otherwise float64) float64 {
	for _, p := range ps {
		if p.module.MatchString(module) {
			return p.value
		}
	}
	return otherwise
}

const mergeWithPEFT = "merge the adapters with PEFT's merge_and_unload, save the model and name its folder"

// described are the keys of PEFT 0.21's LoraConfig, and of older versions', that say nothing about the sum W +
// alpha/r B A which the files do not say themselves: where adapters are, how they began and were trained.
var described = []string{
	"peft_type", "base_model_name_or_path", "lora_alpha", "alpha_pattern", "use_rslora", "ensure_weight_tying",
	"task_type", "auto_mapping", "peft_version", "revision", "inference_mode", "r", "rank_pattern", "target_modules",
	"exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "lora_dropout", "merge_weights",
	"megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size",
	"runtime_config",
}

// plainAdapters are the keys that change what adapters compute, each with the values that leave it as it is; null does
// too. Any other value is refused.
//
// Some ways to begin (pissa, olora, corda, loftq, lora_ga) change the weights beside the adapters as well, which are
// not in the folder. PEFT changes them again when it reads the adapters, by the same decomposition. Adapters that it
// saved with path_initial_model_for_weight_conversion belong to the unchanged weights and have init_lora_weights true.
var plainAdapters = map[string][]any{
	"init_lora_weights": {true, false, "gaussian", "eva", "orthogonal", "mica"},
	"use_dora":          {false}, "lora_bias": {false}, "bias": {"none"}, "fan_in_fan_out": {false},
	"use_qalora": {false}, "use_bdlora": {false}, "arrow_config": {}, "kasa_config": {}, "velora_config": {},
	"monteclora_config": {}, "alora_invocation_tokens": {}, "layer_replication": {}, "target_parameters": {},
	"trainable_token_indices": {}, "megatron_config": {}, "enable_lora": {},
}

// refuseAdapters returns an error for the first key that asks for a computation that is not implemented. Keys that
// PEFT 0.21 does not have are those of a newer version or of another program.
func refuseAdapters(fields map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := fields[key]
		allowed, known := plainAdapters[key]
		if slices.Contains(described, key) || changesNothing(value, allowed) {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if known {
			return fmt.Errorf("%s %.200s is not supported: %s", key, text, mergeWithPEFT)
		}
		return fmt.Errorf("%s %.200s is not known: %s, or remove the key if it does not change what the adapters "+
			"compute", key, text, mergeWithPEFT)
	}
	return nil
}

// changesNothing says whether a value is null, false, empty, or one of those allowed.
func changesNothing(value any, allowed []any) bool {
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Map, reflect.Slice:
		return v.Len() == 0
	}
	return value == false || slices.Contains(allowed, value)
}

func readAdapterConfig(dir string) (c adapterConfig, err error) {
	path := filepath.Join(dir, AdapterConfig)
	c.Alpha = 8
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err == nil && c.Type != "LORA" {
		err = fmt.Errorf("peft_type %q; only LORA is supported: %s", c.Type, mergeWithPEFT)
	}
	var fields map[string]any
	if err == nil {
		err = json.Unmarshal(text, &fields)
	}
	if err == nil {
		err = refuseAdapters(fields)
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}
