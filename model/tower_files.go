package model

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// towerFiles is what a tower is described by.
type towerFiles struct {
	key       string // of the recipe: model.vision, or of an entry of a list
	config    []byte // its config.json
	dir       string // as the recipe names it; "" for a tower made from its configuration
	towerDir  string // where config comes from: dir, or the tower's folder that a whole LLaVA names
	place     int    // among the towers in towerDir
	imageSize int64  // that the whole LLaVA, or else the image processor beside the tower, asks for; 0: neither does
	name      string // for mm_vision_tower: the recipe's, or that in the LLaVA it comes with; "" if none is known
}

// readTowers reads the configurations of a recipe's towers.
func readTowers(v recipes.Vision) (list []towerFiles, err error) {
	defer failure.MarkInput(&err)
	var problems []error
	towers := v.Towers()
	for i, one := range towers {
		f := towerFiles{key: recipes.TowerKey(i, len(towers))}
		problems = append(problems, f.read(one, i, len(towers)))
		list = append(list, f)
	}
	return list, failure.Join(problems...)
}

// read reads a tower's configuration from its own folder, from inside a LLaVA's, or from the folder that a LLaVA's
// configuration names. Of a LLaVA with two towers it is the one with the same place in the recipe's list.
func (f *towerFiles) read(v recipes.Vision, tower, of int) (err error) {
	if f.config, f.dir, err = readConfig(f.key, v.Weights, v.Config); err != nil {
		return err
	}
	raw, holds, err := ofTower(f.config, tower)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", f.key, err)
	case holds > of:
		return fmt.Errorf("%s.weights: %q has two towers: name it for both, as a list of two entries with these "+
			"weights", f.key, v.Weights)
	}
	f.config = raw
	whole, err := parseWhole(raw)
	if err == nil {
		f.imageSize = whole.ImageSize
	}
	if f.dir != "" {
		if f.towerDir, err = towerFolderOf(f.dir, v.Tower, raw); err != nil {
			return fmt.Errorf("%s.weights: %w", f.key, err)
		}
	}
	if f.towerDir != f.dir {
		if f.config, _, err = readConfig(f.key, f.towerDir, ""); err != nil {
			return err
		}
	} else if holds > 1 {
		f.place = tower
	}
	if f.dir != "" {
		f.imageSize = orDefault(f.imageSize, preparedSize(f.towerDir))
	}
	if f.config, err = visionHalf(f.config); err != nil {
		return fmt.Errorf("%s: %w", f.key, err)
	}
	f.name, err = towerName(v.Weights, f.dir, f.towerDir, tower)
	return err
}

// ProcessorPlace is where a tower's image settings are: a folder, "" for a tower that is built from its configuration,
// and the tower's place among those of the folder, from 0.
type ProcessorPlace struct {
	Dir   string
	Place int
}

// ProcessorPlaces says where the image settings of each tower are.
func ProcessorPlaces(v recipes.Vision) (list []ProcessorPlace, err error) {
	files, err := readTowers(v)
	for _, f := range files {
		list = append(list, ProcessorPlace{f.towerDir, f.place})
	}
	return list, err
}

// perTower are the keys of a whole LLaVA's config.json that are lists of two where it has two towers. The original has
// one tower only.
var perTower = []string{"mm_vision_tower", "vision_config", "mm_vision_select_layer", "mm_vision_image_size"}

// ofTower is the configuration of a whole LLaVA as if it had only one of its towers; of is how many it has. Any other
// config.json stays as it is.
func ofTower(raw []byte, tower int) (one []byte, of int, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, 0, fmt.Errorf("config.json: %w", err)
	}
	var list []json.RawMessage
	if json.Unmarshal(fields["mm_vision_select_layer"], &list) != nil || list == nil {
		return raw, 1, nil
	}
	for _, key := range perTower {
		value, given := fields[key]
		if !given {
			continue
		}
		list = nil
		if err := json.Unmarshal(value, &list); err != nil || len(list) != 2 {
			return nil, 0, fmt.Errorf("config.json has %s %.100s: where mm_vision_select_layer is a list, it must be "+
				"a list of two, an entry for each tower", key, value)
		}
		fields[key] = list[tower]
	}
	one, err = json.Marshal(fields)
	return one, 2, err
}

// secondTower is the second tower of a whole LLaVA beside its first; nil if it has one.
func secondTower(raw []byte, first recipes.Vision) (*recipes.Vision, error) {
	raw, of, err := ofTower(raw, 1)
	if err != nil || of == 1 {
		return nil, err
	}
	c, err := parseWhole(raw)
	if err == nil && c.Layer == nil {
		err = errors.New("config.json has mm_vision_select_layer null for the second tower")
	}
	if err != nil {
		return nil, err
	}
	first.SelectLayer = *c.Layer
	return &first, nil
}

// towerKeys are the keys of a whole LLaVA's config.json that describe its towers: values for one tower, lists for two.
func (c folderConfigs) towerKeys(v recipes.Vision, shape TowerShape) (map[string]any, error) {
	lists := map[string][]any{}
	for i, one := range v.Towers() {
		var config map[string]any
		if err := decodeNumbers(c.towers[i].config, &config); err != nil {
			return nil, fmt.Errorf("config.json of the tower: %w", err)
		}
		for key, value := range map[string]any{"mm_vision_tower": c.towers[i].name, "vision_config": config,
			"mm_vision_select_layer": one.SelectLayer, "mm_vision_image_size": shape.Each()[i].ImageSize} {
			lists[key] = append(lists[key], value)
		}
	}
	keys := map[string]any{"mm_hidden_size": shape.HiddenSize, "mm_vision_select_feature": v.SelectFeature}
	for key, list := range lists {
		if keys[key] = list; len(list) == 1 {
			keys[key] = list[0]
		}
	}
	if shape.Second == nil && !shape.Resizes { // config.json of the tower says it
		delete(keys, "mm_vision_image_size")
	}
	return keys, nil
}

// oneTower refuses two towers for a format that holds one.
func (c folderConfigs) oneTower() error {
	if len(c.towers) > 1 {
		return errors.New("transformers has no class for a LLaVA with two towers: use --format llava")
	}
	return nil
}
