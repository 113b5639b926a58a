package checkpoints

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Weights are the named tensors of one file, or of a folder of shards. The files are mapped, not read: opening reads
// only their headers, a tensor only the pages that are accessed. Safe for concurrent use, except Close.
//
// A page of a mapped file that cannot be read, because the disk fails or the file was truncated, ends the process: Load
// reads the pages of a tensor before they are used, and failure.ReadMapped is for code that reads only some. Nothing in
// this package truncates or overwrites a weight file in place.
type Weights struct {
	path     string
	views    map[string]view
	metadata map[string]string
	mappings [][]byte
}

// inFolder lists what Open looks for in a folder; the first that exists is used.
var inFolder = []struct {
	name string
	open func(w *Weights, path string) error
}{
	{"model.safetensors.index.json", (*Weights).addIndex},
	{"model.safetensors", (*Weights).addFile},
	{"pytorch_model.bin.index.json", (*Weights).addIndex},
	{"pytorch_model.bin", (*Weights).addFile},
	{"mm_projector.safetensors", (*Weights).addFile},
	{"mm_projector.bin", (*Weights).addFile},
}

// Open maps the weights at path: a safetensors file, a file that torch.save wrote (PyTorch 1.6 or newer), or a folder
// with such files under the names that Hugging Face and LLaVA use, as shards with an index or as one file.
func Open(path string) (_ *Weights, err error) {
	defer failure.MarkInput(&err)
	w := &Weights{path: path, views: map[string]view{}, metadata: map[string]string{}}
	if err := failure.ReadMapped(func() error { return w.add(path) }); err != nil {
		w.Close()
		return nil, fmt.Errorf("weights: %w", err)
	}
	return w, nil
}

func (w *Weights) add(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return w.addFolder(path)
	case strings.HasSuffix(path, slicesEnd):
		return w.addSlices(path)
	}
	return w.addFile(path)
}

