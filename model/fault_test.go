package model

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

func requireStorage(t *testing.T, what string, err error) {
	t.Helper()
	if !failure.IsStorage(err) || errors.Is(err, failure.ErrInput) {
		t.Errorf("%s: error is %v, want one of the disk", what, err)
	}
}

// A disk that fails under a model's files: before C++ reads a tensor, where it would end the process, and where Go
// looks at some values.
func TestModelOnAFailingDisk(t *testing.T) {
	r := tinyFolders(t, openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1}))
	config := filepath.Join(r.Language.Weights, "config.json")
	if err := errors.Join(os.Remove(config), os.Symlink(datatest.Unreadable, config)); err != nil {
		t.Fatal(err)
	}
	_, err := Rehearse(r, OpenOptions{})
	requireStorage(t, "config.json", err)

	info := checkpoints.Info{Name: "a", Dtype: checkpoints.F32, Shape: []int64{1 << 16}}
	path := filepath.Join(t.TempDir(), "w")
	if err := checkpoints.WriteSafetensors(path, nil,
		[]checkpoints.Tensor{{Info: info, Data: make([]byte, info.Bytes())}}); err != nil {
		t.Fatal(err)
	}
	w, err := checkpoints.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	a := assignment{info: info, weights: w}
	requireStorage(t, "load", a.load(1))
	_, err = a.element(1)
	requireStorage(t, "element", err)
	_, err = content{"a", a}.values(1)
	requireStorage(t, "values", err)
	_, err = fingerprint(w)
	requireStorage(t, "fingerprint", err)
}

// A hub cache that cannot be read is not one that lacks the model.
func TestResolveOnAFailingDisk(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	hubRepository(t, cache, "models--a--b", "aaa", true)
	main := filepath.Join(cache, "models--a--b", "refs", "main")
	if err := errors.Join(os.Remove(main), os.Symlink(datatest.Unreadable, main)); err != nil {
		t.Fatal(err)
	}
	_, err := Resolve("a/b")
	requireStorage(t, "refs/main", err)
}

// What is wrong with a model's files, or asked of them, is the user's.
func TestRefusalsAreTheUsers(t *testing.T) {
	good := tinyRecipe(t, tinyLanguage, tinyVision)
	rehearsed := func(change func(r *recipes.Model), o OpenOptions) error {
		r := good
		change(&r)
		_, err := Rehearse(r, o)
		return err
	}
	none := filepath.Join(t.TempDir(), "none")
	asIs := func(*recipes.Model) {}
	_, described := DescribeTower(recipes.Vision{Config: none})
	_, resolved := Resolve(none)
	_, _, read := ReadLLaVA(none, "")
	m := openModel(t, good, OpenOptions{})
	other := tinyFolders(t, m)
	contents, err := Inspect(good, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer contents.Close()
	_, format := contents.Export(ExportOptions{Format: "adapter"})
	for what, err := range map[string]error{
		"no folder":      rehearsed(func(r *recipes.Model) { r.Language.Weights = none }, OpenOptions{}),
		"no tower":       described,
		"no model":       resolved,
		"no LLaVA":       read,
		"layer":          rehearsed(func(r *recipes.Model) { r.Vision.SelectLayer = -9 }, OpenOptions{}),
		"projector file": rehearsed(asIs, OpenOptions{Projector: none}),
		"adapters": rehearsed(asIs,
			OpenOptions{LoRA: map[string]recipes.LoRA{recipes.PartLanguage: {R: 1, Targets: "none"}}}),
		"wrong weights": rehearsed(func(r *recipes.Model) { r.Projector.Weights = other.Vision.Weights },
			OpenOptions{}),
		"format":      format,
		"long prompt": m.CheckPrompt(Input{IDs: make([]int64, 33)}),
	} {
		if !errors.Is(err, failure.ErrInput) || failure.IsStorage(err) {
			t.Errorf("%s: error is %v, want one of the user's", what, err)
		}
	}
}

// Of several files that are missing the error names each.
func TestEveryMissingFileIsNamed(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	empty := tinyFolders(t, openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{}))
	for _, dir := range []string{empty.Vision.Weights, empty.Language.Weights} {
		files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	missing := empty
	missing.Vision.Weights, missing.Language.Weights = none, none
	for name, r := range map[string]recipes.Model{"folders": missing, "weights": empty} {
		_, err := Rehearse(r, OpenOptions{Projector: none})
		errs := failure.Each(err)
		if len(errs) != 3 {
			t.Fatalf("%s: %d errors, want 3: %v", name, len(errs), err)
		}
		for i, part := range []string{"vision", "language", "projector"} {
			key := "model." + part + ".weights: "
			if !strings.HasPrefix(errs[i].Error(), key) || !errors.Is(errs[i], failure.ErrInput) {
				t.Errorf("%s: error %d is %q, want one of the user's under %s", name, i, errs[i], key)
			}
		}
	}
}
