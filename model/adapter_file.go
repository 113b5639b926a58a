package model

import (
	"encoding/json"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
)

// peftPrefix begins every name in PEFT's files, as in the model that PEFT wraps (peft/utils/save_and_load.py).
const peftPrefix = "base_model.model."

// Files that a finished stage with adapters writes: the adapters and their configuration under PEFT's names, and
// everything else that was trained except the projector.
const (
	AdapterFile   = "adapter_model.safetensors"
	AdapterConfig = "adapter_config.json"
	OthersFile    = "non_lora_trainables.safetensors"
)

// AdapterName is a parameter's name in PEFT's file.
func AdapterName(name string) string { return peftPrefix + name }

// DescribeAdapters is PEFT's adapter_config.json for the model's adapters. Targets are full names: PEFT would apply a
// shorter one to every map whose name ends in it, including those of the tower. base is the name or folder of the
// language model.
func (m *LLaVA) DescribeAdapters(base string) ([]byte, error) {
	var targets []string
	var first nn.LoRA
	config := map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "bias": "none",
		"fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "modules_to_save": nil,
	}
	ranks, alphas := map[string]int64{}, map[string]float64{}
	for _, part := range []string{recipes.PartLanguage, recipes.PartVision, recipes.PartProjector} {
		for _, linear := range m.Adapted(part) {
			settings, _ := linear.Adapter()
			if len(targets) == 0 {
				first = settings
			}
			if targets = append(targets, linear.Name()); settings.Rank != first.Rank {
				ranks[linear.Name()] = settings.Rank
			}
			if settings.Alpha != first.Alpha {
				alphas[linear.Name()] = settings.Alpha
			}
		}
	}
	config["r"], config["lora_alpha"], config["lora_dropout"] = first.Rank, first.Alpha, first.Dropout
	config["target_modules"], config["rank_pattern"], config["alpha_pattern"] = targets, ranks, alphas
	return json.MarshalIndent(config, "", "  ")
}
