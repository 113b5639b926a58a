package model

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// Parameters have the names of the original's checkpoints; the language model's are those of the published language
// model.
const (
	visionPrefix    = "model.vision_tower.vision_tower.vision_model."
	projectorPrefix = "model.mm_projector."
)

// family is a kind of language model.
type family struct {
	build func(config []byte, ps *nn.Params, device torch.Device) (Language, error)
	whole string // the family's part of the name of a whole LLaVA
	class string // transformers' class of the language model alone
}

// Language models and towers, by model_type of their config.json.
var (
	languages = map[string]family{
		"llama":   {newLlama, "Llama", "LlamaForCausalLM"},
		"mistral": {newMistral, "Mistral", "MistralForCausalLM"},
		"phi3":    {newPhi3, "Phi3", "Phi3ForCausalLM"},
		"qwen2":   {newQwen2, "Qwen", "Qwen2ForCausalLM"},
		"qwen3":   {newQwen3, "Qwen3", "Qwen3ForCausalLM"},
	}
	towers = map[string]towerKind{
		"clip_vision_model":     clipKind,
		"clip":                  clipKind, // both halves in one folder
		"siglip_vision_model":   sigLIPKind,
		"siglip":                sigLIPKind,
		"dinov2":                dinov2Kind,
		"dinov2_with_registers": registersKind,
	}
)

// languageType is the language family of a config.json: its model_type, or, for a whole LLaVA with the language
// model's fields at the top level, the family that its model_type stands for.
func languageType(config []byte) (string, error) {
	kind, err := modelType(config)
	if err != nil || !isLLaVA(kind) {
		return kind, err
	}
	for name, f := range languages {
		if kind == "llava_"+name || kind == f.wholeType() {
			return name, nil
		}
	}
	if kind == "llava" { // older files' name of llava_llama
		return "llama", nil
	}
	return kind, nil
}

func isLLaVA(kind string) bool { return kind == "llava" || strings.HasPrefix(kind, "llava_") }

// wholeType and wholeClass are the model_type and the class of a whole LLaVA.
func (f family) wholeType() string  { return "llava_" + strings.ToLower(f.whole) }
func (f family) wholeClass() string { return "Llava" + f.whole + "ForCausalLM" }

// modelType reads the key that chooses a family.
func modelType(config []byte) (string, error) {
	var head struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(config, &head); err != nil {
		return "", fmt.Errorf("config.json: %w", err)
	}
	return head.ModelType, nil
}
