package model

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// size is the side S of a tower's images in pixels, for a tower that can run at several sizes; configured is
// config.json's image_size.
func (t TowerSelect) size(configured, patch int64) (int64, error) {
	size := orDefault(orDefault(t.ImageSize, t.FilesSize), configured)
	switch {
	case size < patch || size > maxSize:
		return 0, fmt.Errorf("images of %d pixels a side: it must be from patch_size %d to %d", size, patch, maxSize)
	case size%patch != 0:
		return 0, fmt.Errorf("images of %d pixels a side are not a multiple of patch_size %d: "+
			"set %s.image_size to %d or %d", size, patch, t.Key, size/patch*patch, (size/patch+1)*patch)
	}
	return size, nil
}

// preparedSize is the side in pixels of the images that the image processor in dir makes; 0 if there is none, or none
// that can be read, which is reported where the processor is opened.
func preparedSize(dir string) int64 {
	type sides struct {
		Size  json.RawMessage `json:"size"`
		Crop  json.RawMessage `json:"crop_size"`
		Crops *bool           `json:"do_center_crop"`
	}
	for _, file := range []string{"preprocessor_config.json", "processor_config.json"} {
		var config struct {
			sides
			Image *sides `json:"image_processor"` // transformers 5
		}
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || json.Unmarshal(text, &config) != nil {
			continue
		}
		found := config.sides
		if config.Image != nil {
			found = *config.Image
		}
		if size := sideOf(found.Crop); size > 0 && (found.Crops == nil || *found.Crops) {
			return size
		}
		if size := sideOf(found.Size); size > 0 {
			return size
		}
	}
	return 0
}

// sideOf reads a size as Hugging Face writes it: a number, {"shortest_edge": n} or {"height": n, "width": n}.
func sideOf(text json.RawMessage) (side int64) {
	var keys struct {
		Edge   int64 `json:"shortest_edge"`
		Height int64 `json:"height"`
	}
	if json.Unmarshal(text, &side) == nil {
		return side
	}
	if json.Unmarshal(text, &keys) != nil {
		return 0
	}
	return max(keys.Edge, keys.Height)
}
