package model

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/recipes"
)

// Settings follow the fields that change the computation, in whichever spelling, and no others.
func TestSettingsFollowTheConfigurations(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	settings := func(language, vision object) map[string]string {
		t.Helper()
		r := tinyFolders(t, source)
		r.Language.Weights = writeFolder(t, language, tensors(t, source, recipes.PartLanguage))
		r.Vision.Weights = writeFolder(t, vision, tensors(t, source, recipes.PartVision))
		m, err := Rehearse(r, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Free()
		return m.Settings
	}
	scaled := object{"rope_type": "linear", "factor": 2}
	for name, c := range map[string]struct {
		language, vision object
		changed          []string
	}{
		"the same":         {nil, nil, nil},
		"what describes":   {object{"_name_or_path": "a", "torch_dtype": "float16", "use_cache": false}, nil, nil},
		"a default":        {object{"rope_theta": 1e4, "hidden_act": "silu"}, nil, nil},
		"another spelling": {object{"rope_parameters": object{"rope_type": "default", "rope_theta": 1e4}}, nil, nil},
		"theta":            {object{"rope_theta": 5e5}, nil, []string{"language.rope_theta"}},
		"scaling":          {object{"rope_scaling": scaled}, nil, []string{"language.rope_scaling"}},
		"eps":              {object{"rms_norm_eps": 1e-3}, nil, []string{"language.rms_norm_eps"}},
		"windows": {object{"model_type": "mistral", "sliding_window": 5}, nil,
			[]string{"language.model_type", "language.windows"}},
		"the tower's eps": {nil, object{"layer_norm_eps": 1e-3}, []string{"vision.layer_norm_eps"}},
	} {
		before := settings(tinyLanguage, tinyVision)
		after := settings(tinyLanguage.with(c.language), tinyVision.with(c.vision))
		var changed []string
		for _, field := range slices.Sorted(maps.Keys(after)) {
			if before[field] != after[field] {
				changed = append(changed, field)
			}
		}
		if diff := cmp.Diff(c.changed, changed); diff != "" || len(before) != len(after) || len(before) < 20 {
			t.Errorf("%s: %d fields became %d, changed (-want +got):\n%s", name, len(before), len(after), diff)
		}
	}
}

// A tower of every kind has its fields in the settings, so that a resume compares them.
func TestSettingsOfEveryTower(t *testing.T) {
	for kind := range towers {
		r := tinyRecipe(t, tinyLanguage, tinyVision.with(object{"model_type": kind, "hidden_size": 8}))
		m := openModel(t, r, OpenOptions{Seed: 1})
		for field, want := range map[string]string{"vision.hidden_size": "8", "vision.patch_size": "2"} {
			if got := m.Settings[field]; got != want {
				t.Errorf("%s: %s is %q, want %s", kind, field, got, want)
			}
		}
	}
}
