package recipes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withVision is a recipe whose model.vision is the given YAML.
func withVision(vision string) string {
	return `
model:
  vision: ` + vision + `
  language: {weights: ./language}
pretrain:
  data: [{path: a.json}]
  template: plain
  train: {projector: {lr: 1e-3}}
  batch: {global: 4}
`
}

func loadVision(t *testing.T, vision string, set ...string) *Recipe {
	t.Helper()
	r, err := load("/here/r.yaml", []byte(withVision(vision)), set)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTwoTowers(t *testing.T) {
	r := loadVision(t, `[{weights: a/b, select_layer: -3}, {config: dino.json, image_size: 378}]`,
		"model.vision.1.select_layer=-1")
	want := Vision{Weights: "a/b", SelectLayer: -3, SelectFeature: "patch",
		Second: &Vision{Config: "/here/dino.json", SelectLayer: -1, SelectFeature: "patch", ImageSize: 378}}
	if diff := cmp.Diff(want, r.Model.Vision); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	towers := r.Model.Vision.Towers()
	want.Second = nil
	if len(towers) != 2 || !cmp.Equal(towers[0], want) || towers[1].ImageSize != 378 {
		t.Errorf("towers %+v", towers)
	}
	text, err := r.Resolved()
	if err != nil {
		t.Fatal(err)
	}
	again, err := load("/here/r.yaml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, again); diff != "" {
		t.Errorf("resolved and loaded again (-want +got):\n%s", diff)
	}
	digest := r.Digest(StagePretrain)
	for key, want := range map[string]string{"model.vision.0.select_layer": "-3", "model.vision.1.image_size": "378",
		"model.vision.0.weights": "", "model.vision.1.config": "", "model.vision.select_layer": ""} {
		if digest[key] != want {
			t.Errorf("digest has %s: %q, want %q", key, digest[key], want)
		}
	}
}

// A list of one tower is a mapping: the recipe, its resolved form and its digest are the same.
func TestAListOfOneTowerIsAMapping(t *testing.T) {
	mapping, list := loadVision(t, `{weights: a/b}`), loadVision(t, `[{weights: a/b}]`)
	if diff := cmp.Diff(mapping, list); diff != "" {
		t.Errorf("(-mapping +list):\n%s", diff)
	}
	one, err := mapping.Resolved()
	if err != nil || !strings.Contains(string(one), "\n  vision:\n    weights: a/b\n    select_layer: -2\n") {
		t.Errorf("%v, resolved as\n%s", err, one)
	}
}

func TestBadTowers(t *testing.T) {
	const one = "{weights: a/b}"
	for _, c := range [][2]string{
		{`[]`, "model.vision: lists 0 towers; a model has one, or two whose features are joined"},
		{`[` + one + `, ` + one + `, ` + one + `]`, "model.vision: lists 3 towers; a model has one, or two"},
		{`[[` + one + `], ` + one + `]`, "model.vision.0: expected a section with keys, found a list"},
		{`[` + one + `, c/d]`, "model.vision.1: expected a section with keys, found"},
		{`[` + one + `, {select_layer: -1}]`, "model.vision.1: required: weights"},
		{`[` + one + `, {weights: c/d, config: e}]`,
			"model.vision.1.config: cannot be combined with model.vision.1.weights"},
		{`[{weights: a/b, select_feature: cls_patch}, ` + one + `]`,
			"model.vision.0.select_feature: must be patch for each of two"},
		{`[` + one + `, {weights: c/d, select_feature: cls_patch}]`,
			"model.vision.1.select_feature: must be patch for each of two"},
		{`[` + one + `, {weights: c/d, image_size: 5000}]`, "model.vision.1.image_size: must be from 1 to 4096"},
		{`[` + one + `, {weights: c/d, second: {weights: e/f}}]`, "model.vision.1.second: unknown key"},
	} {
		_, err := load("/here/r.yaml", []byte(withVision(c[0])), nil)
		if err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: error %v, want %q", c[0], err, c[1])
		}
	}
	_, err := load("/here/r.yaml", []byte(withVision(`[{weights: a/b, select_feature: cls_patch}]`)), nil)
	if err != nil {
		t.Errorf("the class token of one tower: %v", err)
	}
}
