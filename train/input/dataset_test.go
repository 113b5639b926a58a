package input

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
)

// A folder without image settings has the usual constants of its tower.
func TestTowersHaveTheirOwnImageConstants(t *testing.T) {
	for kind, want := range map[string]*picture.Processor{
		"clip": picture.CLIPProcessor(28), "siglip": picture.SigLIPProcessor(28),
		"dinov2": picture.DINOv2Processor(28),
	} {
		dir := t.TempDir()
		config := []byte(`{"model_type": "` + kind + `"}`)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
			t.Fatal(err)
		}
		got, err := openProcessor(model.ProcessorPlace{Dir: dir}, model.TowerShape{ImageSize: 28, Processor: kind})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

// The file may be transformers 5's; its images must have the tower's size.
func TestImageSettingsOfAFolder(t *testing.T) {
	dir := t.TempDir()
	want := picture.SigLIPProcessor(28)
	for name, text := range map[string]string{
		"config.json":           `{"model_type": "clip"}`,
		"processor_config.json": `{"image_processor": ` + string(want.JSON()) + `}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := openProcessor(model.ProcessorPlace{Dir: dir}, model.TowerShape{ImageSize: 28, Processor: "clip"})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = openProcessor(model.ProcessorPlace{Dir: dir}, model.TowerShape{ImageSize: 56, Processor: "clip"})
	if err == nil || !strings.Contains(err.Error(), "makes images of 28 pixels a side, config.json wants 56") ||
		!strings.Contains(err.Error(), dir) {
		t.Errorf("error %v", err)
	}
	got, err = openProcessor(model.ProcessorPlace{Dir: dir},
		model.TowerShape{ImageSize: 56, Processor: "dinov2", Resizes: true})
	if diff := cmp.Diff(picture.SigLIPProcessor(56), got); err != nil || diff != "" {
		t.Errorf("resized: %v (-want +got):\n%s", err, diff)
	}
}

// The limit that a digest leaves out is the one that images have without the key.
func TestUsualMaxPixels(t *testing.T) {
	if recipes.UsualMaxPixels != picture.MaxPixels {
		t.Errorf("recipes leave out %d, images may have %d pixels", recipes.UsualMaxPixels, picture.MaxPixels)
	}
}
