package checkpoints

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Several processes write one checkpoint: each has slices of the tensors, and writes a file of its own; an index says
// which elements of which tensor are where. Open reads all as whole tensors, however many processes wrote them.

// Slice is a stretch of the row-major elements of a tensor.
type Slice struct {
	Info     // of the whole tensor
	First    int64
	Elements int64
}

// PlacedSlice is a slice that has been written.
type PlacedSlice struct {
	Slice
	File string
}

// slicesEnd ends the name of an index: model.slices.json.
const slicesEnd = ".slices.json"

// WriteSlices writes the slices of one of world processes to a file of its own in dir, one at a time. data gives the
// elements of the i-th. A process without slices writes no file.
func WriteSlices(
	dir, base string, rank, world int, list []Slice, data func(i int) ([]byte, error),
) (placed []PlacedSlice, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	file := fmt.Sprintf("%s-%05d-of-%05d", base, rank+1, world)
	infos := make([]Info, len(list))
	for i, s := range list {
		infos[i] = Info{Name: s.key(), Dtype: s.Dtype, Shape: []int64{s.Elements}}
		placed = append(placed, PlacedSlice{s, file + ".safetensors"})
	}
	w, err := NewWriter(dir, file, math.MaxInt64, infos)
	if err != nil {
		return nil, err
	}
	for i, info := range infos {
		var values []byte
		if values, err = data(i); err == nil {
			err = w.Write(info.Name, values)
		}
		if err != nil {
			break
		}
	}
	return placed, cmp.Or(err, w.Close())
}

// key is the slice's name in its file.
func (s Slice) key() string { return fmt.Sprintf("%s@%d", s.Name, s.First) }

// slicedTensor is a tensor in an index of slices.
type slicedTensor struct {
	Dtype  Dtype         `json:"dtype"`
	Shape  []int64       `json:"shape"`
	Slices []sliceOfFile `json:"slices"`
}

type sliceOfFile struct {
	File     string `json:"file"`
	First    int64  `json:"first"`
	Elements int64  `json:"elements"`
}

// WriteSliceIndex writes base.slices.json for what all processes have written to dir. Every file must be there, and the
// slices of a tensor must be all of it.
func WriteSliceIndex(dir, base string, all []PlacedSlice) error {
	tensors := map[string]*slicedTensor{}
	for _, s := range all {
		if _, err := os.Stat(filepath.Join(dir, s.File)); err != nil {
			return fmt.Errorf("what another process has written is not seen here, so the folder is not shared by all "+
				"hosts: %w", err)
		}
		t := tensors[s.Name]
		if t == nil {
			t = &slicedTensor{Dtype: s.Dtype, Shape: s.Shape}
			tensors[s.Name] = t
		}
		t.Slices = append(t.Slices, sliceOfFile{s.File, s.First, s.Elements})
	}
	for name, t := range tensors {
		slices.SortFunc(t.Slices, func(a, b sliceOfFile) int { return cmp.Compare(a.First, b.First) })
		if err := t.check(name); err != nil {
			return err
		}
	}
	text, err := json.Marshal(tensors)
	if err != nil {
		return err
	}
	return ReplaceFile(filepath.Join(dir, base+slicesEnd), append(text, '\n'))
}

// check refuses slices, by First, that are not all of the tensor, each element once.
func (t *slicedTensor) check(name string) error {
	if err := (Info{name, t.Dtype, t.Shape}).check(); err != nil {
		return err
	}
	at := int64(0)
	for _, s := range t.Slices {
		if s.First != at || s.Elements < 0 {
			return fmt.Errorf("tensor %q: a slice begins at element %d, want %d", name, s.First, at)
		}
		if s.File == "" || s.File != filepath.Base(s.File) {
			return fmt.Errorf("tensor %q: file %q is not the plain name of a file in this folder", name, s.File)
		}
		at += s.Elements
	}
	if whole := (Info{name, t.Dtype, t.Shape}).Elements(); at != whole {
		return fmt.Errorf("tensor %q: its slices have %d elements of %d", name, at, whole)
	}
	return nil
}

// addSlices opens the files of an index of slices.
func (w *Weights) addSlices(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var tensors map[string]*slicedTensor
	if err := json.Unmarshal(text, &tensors); err != nil {
		return fmt.Errorf("index %q: %w", path, err)
	}
	files := map[string]map[string]view{}
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		t := tensors[name]
		if t == nil {
			return fmt.Errorf("index %q: tensor %q has no slices", path, name)
		}
		if err := t.check(name); err != nil {
			return fmt.Errorf("index %q: %w", path, err)
		}
		v := view{Info: Info{name, t.Dtype, t.Shape}, parts: [][]byte{}}
		for _, s := range t.Slices {
			if files[s.File] == nil {
				if files[s.File], err = w.byName(filepath.Join(filepath.Dir(path), s.File)); err != nil {
					return err
				}
			}
			part := files[s.File][(Slice{Info: v.Info, First: s.First}).key()]
			if part.Dtype != t.Dtype || part.Elements() != s.Elements {
				return fmt.Errorf("index %q: file %q does not hold %d elements of %q from %d", path, s.File, s.Elements,
					name, s.First)
			}
			v.parts = append(v.parts, part.data)
		}
		w.views[name] = v
	}
	return nil
}

func (w *Weights) byName(path string) (map[string]view, error) {
	list, _, err := w.read(path)
	views := map[string]view{}
	for _, v := range list {
		views[v.Name] = v
	}
	return views, err
}

// Saved is the path of base's tensors in a checkpoint, whether one process wrote them or several.
func Saved(dir, base string) string {
	if index := filepath.Join(dir, strings.TrimSuffix(base, ".safetensors")+slicesEnd); Exists(index) {
		return index
	}
	return filepath.Join(dir, base)
}
