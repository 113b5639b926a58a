package checkpoints

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// anyTensors draws tensors of all types, scalars and empty ones too.
func anyTensors(r *rapid.T) []Tensor {
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zα"\\<]{1,3}(\.[0-9])?`), 0, 6, rapid.ID).Draw(r, "names")
	all := make([]Tensor, len(names))
	for i, name := range names {
		dtype := rapid.SampledFrom([]Dtype{F64, F32, F16, BF16, I64, I32, I16, I8, U8, Bool, "F8_E4M3"}).Draw(r,
			"dtype")
		all[i] = tensor(name, dtype, rapid.SliceOfN(rapid.Int64Range(0, 4), 0, 3).Draw(r, "shape")...)
	}
	return all
}

func infosOf(all []Tensor) []Info {
	infos := make([]Info, len(all))
	for i, t := range all {
		infos[i] = t.Info
	}
	return infos
}

func byName(all []Tensor) map[string]Tensor {
	named := map[string]Tensor{}
	for _, t := range all {
		named[t.Name] = t
	}
	return named
}

func TestWriteSafetensors(t *testing.T) {
	path, other := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	rapid.Check(t, func(r *rapid.T) {
		all := anyTensors(r)
		metadata := map[string]string{"b": "1", "a": "ä\n", "format": "mine"}
		must(t, WriteSafetensors(path, metadata, all))
		w := open(t, path)
		defer w.Close()
		wantEqual(t, tensors(t, w), byName(all))
		wantEqual(t, metadata["format"], "mine")
		wantEqual(t, w.Metadata(), map[string]string{"b": "1", "a": "ä\n", "format": "pt"})

		text, err := os.ReadFile(path)
		must(t, err)
		_, header, _ := layout(metadata, infosOf(all))
		for _, e := range header { // PyTorch views the file from an address that is a multiple of 8
			if start := int64(len(text)) - header[len(header)-1].end + e.begin; start%int64(e.Dtype.Size()) != 0 {
				t.Errorf("%v lies at byte %d", e.Info, start)
			}
		}
		slices.Reverse(all)
		must(t, WriteSafetensors(other, metadata, all))
		again, err := os.ReadFile(other)
		must(t, err)
		wantEqual(t, again, text)
	})
}

// The bytes are part of the contract with other readers.
func TestWriteSafetensorsGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	must(t, WriteSafetensors(path, nil, []Tensor{
		{Info{"b", F32, []int64{1}}, []byte("4567")}, {Info{"mask", Bool, nil}, []byte{1}},
		{Info{"a", F32, []int64{1, 1}}, []byte("0123")},
	}))
	text, err := os.ReadFile(path)
	must(t, err)
	wantEqual(t, string(text), "\xc8\x00\x00\x00\x00\x00\x00\x00"+
		`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},`+
		`"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"mask":{"dtype":"BOOL","shape":[],`+
		`"data_offsets":[8,9]}}    `+
		"01234567\x01")
}

// A file that is mapped elsewhere is replaced, never written over.
func TestWriteSafetensorsReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	before, after := tensor("x", F32, 100), tensor("x", F32, 1)
	must(t, WriteSafetensors(path, nil, []Tensor{before}))
	w := open(t, path)
	must(t, WriteSafetensors(path, nil, []Tensor{after}))
	wantEqual(t, tensors(t, w)["x"], before)
	wantEqual(t, tensors(t, open(t, path))["x"], after)
}

func TestWriteErrors(t *testing.T) {
	a := tensor("a", F32, 2)
	for name, c := range map[string]struct {
		all  []Tensor
		want string
	}{
		"twice":         {[]Tensor{a, a}, "twice"},
		"reserved":      {[]Tensor{tensor("__metadata__", F32, 2)}, "does not allow"},
		"not UTF-8":     {[]Tensor{tensor("\xff", F32, 2)}, "does not allow"},
		"short data":    {[]Tensor{{a.Info, a.Data[1:]}}, "needs 8 bytes, but has 7"},
		"unknown dtype": {[]Tensor{{Info{"a", "F31", nil}, nil}}, "F31"},
		"too many":      {make([]Tensor, maxTensors+1), "more than the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			wantError(t, WriteSafetensors(filepath.Join(dir, "w"), nil, c.all), c.want)
			wantEqual(t, list(t, dir), []string(nil))
			w, err := NewWriter(dir, "w", 1<<30, infosOf(c.all))
			if err == nil {
				err = w.Write(c.all[0].Name, c.all[0].Data)
				w.Close()
			}
			wantError(t, err, c.want)
		})
	}
}

