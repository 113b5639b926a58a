package scene

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// recorded is a line of parity-synth/context/expected.jsonl: what another program makes of an image.
type recorded struct {
	ID       int                `json:"id"`
	Image    string             `json:"image"`
	Contexts map[string]*string `json:"contexts"`
	Dropped  Counts             `json:"dropped"`
}

// The contexts and what was dropped equal the recordings, byte for byte.
func TestContextParity(t *testing.T) {
	dir := datatest.Shared(t, "parity-synth", "context")
	captions, instances := filepath.Join(dir, "captions.json"), filepath.Join(dir, "instances.json")
	set, err := ReadCOCO(t.Context(), captions, instances, Options{})
	if err != nil {
		t.Fatal(err)
	}
	scenes := map[string]Scene{}
	for _, s := range set.Scenes {
		scenes[s.ID] = s
	}
	for _, s := range set.Skipped {
		scenes[s.ID] = s.Scene
	}
	total := maps.Clone(set.Stray)
	expected := datatest.JSONLines[recorded](t, filepath.Join(dir, "expected.jsonl"))
	kept := 0
	for _, want := range expected {
		got := scenes[strconv.Itoa(want.ID)]
		if got.Image != want.Image {
			t.Errorf("%d: image %q, want %q", want.ID, got.Image, want.Image)
		}
		if diff := cmp.Diff(want.Dropped, got.Dropped, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%d: dropped (-want +got):\n%s", want.ID, diff)
		}
		for reason, n := range want.Dropped {
			total.add(reason, n)
		}
		skipped := false
		for kind, boxes := range map[string]bool{"conversation": false, "detail": true, "reasoning": true} {
			text := want.Contexts[kind]
			if text == nil {
				skipped = true
				continue
			}
			if diff := cmp.Diff(*text, got.Context(boxes)); diff != "" {
				t.Errorf("%d, %s (-want +got):\n%s", want.ID, kind, diff)
			}
		}
		if !skipped {
			if set.Scenes[kept].ID != got.ID {
				t.Errorf("scene %d is %s, want %s", kept, set.Scenes[kept].ID, got.ID)
			}
			kept++
		}
	}
	if len(expected) == 0 || kept != len(set.Scenes) || len(expected) != len(scenes) {
		t.Errorf("%d scenes and %d skipped, want %d of %d", len(set.Scenes), len(set.Skipped), kept, len(expected))
	}
	if diff := cmp.Diff(total, set.Dropped()); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}
}

// What a person would read, for each shape of a scene.
func TestContext(t *testing.T) {
	cat := Object{"cat", [4]float64{0, 0.05, 0.6299, 1}}
	for _, c := range []struct {
		name         string
		scene        Scene
		plain, boxed string
	}{
		{"captions", Scene{Captions: []string{"A cat.", "A cat sits"}}, "A cat.\nA cat sits", "A cat.\nA cat sits"},
		{"both", Scene{Captions: []string{"A cat."}, Objects: []Object{cat, cat}}, "A cat.",
			"A cat.\n\ncat: [0.0, 0.05, 0.63, 1.0]\ncat: [0.0, 0.05, 0.63, 1.0]"},
		{"objects", Scene{Objects: []Object{cat}}, "", "cat: [0.0, 0.05, 0.63, 1.0]"},
		{"neither", Scene{}, "", ""},
	} {
		if got := c.scene.Context(false); got != c.plain {
			t.Errorf("%s: %q, want %q", c.name, got, c.plain)
		}
		if got := c.scene.Context(true); got != c.boxed {
			t.Errorf("%s, with boxes: %q, want %q", c.name, got, c.boxed)
		}
	}
}

func TestFraction(t *testing.T) {
	for f, want := range map[float64]string{0: "0.0", 1: "1.0", 0.5: "0.5", 0.63: "0.63", 0.1234: "0.123",
		0.0004: "0.0", 0.9996: "1.0", 0.1: "0.1", 0.0625: "0.062", 0.1875: "0.188", 0.01: "0.01", 0.105: "0.105"} {
		if got := string(appendFraction(nil, f)); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	there := datatest.WriteFile(t, dir, "a.jpg", "x")
	if err := os.Mkdir(filepath.Join(dir, "folder.jpg"), 0o755); err != nil {
		t.Fatal(err)
	}
	scenes := []Scene{{Image: "a.jpg"}, {Image: "b.jpg"}, {Image: "folder.jpg"}, {Image: there},
		{Image: filepath.Join(dir, "c.jpg")}, {Image: "a\x00.jpg"}}
	places, err := Missing(t.Context(), dir, scenes)
	if diff := cmp.Diff([]int{1, 2, 4, 5}, places); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := Missing(t.Context(), filepath.Join(dir, "none"), scenes); !errors.Is(err, failure.ErrInput) {
		t.Errorf("a missing folder: %v", err)
	}
}
