package checkpoints

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// WriteSafetensors writes tensors to a file, through a temporary file beside it, flushed to the disk. The same tensors
// and metadata give the same bytes in any order. {"format": "pt"} is added to metadata; Python's loaders refuse a file
// without it.
func WriteSafetensors(path string, metadata map[string]string, tensors []Tensor) error {
	infos, byName := make([]Info, len(tensors)), map[string]Tensor{}
	for i, t := range tensors {
		infos[i], byName[t.Name] = t.Info, t
	}
	header, entries, err := layout(metadata, infos)
	if err != nil {
		return fmt.Errorf("file %q: %w", path, err)
	}
	for _, e := range entries {
		if err := e.checkData(byName[e.Name].Data); err != nil {
			return fmt.Errorf("file %q: %w", path, err)
		}
	}
	return replaceFile(path, func(w io.Writer) error {
		_, err := w.Write(header)
		for i := 0; i < len(entries) && err == nil; i++ {
			_, err = w.Write(byName[entries[i].Name].Data)
		}
		return err
	})
}

// layout places tensors in a safetensors file, as the reference writer does: wider types first, so that each tensor is
// at a multiple of its element size (PyTorch's loader needs this), then by name. It returns all bytes before the data.
func layout(metadata map[string]string, infos []Info) (header []byte, entries []entry, err error) {
	if len(infos) > maxTensors {
		return nil, nil, fmt.Errorf("%d tensors, more than the limit of %d", len(infos), maxTensors)
	}
	for _, info := range infos {
		if err := info.check(); err != nil {
			return nil, nil, err
		}
		if info.Name == "__metadata__" || !utf8.ValidString(info.Name) {
			return nil, nil, fmt.Errorf("tensor %q: safetensors does not allow that name", info.Name)
		}
		entries = append(entries, entry{Info: info})
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.Dtype.Size(), a.Dtype.Size()), cmp.Compare(a.Name, b.Name))
	})
	at, seen := int64(0), map[string]bool{}
	for i := range entries {
		e := &entries[i]
		if seen[e.Name] {
			return nil, nil, fmt.Errorf("tensor %q appears twice", e.Name)
		}
		seen[e.Name] = true
		e.begin, e.end = at, at+e.Bytes()
		at = e.end
	}
	return encodeHeader(metadata, entries), entries, nil
}

func encodeHeader(metadata map[string]string, entries []entry) []byte {
	metadata = maps.Clone(metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata["format"] = "pt"
	text := bytes.NewBuffer(make([]byte, 8))
	fmt.Fprintf(text, `{"__metadata__":%s`, encodeJSON(metadata))
	for _, e := range entries {
		shape := append([]int64{}, e.Shape...) // [] rather than null for a scalar
		fmt.Fprintf(text, `,%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, encodeJSON(e.Name), e.Dtype,
			encodeJSON(shape), e.begin, e.end)
	}
	text.WriteByte('}')
	for text.Len()%8 != 0 {
		text.WriteByte(' ')
	}
	header := text.Bytes()
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header
}

// encodeJSON encodes strings, integers, and maps and lists of them, which cannot fail.
func encodeJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

func (e entry) checkData(data []byte) error {
	if int64(len(data)) != e.Bytes() {
		return fmt.Errorf("tensor %q: %s %v needs %d bytes, but has %d", e.Name, e.Dtype, e.Shape, e.Bytes(), len(data))
	}
	return nil
}

// Writer writes tensors one by one, so that a model need not be in memory as a whole. All descriptions are given first;
// then each tensor's data, once, in any order; then Close. Not safe for concurrent use.
type Writer struct {
	dir, base string
	files     []*os.File
	todo      map[string]place // tensors whose data has not been written yet
	shardOf   map[string]string
	total     int64
}

// place is where a tensor's data is written.
type place struct {
	entry
	file   *os.File
	offset int64
}

// NewWriter creates the files in dir: base.safetensors or, if the data exceeds maxShardBytes,
// base-00001-of-0000N.safetensors and so on, with an index that Close writes. A shard exceeds maxShardBytes only if it
// is a single tensor. No file of these names may exist. Close must be called, also after an error.
func NewWriter(dir, base string, maxShardBytes int64, infos []Info) (*Writer, error) {
	w := &Writer{dir: dir, base: base, todo: map[string]place{}, shardOf: map[string]string{}}
	shards := split(infos, maxShardBytes)
	for i, shard := range shards {
		name := base + ".safetensors"
		if len(shards) > 1 {
			name = fmt.Sprintf("%s-%05d-of-%05d.safetensors", base, i+1, len(shards))
		}
		if err := w.begin(name, shard); err != nil {
			w.closeFiles()
			return nil, fmt.Errorf("file %q: %w", filepath.Join(dir, name), failure.Storage(err))
		}
	}
	return w, nil
}

// split distributes tensors over shards in the order of their names, so that a layer's tensors are mostly in the same
// shard.
func split(infos []Info, maxBytes int64) [][]Info {
	infos = slices.SortedFunc(slices.Values(infos), func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	shards, room := [][]Info{nil}, maxBytes
	for _, info := range infos {
		last := len(shards) - 1
		if info.Bytes() > room && len(shards[last]) > 0 {
			shards, room, last = append(shards, nil), maxBytes, last+1
		}
		shards[last] = append(shards[last], info)
		room -= info.Bytes()
	}
	return shards
}

// begin creates a file and writes its header.
func (w *Writer) begin(name string, infos []Info) error {
	header, entries, err := layout(nil, infos)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w.files = append(w.files, f)
	for _, e := range entries {
		if other, twice := w.shardOf[e.Name]; twice {
			return fmt.Errorf("tensor %q is also in %q", e.Name, other)
		}
		w.todo[e.Name] = place{e, f, int64(len(header)) + e.begin}
		w.shardOf[e.Name] = name
		w.total += e.Bytes()
	}
	_, err = f.Write(header)
	return err
}

// Write writes the data of one tensor.
func (w *Writer) Write(name string, data []byte) error {
	p, ok := w.todo[name]
	if _, known := w.shardOf[name]; known && !ok {
		return fmt.Errorf("tensor %q: written twice", name)
	}
	if !ok {
		return fmt.Errorf("tensor %q: not one that the writer was created for", name)
	}
	if err := p.checkData(data); err != nil {
		return err
	}
	if _, err := p.file.WriteAt(data, p.offset); err != nil {
		return fmt.Errorf("tensor %q: %w", name, failure.Storage(err))
	}
	delete(w.todo, name)
	return nil
}

// Close flushes the files to the disk and writes the index. It is an error if a tensor was not written.
func (w *Writer) Close() error {
	if len(w.todo) > 0 {
		w.closeFiles()
		return fmt.Errorf("tensors %.200q were not written (%d)", slices.Sorted(maps.Keys(w.todo)), len(w.todo))
	}
	for _, f := range w.files {
		if err := flush(f); err != nil {
			w.closeFiles()
			return failure.Storage(err)
		}
	}
	if err := w.closeFiles(); err != nil {
		return failure.Storage(err)
	}
	if len(w.files) == 1 {
		return failure.Storage(flushPath(w.dir))
	}
	return replaceFile(filepath.Join(w.dir, w.base+".safetensors.index.json"), func(out io.Writer) error {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{"metadata": map[string]int64{"total_size": w.total},
			"weight_map": w.shardOf})
	})
}

func (w *Writer) closeFiles() (err error) {
	for _, f := range w.files {
		err = errors.Join(err, f.Close())
	}
	return err
}
