package model

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
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
	if _, err := Rehearse(other, OpenOptions{}); err == nil || err.Error() != message {
		t.Errorf("Rehearse: %v", err)
	}
	openModel(t, other, OpenOptions{AnyProjector: true})
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

// An identity is 64 weights in bf16, spread evenly over the matrices of the layers and over each matrix. Files keep it,
// so it stays the same from version to version.
func TestWhatAnIdentityIs(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	opened := openModel(t, tinyFolders(t, m), OpenOptions{})
	for _, part := range identified {
		weights := inDtype(t, tensors(t, m, part.part), checkpoints.BF16)
		var matrices []checkpoints.Tensor
		for _, p := range m.Params.All() {
			if p.Part == part.part && len(p.Shape) == 2 && strings.Contains(p.Name, ".layers.") {
				matrices = append(matrices, weights[p.Name])
			}
		}
		want := ""
		for i := range 64 {
			matrix := matrices[i*len(matrices)/64].Data
			middle := len(matrix) / 2 * (2*i + 1) / 128 // of the i-th of 64 equal stretches
			want += fmt.Sprintf("%02x%02x", matrix[2*middle+1], matrix[2*middle])
		}
		if got := opened.Belongs()[identityPrefix+part.part]; got != want {
			t.Errorf("the identity of the %s is\n%s, want\n%s", part.name, got, want)
		}
	}
}

// A weight halfway between two values of bf16 becomes the even one.
func TestIdentitiesRoundToEven(t *testing.T) {
	bits := map[uint32]uint16{
		0x3f80_0000: 0x3f80, 0x3f80_7fff: 0x3f80, 0x3f80_8000: 0x3f80, 0x3f80_8001: 0x3f81,
		0x3f81_7fff: 0x3f81, 0x3f81_8000: 0x3f82, 0xbf81_8000: 0xbf82, 0x3f81_8001: 0x3f82,
	}
	list := slices.Sorted(maps.Keys(bits))
	var raw []byte
	for _, x := range list {
		raw = binary.LittleEndian.AppendUint32(raw, x)
	}
	info := checkpoints.Info{Name: "a", Dtype: checkpoints.F32, Shape: []int64{int64(len(list))}}
	path := filepath.Join(t.TempDir(), "w")
	if err := checkpoints.WriteSafetensors(path, nil, []checkpoints.Tensor{{Info: info, Data: raw}}); err != nil {
		t.Fatal(err)
	}
	w, err := checkpoints.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i, x := range list {
		got, err := assignment{info: info, weights: w}.element(int64(i))
		if err != nil || got != bits[x] {
			t.Errorf("%08x becomes %04x, error %v; want %04x", x, got, err, bits[x])
		}
	}
}
