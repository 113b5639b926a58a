package model

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/llavatrain/llavatrain/recipes"
)

// tilesKeys are the keys of the original's config.json that say how images become tiles: of a model that was trained
// with them, or that is used with whole images and a newline.
func tilesKeys(t *recipes.Tiles, aspect string) map[string]any {
	keys := map[string]any{"image_aspect_ratio": aspect, "mm_patch_merge_type": recipes.MergeFlat}
	sized := t != nil && t.Pinpoints != ""
	if t == nil || aspect != recipes.AnyResolution && sized {
		return keys
	}
	keys["mm_patch_merge_type"] = t.Merge
	if !sized {
		return keys
	}
	keys["image_grid_pinpoints"] = string(t.Pinpoints)
	if pairs, ok := t.Pinpoints.Pairs(); ok {
		keys["image_grid_pinpoints"] = pairs
	}
	if t.Max > 0 {
		keys["image_aspect_ratio"] = aspect + "_max_" + strconv.Itoa(t.Max)
	}
	if t.Several != "pad" {
		keys["image_several"] = t.Several
	}
	return keys
}

// nestedTiles changes the configurations of transformers' LLaVA to those of its classes for tiles: LLaVA-NeXT, or
// LLaVA-OneVision where maps are limited. pinpoints are pairs of width and height.
func nestedTiles(t *recipes.Tiles, o ExportOptions, tower TowerShape, config, processor map[string]any) error {
	if t == nil || o.Notes.Aspect != recipes.AnyResolution {
		return nil
	}
	if t.Merge != recipes.MergeSpatialUnpad {
		return fmt.Errorf("transformers' LLaVA-NeXT merges tiles only by %s, not by this model's %s: "+
			"use --format llava", recipes.MergeSpatialUnpad, t.Merge)
	}
	if err := sameGrid(config["vision_config"].(map[string]any), tower); err != nil {
		return err
	}
	swapped := make([][2]int, len(o.Pinpoints))
	for i, pair := range o.Pinpoints {
		swapped[i] = [2]int{pair[1], pair[0]}
	}
	config["image_grid_pinpoints"], config["use_image_newline_parameter"] = swapped, true
	delete(config, "image_aspect_ratio")
	config["architectures"], config["model_type"] = []string{"LlavaNextForConditionalGeneration"}, nextType
	processor["processor_class"] = "LlavaNextProcessor"
	if t.Several != "pad" {
		config["image_several"] = t.Several
	}
	if t.Max == 0 {
		return nil
	}
	limit := "anyres_max_" + strconv.Itoa(t.Max)
	config["architectures"] = []string{"LlavaOnevisionForConditionalGeneration"}
	config["model_type"], config["vision_aspect_ratio"] = onevisionType, limit
	config["video_token_index"] = o.SpecialTokens.Video
	processor["processor_class"], processor["vision_aspect_ratio"] = "LlavaOnevisionProcessor", limit
	processor["num_image_tokens"], processor["video_token"] = config["image_seq_length"], "<video>"
	delete(processor, "patch_size")
	delete(processor, "num_additional_image_tokens")
	return nil
}

// sameGrid refuses tiles for a tower that runs at another size than its vision_config says: transformers' LLaVA-NeXT
// lays out the patches of a tile by image_size there.
func sameGrid(vision map[string]any, tower TowerShape) error {
	number, _ := vision["image_size"].(json.Number)
	if size, err := number.Int64(); err == nil && size != tower.ImageSize {
		return fmt.Errorf("transformers' LLaVA-NeXT takes tiles to be of %d pixels, the image_size of vision_config, "+
			"not of this model's %d: use --format llava", size, tower.ImageSize)
	}
	return nil
}
