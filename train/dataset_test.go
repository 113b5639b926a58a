package train

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
)

// A folder without preprocessor_config.json has the usual constants of its tower.
func TestTowersHaveTheirOwnImageConstants(t *testing.T) {
	for kind, want := range map[string]*data.Processor{"clip": data.CLIPProcessor(28), "siglip": data.SigLIPProcessor(28)} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type": "`+kind+`"}`), 0o666); err != nil {
			t.Fatal(err)
		}
		got, err := openProcessor(recipes.Vision{Weights: dir}, model.TowerShape{ImageSize: 28, Processor: kind})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}
