package checkpoints

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// tensorOf is a tensor of n bytes.
func tensorOf(name string, n int) Tensor {
	data := make([]byte, 4*n)
	for i := range data {
		data[i] = byte(i * 7)
	}
	return Tensor{Info{name, F32, []int64{int64(n)}}, data}
}

// writeCut writes tensors as world processes that each have one stretch of each do.
func writeCut(dir, base string, world int, tensors []Tensor, cut func(n int64, rank int) int64) error {
	var all []PlacedSlice
	for rank := range world {
		var list []Slice
		var data [][]byte
		for _, t := range tensors {
			first, end := cut(t.Elements(), rank), cut(t.Elements(), rank+1)
			if first < end {
				list = append(list, Slice{t.Info, first, end - first})
				data = append(data, t.Data[4*first:4*end])
			}
		}
		placed, err := WriteSlices(dir, base, rank, world, list, func(i int) ([]byte, error) { return data[i], nil })
		if err != nil {
			return err
		}
		all = append(all, placed...)
	}
	return WriteSliceIndex(dir, base, all)
}

// What any number of processes has written is read as whole tensors.
func TestSlicesAreReadWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "slices")
		if err != nil {
			rt.Fatal(err)
		}
		world := rapid.IntRange(1, 5).Draw(rt, "world")
		tensors := []Tensor{tensorOf("a", rapid.IntRange(1, 30).Draw(rt, "a")), tensorOf("b.c", 1), tensorOf("d", 12)}
		cuts := rapid.SliceOfN(rapid.Int64Range(0, 30), world-1, world-1).Draw(rt, "cuts")
		at := func(n int64, rank int) int64 {
			switch {
			case rank == 0:
				return 0
			case rank == world:
				return n
			}
			c := int64(0)
			for _, cut := range cuts[:rank] {
				c = max(c, cut)
			}
			return min(c, n)
		}
		if err := writeCut(dir, "model", world, tensors, at); err != nil {
			rt.Fatal(err)
		}
		w, err := Open(Saved(dir, "model.safetensors"))
		if err != nil {
			rt.Fatal(err)
		}
		defer w.Close()
		if len(w.Names()) != len(tensors) {
			rt.Fatalf("%v", w.Names())
		}
		for _, want := range tensors {
			got, err := w.Load(want.Name)
			if err != nil || !bytes.Equal(got.Data, want.Data) || got.Info.Elements() != want.Elements() {
				rt.Fatalf("%s: %v", want.Name, err)
			}
			w.Release(want.Name)
		}
	})
}

func TestSavedPrefersTheIndex(t *testing.T) {
	dir := t.TempDir()
	if got := Saved(dir, "model.safetensors"); got != filepath.Join(dir, "model.safetensors") {
		t.Errorf("without an index: %s", got)
	}
}

func TestSlicesThatDoNotFit(t *testing.T) {
	half := func(n int64, rank int) int64 { return n * int64(rank) / 2 }
	for _, c := range []struct {
		name, old, new, says string
		file                 string // removed
	}{
		{"gap", `"first":5`, `"first":6`, `begins at element 6, want 5`, ""},
		{"short", `"elements":5}]`, `"elements":4}]`, `have 9 elements of 10`, ""},
		{"shape", `"shape":[10]`, `"shape":[11]`, `have 10 elements of 11`, ""},
		{"elsewhere", `"file":"model-00002`, `"file":"../model-00002`, `not the plain name of a file`, ""},
		{"no file", "", "", `model-00002-of-00002.safetensors`, "model-00002-of-00002.safetensors"},
		{"dtype", `"F32"`, `"BF16"`, `does not hold 5 elements`, ""},
		{"nothing", `{"dtype":"F32","shape":[10],"slices":[{"file":"model-00001-of-00002.safetensors","first":0,` +
			`"elements":5},{"file":"model-00002-of-00002.safetensors","first":5,"elements":5}]}`, `null`, "no slices",
			""},
		{"no JSON", `{"a":`, `[`, "index", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := writeCut(dir, "model", 2, []Tensor{tensorOf("a", 10)}, half); err != nil {
				t.Fatal(err)
			}
			index := filepath.Join(dir, "model.slices.json")
			text, err := os.ReadFile(index)
			if err != nil || !strings.Contains(string(text), c.old) {
				t.Fatalf("%v: %s", err, text)
			}
			if c.file != "" {
				os.Remove(filepath.Join(dir, c.file))
			}
			os.WriteFile(index, []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o666)
			w, err := Open(index)
			if err == nil {
				w.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one about %q", err, c.says)
			}
		})
	}
}

// A folder that is not shared by all hosts lacks what other processes have written.
func TestSlicesOfAnotherHostAreMissed(t *testing.T) {
	dir := t.TempDir()
	info := Info{"a", F32, []int64{4}}
	err := WriteSliceIndex(dir, "model", []PlacedSlice{{Slice{info, 0, 4}, "model-00002-of-00002.safetensors"}})
	if err == nil || !strings.Contains(err.Error(), "the folder is not shared by all hosts") {
		t.Errorf("%v", err)
	}
}