func TestWriter(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		all := anyTensors(r)
		limit := rapid.Int64Range(1, 400).Draw(r, "shard bytes")
		dir, err := os.MkdirTemp(root, "")
		must(t, err)
		w, err := NewWriter(dir, "model", limit, infosOf(all))
		must(t, err)
		for _, x := range rapid.Permutation(all).Draw(r, "order") {
			must(t, w.Write(x.Name, x.Data))
		}
		must(t, w.Close())

		opened := open(t, dir)
		defer opened.Close()
		wantEqual(t, tensors(t, opened), byName(all))
		checkShards(t, dir, limit)
	})
}

// checkShards checks that no file could have taken in the next one's first tensor.
func checkShards(t *testing.T, dir string, limit int64) {
	names := list(t, dir)
	if len(names) == 1 {
		wantEqual(t, names, []string{"model.safetensors"})
		return
	}
	for _, name := range names[:len(names)-1] {
		w := open(t, filepath.Join(dir, name))
		size := int64(0)
		for _, x := range tensors(t, w) {
			size += x.Bytes()
		}
		if size > limit && len(w.Names()) > 1 {
			t.Errorf("%s holds %d bytes, limit %d", name, size, limit)
		}
		w.Close()
	}
}

func TestWriterShards(t *testing.T) {
	dir := t.TempDir()
	all := []Tensor{tensor("a", F32, 2), tensor("b", F32, 9), tensor("c", BF16, 4), tensor("d", U8, 1),
		tensor("e", F32, 4)}
	w, err := NewWriter(dir, "model", 16, infosOf(all))
	must(t, err)
	for _, x := range all {
		must(t, w.Write(x.Name, x.Data))
	}
	must(t, w.Close())
	wantEqual(t, list(t, dir), []string{"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
		"model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors", "model.safetensors.index.json"})
	index, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	must(t, err)
	wantEqual(t, string(index), `{
  "metadata": {
    "total_size": 69
  },
  "weight_map": {
    "a": "model-00001-of-00004.safetensors",
    "b": "model-00002-of-00004.safetensors",
    "c": "model-00003-of-00004.safetensors",
    "d": "model-00003-of-00004.safetensors",
    "e": "model-00004-of-00004.safetensors"
  }
}
`)
}

// A first tensor that is larger than a shard has the first shard, which is not left empty before it.
func TestWriterBeginsWithALargeTensor(t *testing.T) {
	dir := t.TempDir()
	all := []Tensor{tensor("a", F32, 9), tensor("b", F32, 1)}
	w, err := NewWriter(dir, "model", 16, infosOf(all))
	must(t, err)
	for _, x := range all {
		must(t, w.Write(x.Name, x.Data))
	}
	must(t, w.Close())
	wantEqual(t, list(t, dir), []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
		"model.safetensors.index.json"})
}

func TestWriterMisuse(t *testing.T) {
	a, b := tensor("a", F32, 2), tensor("b", F32, 2)
	dir := t.TempDir()
	w, err := NewWriter(dir, "model", math.MaxInt64, infosOf([]Tensor{a, b}))
	must(t, err)
	must(t, w.Write("a", a.Data))
	wantError(t, w.Write("a", a.Data), `"a"`, "twice")
	wantError(t, w.Write("c", a.Data), `"c"`, "not one")
	wantError(t, w.Write("b", nil), `"b"`, "needs 8 bytes, but has 0")
	wantError(t, w.Close(), `"b"`, "not written")
	_, err = NewWriter(dir, "model", math.MaxInt64, infosOf([]Tensor{a}))
	wantError(t, err, "model.safetensors", "exists")
	_, err = NewWriter(t.TempDir(), "model", 1, infosOf([]Tensor{a, a}))
	wantError(t, err, `"a"`, "also in")
}

// list is the names in a folder.
func list(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