func (w *Weights) addFolder(dir string) error {
	names := make([]string, len(inFolder))
	for i, candidate := range inFolder {
		names[i] = candidate.name
		path := filepath.Join(dir, candidate.name)
		if _, err := os.Stat(path); err == nil {
			return candidate.open(w, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("folder %q contains none of %s", dir, strings.Join(names, ", "))
}

func (w *Weights) addFile(path string) error {
	views, metadata, err := w.read(path)
	if err != nil {
		return err
	}
	for _, v := range views {
		w.views[v.Name] = v
	}
	maps.Copy(w.metadata, metadata)
	return nil
}

// addIndex opens the shards of an index and takes the tensors of each that the index assigns to it.
func (w *Weights) addIndex(path string) error {
	file, err := w.mapFile(path)
	if err != nil {
		return err
	}
	shardOf, err := readIndex(file)
	if err != nil {
		return fmt.Errorf("index %q: %w", path, err)
	}
	for _, shard := range slices.Compact(slices.Sorted(maps.Values(shardOf))) {
		views, metadata, err := w.readShard(path, shard)
		if err != nil {
			return fmt.Errorf("index %q: %w", path, err)
		}
		for _, v := range views {
			if shardOf[v.Name] == shard {
				w.views[v.Name] = v
			}
		}
		maps.Copy(w.metadata, metadata)
	}
	for _, name := range slices.Sorted(maps.Keys(shardOf)) {
		if _, ok := w.views[name]; !ok {
			return fmt.Errorf("index %q: tensor %q is not in its shard %q", path, name, shardOf[name])
		}
	}
	return nil
}

// readShard reads a file that an index refers to.
func (w *Weights) readShard(index, shard string) ([]view, map[string]string, error) {
	path := filepath.Join(filepath.Dir(index), shard)
	file, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("%w; download it again, or copy it to the index's folder", err)
	case err != nil:
		return nil, nil, fmt.Errorf("file %q: %w", path, err)
	case !mayName(index, file):
		return nil, nil, fmt.Errorf("file %q is a link out of the folder, to %q; replace it with the file itself",
			path, file)
	}
	return w.read(path)
}

// mayName reports whether an index may refer to a file, after resolving all links: the index and any links that came
// with it are untrusted. The file must be in the index's folder or, if the index is a link, as are all files of a hub
// cache's snapshot, in the folder that this link leads to. huggingface_hub before 0.23 put links to the cache's blobs
// beside an index that was not a link.
func mayName(index, file string) bool {
	folder, err := filepath.EvalSymlinks(filepath.Dir(index))
	target, targetErr := filepath.EvalSymlinks(index)
	if err != nil || targetErr != nil {
		return false
	}
	for _, dir := range []string{folder, filepath.Dir(target)} {
		if rest, err := filepath.Rel(dir, file); err == nil && filepath.IsLocal(rest) {
			return true
		}
	}
	blobs := filepath.Dir(file)
	return filepath.Base(blobs) == "blobs" && strings.HasPrefix(filepath.Base(filepath.Dir(blobs)), "models--")
}

// readIndex reads the weight_map of an index: tensor name -> file name, which must be the plain name of a file beside
// the index.
func readIndex(text []byte) (shardOf map[string]string, err error) {
	if len(text) > maxHeader {
		return nil, fmt.Errorf("%d bytes, more than the limit of %d", len(text), maxHeader)
	}
	err = readJSON(text, func(r jsonReader, key string) (err error) {
		if key != "weight_map" {
			return r.skip()
		}
		shardOf, err = r.texts()
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(shardOf) == 0 || len(shardOf) > maxTensors {
		return nil, fmt.Errorf("weight_map has %d tensors, must have 1 to %d", len(shardOf), maxTensors)
	}
	for name, file := range shardOf {
		if file == "" || file == "." || file == ".." || strings.ContainsAny(file, "/\\\x00") {
			return nil, fmt.Errorf("tensor %q: file %q is not the plain name of a file in this folder; "+
				"put the file here and use its name in the index", name, file)
		}
	}
	return shardOf, nil
}

// read maps a file and reads it as the type that its first bytes indicate.
func (w *Weights) read(path string) (views []view, metadata map[string]string, err error) {
	file, err := w.mapFile(path)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(file, []byte("PK\x03\x04")):
		views, err = readTorch(file)
	case len(file) > 8 && file[0] == 0x80 && file[8] != '{': // a bare pickle: opcode PROTO
		err = errors.New("written by PyTorch before 1.6, or not weights at all; " +
			"load it with a newer PyTorch and save it again")
	case bytes.HasPrefix(file, []byte("version https://git-lfs")):
		err = errors.New("a Git LFS pointer, not the file itself; download it with `git lfs pull`")
	default:
		views, metadata, err = readSafetensors(file)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("file %q: %w", path, err)
	}
	return views, metadata, nil
}

// mapFile maps a file for reading until Close. An empty file has no mapping.
func (w *Weights) mapFile(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil { // before opening: opening a pipe would wait for its writer
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("file %q: %v is not a regular file", path, info.Mode())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	mapping, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, &fs.PathError{Op: "mmap", Path: path, Err: err}
	}
	w.mappings = append(w.mappings, mapping)
	return mapping, fault("read", path)
}

// Names lists the tensors, sorted.
func (w *Weights) Names() []string { return slices.Sorted(maps.Keys(w.views)) }

// Info describes the tensor of the given name, if there is one.
func (w *Weights) Info(name string) (Info, bool) {
	v, ok := w.views[name]
	return v.Info, ok
}

// Tensor returns a tensor's values. They are in the mapped file, except if a torch file has them in another order; then
// they are copied.
func (w *Weights) Tensor(name string) (t Tensor, err error) {
	v, ok := w.views[name]
	if !ok {
		return t, failure.Inputf("weights %q: no tensor %q", w.path, name)
	}
	err = failure.ReadMapped(func() error {
		t = Tensor{v.Info, v.contiguous()}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("weights %q: tensor %q: %w", w.path, name, err)
	}
	return t, err
}

// Load is Tensor with all values read from the disk, so that a disk failure is an error here. C code cannot report it
// in any other way.
func (w *Weights) Load(name string) (Tensor, error) {
	t, err := w.Tensor(name)
	if err != nil {
		return t, err
	}
	if err = failure.ReadPages(t.Data); err != nil {
		err = fmt.Errorf("weights %q: tensor %q: %w", w.path, name, err)
	}
	return t, err
}

// Release frees the memory of a tensor's pages that have been read; they are read from the file again when accessed.
// This keeps a pass over a large model from making all of it resident.
func (w *Weights) Release(name string) {
	data := w.views[name].data
	if len(data) == 0 {
		return
	}
	page := uintptr(os.Getpagesize())
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(data))) % page // to the first whole page
	if uintptr(len(data)) < skip+page {
		return
	}
	whole := (uintptr(len(data)) - skip) / page * page
	unix.Madvise(data[skip:][:whole], unix.MADV_DONTNEED) // only a hint
}

// Metadata is the free-form text of safetensors headers, of all shards together.
func (w *Weights) Metadata() map[string]string { return maps.Clone(w.metadata) }

// Close unmaps the files. Tensor data in them must not be used after this.
func (w *Weights) Close() error {
	var errs []error
	for _, mapping := range w.mappings {
		errs = append(errs, unix.Munmap(mapping))
	}
	w.views, w.mappings = nil, nil
	return errors.Join(errs...)
}
