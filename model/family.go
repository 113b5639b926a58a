package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// The parts of a model, as recipes name them.
const (
	partVision    = "vision"
	partProjector = "projector"
	partLanguage  = "language"
)

// Parameters have the names of the original's checkpoints (llava.md, "Key mapping"): the language model's are those of its own folder.
const (
	visionPrefix    = "model.vision_tower.vision_tower.vision_model."
	projectorPrefix = "model.mm_projector."
)

// Language models and towers by their config.json's model_type.
var (
	languages = map[string]func(config []byte, ps *nn.Params, device torch.Device) (Language, error){
		"llama":       newLlama,
		"llava_llama": newLlama, // a whole LLaVA folder: the Llama fields stand at the top level
		"llava":       newLlama, // the same, as older files spell it
	}
	towers = map[string]func(config []byte, ps *nn.Params, selected TowerSelect) (Tower, error){
		"clip_vision_model": newCLIP,
		"clip":              newCLIP, // both halves in one folder
	}
)

// lookUp finds a key in a table, or says which keys there are.
func lookUp[V any](what, key string, table map[string]V) (V, error) {
	v, ok := table[key]
	if !ok {
		return v, fmt.Errorf("%s %q is unknown; known are %s", what, key, strings.Join(slices.Sorted(maps.Keys(table)), ", "))
	}
	return v, nil
}

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

// visionConfig is the vision half of a config that has one, else the config itself.
func visionConfig(config []byte) []byte {
	var both struct {
		Vision json.RawMessage `json:"vision_config"`
	}
	if err := json.Unmarshal(config, &both); err == nil && len(both.Vision) > 0 {
		return both.Vision
	}
	return config
}

// parseConfig decodes config.json and completes its defaults.
func parseConfig(raw []byte, config any, complete func() error) error {
	if err := json.Unmarshal(raw, config); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	if err := complete(); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	return nil
}

func orDefault[V comparable](value, fallback V) V {
	if value == *new(V) {
		return fallback
	}
	return value
}
