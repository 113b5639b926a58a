package model

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
)

// inDtype writes the parts of a model in another dtype.
func inDtype(t *testing.T, files map[string]checkpoints.Tensor, dtype checkpoints.Dtype) map[string]checkpoints.Tensor {
	t.Helper()
	out := map[string]checkpoints.Tensor{}
	for name, tensor := range files {
		data, err := convert(tensor, dtype)
		if err != nil {
			t.Fatal(err)
		}
		tensor.Dtype, tensor.Data = dtype, data
		out[name] = tensor
	}
	return out
}

// A projector's file knows the language model and the tower that it was trained with.
func TestAProjectorBelongsToItsModel(t *testing.T) {
	open := func(seed uint64) (*LLaVA, recipes.Model) {
		m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: seed})
		return m, tinyFolders(t, m)
	}
	source, own := open(1)
	_, other := open(2)
	opened := openModel(t, own, OpenOptions{})
	var list []checkpoints.Tensor
	for _, tensor := range tensors(t, source, recipes.PartProjector) {
		list = append(list, tensor)
	}
	write := func(metadata map[string]string) string {
		path := filepath.Join(t.TempDir(), "mm_projector.safetensors")
		if err := checkpoints.WriteSafetensors(path, metadata, list); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if n := len(opened.Belongs()); n != 2 {
		t.Fatalf("%d identities", n)
	}
	own.Projector.Weights, other.Projector.Weights = write(opened.Belongs()), write(opened.Belongs())
	openModel(t, own, OpenOptions{})
	for _, dtype := range []checkpoints.Dtype{checkpoints.BF16, checkpoints.F16} {
		same := own
		same.Language.Weights = writeFolder(t, tinyLanguage,
			inDtype(t, tensors(t, source, recipes.PartLanguage), dtype))
		openModel(t, same, OpenOptions{})
	}
	message := openFails(t, other, OpenOptions{})
	if !strings.Contains(message,
		other.Projector.Weights+" was trained with a different language model than "+other.Language.Weights) {
		t.Errorf("error %q", message)
	}
	if _, err := Inspect(other, OpenOptions{}); err == nil || err.Error() != message {
		t.Errorf("Inspect: %v", err)
	}
	tower := own
	tower.Vision.Weights = other.Vision.Weights
	if message := openFails(t, tower, OpenOptions{}); !strings.Contains(message,
		"was trained with a different vision tower than "+tower.Vision.Weights) {
		t.Errorf("error %q", message)
	}
	other.Projector.Weights = write(opened.Belongs(recipes.PartLanguage, recipes.PartVision)) // nothing is known
	openModel(t, other, OpenOptions{})

	// A checkpoint laid over the model that the projector belongs to changes nothing about that.
	own.Projector.Weights = write(opened.Belongs())
	overlay := filepath.Join(writeFolder(t, nil, tensors(t,
		openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 3}), recipes.PartLanguage)),
		"model.safetensors")
	later := openModel(t, own, OpenOptions{Overlay: []string{overlay}})
	if id := identityPrefix + recipes.PartLanguage; later.Belongs()[id] == opened.Belongs()[id] {
		t.Error("the identity does not follow the overlay")
	}
}

// otherIdentity is an identity of which n weights are others, spread over all of them.
func otherIdentity(id string, n int) string {
	text := []byte(id)
	for i := range n {
		digit := &text[4*(i*identityWeights/n)]
		if *digit++; *digit == '9'+1 || *digit == 'f'+1 {
			*digit = '0'
		}
	}
	return string(text)
}

// Nine weights in ten must agree: 58 of 64 do, 57 do not.
func TestTheBorderOfIdentity(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, m)
	own := openModel(t, r, OpenOptions{}).Belongs()
	for _, part := range identified {
		id := own[identityPrefix+part.part]
		if len(id) != 4*64 {
			t.Fatalf("the identity of the %s has %d digits", part.name, len(id))
		}
		for differ := range 65 {
			agree := 64 - differ
			same := sameIdentity(otherIdentity(id, differ), id)
			if same != (10*agree >= 9*64) {
				t.Errorf("%d of 64 weights of the %s agree: same is %v", agree, part.name, same)
			}
		}
	}
	var list []checkpoints.Tensor
	for _, tensor := range tensors(t, m, recipes.PartProjector) {
		list = append(list, tensor)
	}
	write := func(differ int) string {
		metadata := map[string]string{}
		for key, id := range own {
			metadata[key] = otherIdentity(id, differ)
		}
		path := filepath.Join(t.TempDir(), "mm_projector.safetensors")
		if err := checkpoints.WriteSafetensors(path, metadata, list); err != nil {
			t.Fatal(err)
		}
		return path
	}
	r.Projector.Weights = write(6)
	openModel(t, r, OpenOptions{})
	r.Projector.Weights = write(7)
	if message := openFails(t, r, OpenOptions{}); !strings.Contains(message,
		"was trained with a different language model") {
		t.Errorf("57 of 64 weights agree: %q", message)
	}
}

// Another fine-tuning of the same base is another model.
func TestIdentitiesTellFineTuningsApart(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, m)
	first := openModel(t, r, OpenOptions{}).Belongs()[identityPrefix+recipes.PartLanguage]
	files := tensors(t, m, recipes.PartLanguage)
	for name, tensor := range files {
		values, err := tensor.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		for i := range values {
			values[i] *= 1.02
		}
		moved := checkpoints.Float32Tensor(name, values)
		moved.Shape = tensor.Shape
		files[name] = moved
	}
	r.Language.Weights = writeFolder(t, tinyLanguage, files)
	if sameIdentity(first, openModel(t, r, OpenOptions{}).Belongs()[identityPrefix+recipes.PartLanguage]) {
		t.Error("two per cent are no difference")
	}
	if sameIdentity(first, "") || !sameIdentity(first, first) {
		t.Error("identities are compared wrongly")
	}
}
