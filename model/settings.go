package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/recipes"
)

// settings list what a model computes apart from its weights: each field of both configurations with its default
// filled in, by part and by its name in config.json, such as language.rope_theta. What a configuration says beyond the
// fields that are read is not in it.
func (m *LLaVA) settings(sources *sources) (map[string]string, error) {
	list := map[string]string{}
	if language, ok := m.Language.(*llama); ok {
		kind, err := languageType(m.configs.language)
		if err != nil {
			return nil, err
		}
		list["language.model_type"] = kind
		if err := addFields(list, "language.", language.config.resolved()); err != nil {
			return nil, err
		}
		list["language.windows"] = "none"
		if windows := language.config.windows; slices.Max(append(windows, 0)) > 0 {
			list["language.windows"] = fmt.Sprint(windows)
		}
	}
	if sources.adapters != nil {
		a := sources.adapters.config
		factors := struct {
			Alpha  float64 `json:"lora_alpha"`
			Alphas string  `json:"alpha_pattern"`
			RSLoRA bool    `json:"use_rslora"`
		}{a.Alpha, a.Alphas.String(), a.RSLoRA}
		if err := addFields(list, "language.adapters.", factors); err != nil {
			return nil, err
		}
	}
	towers := towersOf(m.Tower)
	for i, tower := range towers {
		prefix := strings.TrimPrefix(recipes.TowerKey(i, len(towers)), "model.") + "."
		if err := addTower(list, prefix, tower); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// addTower adds the fields of a tower's configuration.
func addTower(list map[string]string, prefix string, tower Tower) error {
	switch tower := tower.(type) {
	case *clip:
		return addFields(list, prefix, tower.config)
	case *siglip:
		return addFields(list, prefix, tower.config)
	case *dinov2:
		return addFields(list, prefix, tower.config)
	}
	return nil
}

// resolved is the configuration in one spelling, whichever its file has.
func (c llamaConfig) resolved() llamaConfig {
	scaling := *c.Scaling
	scaling.OldType, scaling.Theta = "", 0 // which is c.Theta
	c.Scaling, c.Parameters = &scaling, nil
	return c
}

// addFields adds the fields of a configuration, as JSON.
func addFields(list map[string]string, prefix string, config any) error {
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	for name, value := range fields {
		list[prefix+name] = string(value)
	}
	return nil
}
