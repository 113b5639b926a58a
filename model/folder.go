package model

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/llavatrain/llavatrain/recipes"
)

// folderConfigs are the raw config.json files of a model's two halves.
type folderConfigs struct {
	vision, language       []byte
	visionDir, languageDir string // "" for a part made from its configuration
}

func readConfigs(m recipes.Model) (c folderConfigs, err error) {
	if c.vision, c.visionDir, err = readConfig("model.vision", m.Vision.Weights, m.Vision.Config); err != nil {
		return c, err
	}
	c.language, c.languageDir, err = readConfig("model.language", m.Language.Weights, m.Language.Config)
	return c, err
}

// readConfig reads the config.json of a weights folder, or a configuration file for random weights.
func readConfig(key, weights, config string) (raw []byte, dir string, err error) {
	file := config
	if weights != "" {
		if dir, err = Resolve(weights); err != nil {
			return nil, "", fmt.Errorf("%s.weights: %w", key, err)
		}
		file = filepath.Join(dir, "config.json")
	}
	if raw, err = os.ReadFile(file); err != nil {
		return nil, "", fmt.Errorf("%s: %w", key, err)
	}
	return raw, dir, nil
}

// Resolve finds the folder of model files that a recipe names: a folder as it is, or a Hugging Face id (owner/name) in the local hub
// cache, as huggingface_hub lays it out. It never opens a connection.
func Resolve(weights string) (string, error) {
	if info, err := os.Stat(weights); err == nil {
		if !info.IsDir() {
			return "", fmt.Errorf("%q is a file; name the folder that holds config.json and the weights", weights)
		}
		return weights, nil
	}
	owner, name, isID := strings.Cut(weights, "/")
	if !isID || owner == "" || name == "" || strings.Contains(name, "/") || strings.HasPrefix(weights, ".") {
		return "", fmt.Errorf("no folder %q", weights)
	}
	repository := filepath.Join(hubCache(), "models--"+owner+"--"+name)
	revision, err := os.ReadFile(filepath.Join(repository, "refs", "main"))
	if err != nil {
		return "", fmt.Errorf("%q is neither a folder nor in the local hub cache (%s); fetch it first (hf download %s) or give a folder", weights, hubCache(), weights)
	}
	dir := filepath.Join(repository, "snapshots", strings.TrimSpace(string(revision)))
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%q is in the local hub cache, but its snapshot is not: %w", weights, err)
	}
	return dir, nil
}

// hubCache is where huggingface_hub keeps repositories.
func hubCache() string {
	if dir := os.Getenv("HF_HUB_CACHE"); dir != "" {
		return dir
	}
	home := os.Getenv("HF_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return "hub"
		}
		home = filepath.Join(user, ".cache", "huggingface")
	}
	return filepath.Join(home, "hub")
}

// exportConfig is the config.json of the whole model in the original's layout, with the tower's own config inside so that the folder
// loads by itself. The keys are the original's (llava.md, "config.json original").
func exportConfig(c folderConfigs, m recipes.Model, tower TowerShape, e ExportNotes, dtype string) ([]byte, error) {
	config := map[string]any{}
	if err := json.Unmarshal(c.language, &config); err != nil {
		return nil, fmt.Errorf("config.json of the language model: %w", err)
	}
	var vision map[string]any
	if err := json.Unmarshal(visionConfig(c.vision), &vision); err != nil {
		return nil, fmt.Errorf("config.json of the tower: %w", err)
	}
	kind, err := languageType(c.language)
	if err != nil {
		return nil, err
	}
	for key, value := range map[string]any{
		"architectures": []string{languages[kind].wholeClass()}, "model_type": languages[kind].wholeType(), "torch_dtype": dtype,
		"mm_vision_tower": m.Vision.Weights, "vision_config": vision, "mm_hidden_size": tower.HiddenSize,
		"mm_projector_type": m.Projector.Type, "mm_vision_select_layer": m.Vision.SelectLayer, "mm_vision_select_feature": m.Vision.SelectFeature,
		"mm_patch_merge_type": "flat", "image_aspect_ratio": e.Aspect, "conversation_template": e.Template, "mm_use_im_start_end": false, "mm_use_im_patch_token": false,
		"use_mm_proj": true, "tokenizer_model_max_length": m.Language.MaxLength, "tokenizer_padding_side": "right",
	} {
		config[key] = value
	}
	return json.MarshalIndent(config, "", "  ")
}

// ExportNotes is what a model's configuration says about how it was trained.
type ExportNotes struct {
	Aspect   string // square or pad: how pictures are brought to a square
	Template string // the conversation template
}

// Config is the config.json of the whole model.
func (m *LLaVA) Config(recipe recipes.Model, e ExportNotes) ([]byte, error) {
	dtype := map[string]string{"fp32": "float32", "bf16": "bfloat16"}[m.Params.Dtype().String()]
	return exportConfig(m.configs, recipe, m.Tower.Describe(), e, dtype)
}
