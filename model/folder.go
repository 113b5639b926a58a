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

// folderConfigs are the raw config.json files of a model's two halves. If a folder holds a whole LLaVA, language is
// its language half with defaults filled in.
type folderConfigs struct {
	visionFiles
	language    []byte
	languageDir string // as the recipe names it; "" for a part made from its configuration
	tiles       *recipes.Tiles
	adapterDir  string // adapters on top of languageDir; "" without
	// tower is the name for mm_vision_tower: the recipe's, or that in the LLaVA it comes with; "" if none is known.
	tower string
}

// visionFiles is what a tower is described by.
type visionFiles struct {
	vision    []byte // its config.json
	visionDir string // as the recipe names it; "" for a tower made from its configuration
	towerDir  string // where vision comes from: visionDir, or the tower's folder that a whole LLaVA names
	imageSize int64  // that the whole LLaVA, or else the image processor beside the tower, asks for; 0: neither does
}

func readConfigs(m recipes.Model) (c folderConfigs, err error) {
	defer failure.MarkInput(&err)
	tiles, err := TilesOf(m)
	c.tiles = tiles
	return c, failure.Join(c.readVision(m.Vision), c.readLanguage(m.Language), err)
}

func (c *folderConfigs) readVision(v recipes.Vision) (err error) {
	if c.visionFiles, err = readVisionConfig(v); err != nil {
		return err
	}
	c.tower, err = towerName(v.Weights, c.visionDir, c.towerDir)
	return err
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

// readVisionConfig reads a tower's configuration from its own folder, from inside a LLaVA's, or from the folder that
// a LLaVA's configuration names.
func readVisionConfig(v recipes.Vision) (f visionFiles, err error) {
	defer failure.MarkInput(&err)
	if f.vision, f.visionDir, err = readConfig("model.vision", v.Weights, v.Config); err != nil {
		return visionFiles{}, err
	}
	whole, err := parseWhole(f.vision)
	if err == nil {
		f.imageSize = whole.ImageSize
	}
	if f.visionDir != "" {
		if f.towerDir, err = towerFolderOf(f.visionDir, v.Tower, f.vision); err != nil {
			return visionFiles{}, fmt.Errorf("model.vision.weights: %w", err)
		}
		f.imageSize = orDefault(f.imageSize, preparedSize(f.towerDir))
	}
	if f.towerDir != f.visionDir {
		if f.vision, _, err = readConfig("model.vision", f.towerDir, ""); err != nil {
			return visionFiles{}, err
		}
	}
	if f.vision, err = visionHalf(f.vision); err != nil {
		return visionFiles{}, fmt.Errorf("model.vision: %w", err)
	}
	return f, nil
}

// TowerFolder is the folder with a tower's config.json and image processor settings; "" for a tower that is built
// from its configuration.
func TowerFolder(v recipes.Vision) (string, error) {
	f, err := readVisionConfig(v)
	return f.towerDir, err
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
	var vision map[string]any
	if err := decodeNumbers(c.vision, &vision); err != nil {
		return nil, fmt.Errorf("config.json of the tower: %w", err)
	}
	kind, err := languageType(c.language)
	if err != nil {
		return nil, err
	}
	delete(config, "dtype") // transformers 5's name of torch_dtype
	for key, value := range map[string]any{
		"architectures": []string{languages[kind].wholeClass()}, "model_type": languages[kind].wholeType(),
		"torch_dtype":     dtype,
		"mm_vision_tower": c.tower, "vision_config": vision, "mm_hidden_size": tower.HiddenSize,
		"mm_projector_type": m.Projector.Type, "mm_vision_select_layer": m.Vision.SelectLayer,
		"mm_vision_select_feature": m.Vision.SelectFeature,
		"conversation_template":    e.Template,
		"mm_use_im_start_end":      false, "mm_use_im_patch_token": false,
		"use_mm_proj": true, "tokenizer_model_max_length": m.Language.MaxLength, "tokenizer_padding_side": "right",
	} {
		config[key] = value
	}
	maps.Copy(config, tilesKeys(c.tiles, e.Aspect))
	if settings := m.Projector.Settings(); settings != nil {
		config["mm_projector_config"] = settings
	}
	e.addImages(config)
	addSystem(config, m.Language)
	addSize(config, tower)
	return json.MarshalIndent(config, "", "  ")
}

// addSystem adds our key for a system text in place of the template's.
func addSystem(config map[string]any, l recipes.Language) {
	if l.System != "" {
		config["conversation_system"] = l.System
	}
}

// addSize adds our key for the images of a tower that can run at several sizes.
func addSize(config map[string]any, tower TowerShape) {
	if tower.Resizes {
		config["mm_vision_image_size"] = tower.ImageSize
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
