package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// folderConfigs are the raw config.json files of a model's towers and language model. If a folder holds a whole LLaVA,
// language is its language half with defaults filled in.
type folderConfigs struct {
	towers      []towerFiles // one or two
	language    []byte
	languageDir string // as the recipe names it; "" for a part made from its configuration
	tiles       *recipes.Tiles
	adapterDir  string // adapters on top of languageDir; "" without
}

func readConfigs(m recipes.Model) (c folderConfigs, err error) {
	defer failure.MarkInput(&err)
	tiles, err := TilesOf(m)
	c.tiles = tiles
	towers, visionErr := readTowers(m.Vision)
	c.towers = towers
	return c, failure.Join(visionErr, c.readLanguage(m.Language), err)
}

func (c *folderConfigs) readLanguage(l recipes.Language) (err error) {
	if l.Weights != "" {
		if c.languageDir, c.adapterDir, err = LanguageFolder(l); err != nil {
			return fmt.Errorf("model.language.weights: %w", err)
		}
	}
	// The configuration beside adapters is that of a whole LLaVA, if there is one.
	from := c.languageDir
	if checkpoints.Exists(filepath.Join(c.adapterDir, "config.json")) && c.adapterDir != "" {
		from = c.adapterDir
	}
	if c.language, _, err = readConfig("model.language", from, l.Config); err != nil {
		return err
	}
	if err = refuseDelta(l.Weights, c.languageDir, c.language); err != nil {
		return fmt.Errorf("model.language.weights: %w", err)
	}
	if c.language, err = languageHalf(c.language); err != nil {
		return fmt.Errorf("model.language: %w", err)
	}
	return nil
}

// readConfig reads the config.json of a weights folder, or a configuration file for random weights.
func readConfig(key, weights, config string) (raw []byte, dir string, err error) {
	file := config
	if weights != "" {
		if dir, err = Resolve(weights); err == nil {
			err = RefuseOther(dir)
		}
		if err != nil {
			return nil, "", fmt.Errorf("%s.weights: %w", key, err)
		}
		file = filepath.Join(dir, "config.json")
	}
	if raw, err = os.ReadFile(file); err != nil {
		return nil, "", fmt.Errorf("%s: %w", key, err)
	}
	return raw, dir, nil
}

// exportConfig is the config.json of the whole model in the original's layout and with its keys, and with the tower's
// configuration inside so that the folder can be loaded without others.
func exportConfig(
	c folderConfigs, m recipes.Model, tower TowerShape, e ExportNotes, dtype string,
) (_ []byte, err error) {
	defer failure.MarkInput(&err)
	config := map[string]any{}
	if err := decodeNumbers(c.language, &config); err != nil {
		return nil, fmt.Errorf("config.json of the language model: %w", err)
	}
	towerKeys, err := c.towerKeys(m.Vision, tower)
	if err != nil {
		return nil, err
	}
	kind, err := languageType(c.language)
	if err != nil {
		return nil, err
	}
	delete(config, "dtype")                // transformers 5's name of torch_dtype
	delete(config, "mm_vision_image_size") // of the tower of a LLaVA that the language model comes from
	for key, value := range map[string]any{
		"architectures": []string{languages[kind].wholeClass()}, "model_type": languages[kind].wholeType(),
		"torch_dtype": dtype, "mm_projector_type": m.Projector.Type, "conversation_template": e.Template,
		"mm_use_im_start_end": false, "mm_use_im_patch_token": false,
		"use_mm_proj": true, "tokenizer_model_max_length": m.Language.MaxLength, "tokenizer_padding_side": "right",
	} {
		config[key] = value
	}
	maps.Copy(config, towerKeys)
	maps.Copy(config, tilesKeys(c.tiles, e.Aspect))
	if settings := m.Projector.Settings(); settings != nil {
		config["mm_projector_config"] = settings
	}
	e.addImages(config)
	addSystem(config, m.Language)
	return json.MarshalIndent(config, "", "  ")
}

// addSystem adds our key for a system text in place of the template's.
func addSystem(config map[string]any, l recipes.Language) {
	if l.System != "" {
		config["conversation_system"] = l.System
	}
}

// addImages adds our keys for images that are turned, and for another limit on their pixels.
func (e ExportNotes) addImages(config map[string]any) {
	if e.Turns() {
		config["image_orientation"] = e.Turn
	}
	if e.MaxPixels != 0 && e.MaxPixels != recipes.UsualMaxPixels {
		config["image_max_pixels"] = e.MaxPixels
	}
}

// ExportNotes is what a model's configuration records about its training.
type ExportNotes struct {
	Aspect    string // square or pad: how images are made square; anyres: they become tiles
	Template  string // the conversation template
	Turn      string // exif: images are turned by their EXIF orientation; "" or ignore: they are not
	MaxPixels int    // the most pixels of an image; 0: the default
}

// Turns says whether images are turned by their EXIF orientation.
func (e ExportNotes) Turns() bool { return e.Turn == recipes.TurnByEXIF }

// Config is the config.json of the whole model with weights of dtype stored.
func (m *LLaVA) Config(recipe recipes.Model, e ExportNotes, stored checkpoints.Dtype) ([]byte, error) {
	return exportConfig(m.configs, recipe, m.Tower.Describe(), e, torchDtypes[stored])
}
