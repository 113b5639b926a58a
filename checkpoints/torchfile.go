package checkpoints

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/nlpodyssey/gopickle/types"
)

// readTorch finds the tensors of a file that torch.save wrote: an uncompressed zip archive with a pickle
// PREFIX/data.pkl of the state dict and one record PREFIX/data/KEY for each storage. The tensors are views of the
// records.
func readTorch(file []byte) ([]view, error) {
	archive, err := openArchive(file)
	if err != nil {
		return nil, fmt.Errorf("torch file: %w", err)
	}
	if order, err := archive.record("byteorder"); err == nil && string(order) != "little" {
		return nil, fmt.Errorf("torch file: byte order %.20q; only little is supported", order)
	}
	program, err := archive.record("data.pkl")
	if err != nil {
		return nil, fmt.Errorf("torch file: %w", err)
	}
	root, err := unpickle(program, archive)
	if err != nil {
		return nil, fmt.Errorf("torch file: pickle: %w", err)
	}
	views, err := stateDict(root)
	if err != nil {
		return nil, fmt.Errorf("torch file: %w", err)
	}
	return views, nil
}

// archive maps the names of a torch file's records, without the prefix (the stem of the name it was first saved as), to
// the records.
type archive struct {
	file    []byte
	records map[string]*zip.File
}

func openArchive(file []byte) (*archive, error) {
	reader, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	a := &archive{file, map[string]*zip.File{}}
	for _, record := range reader.File {
		_, name, _ := strings.Cut(record.Name, "/")
		if _, twice := a.records[name]; twice {
			return nil, fmt.Errorf("record %q appears twice", name)
		}
		a.records[name] = record
	}
	return a, nil
}

// record returns the bytes of a record in the file, without a copy.
func (a *archive) record(name string) ([]byte, error) {
	r, ok := a.records[name]
	if !ok {
		return nil, fmt.Errorf("record %q is missing", name)
	}
	if r.Method != zip.Store {
		return nil, fmt.Errorf("record %q is compressed, which torch.save never does", name)
	}
	begin, err := r.DataOffset()
	if err != nil {
		return nil, fmt.Errorf("record %q: %w", name, err)
	}
	size := int64(len(a.file))
	if begin > size || r.UncompressedSize64 > uint64(size-begin) || r.CompressedSize64 != r.UncompressedSize64 {
		return nil, fmt.Errorf("record %q: %d bytes at byte %d extend past the end of the file",
			name, r.UncompressedSize64, begin)
	}
	return a.file[begin:][:r.UncompressedSize64], nil
}

// storage is a run of elements that tensors view; several may share one.
type storage struct {
	dtype Dtype
	data  []byte
}

// load resolves the pickle's persistent ids, ("storage", class, key, device, number of elements).
func (a *archive) load(id any) (any, error) {
	t, ok := id.(*types.Tuple)
	if !ok || t.Len() != 5 || t.Get(0) != "storage" {
		return nil, errors.New("a persistent id is not a storage")
	}
	class, ok := t.Get(1).(storageClass)
	key, isText := t.Get(2).(string)
	n, err := integer(t.Get(4))
	if !ok || !isText || err != nil {
		return nil, errors.New("a persistent id is not (storage, class, key, device, elements)")
	}
	data, err := a.record("data/" + key)
	if err != nil {
		return nil, err
	}
	if size := int64(Dtype(class).Size()); n > math.MaxInt64/size || n*size != int64(len(data)) {
		return nil, fmt.Errorf("storage %q: %d elements of %s, but its record has %d bytes",
			key, n, Dtype(class), len(data))
	}
	return &storage{Dtype(class), data}, nil
}

// rebuildTensor is torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]).
type rebuildTensor struct{}

func (rebuildTensor) Call(args ...any) (any, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("_rebuild_tensor_v2 has %d arguments", len(args))
	}
	s, ok := args[0].(*storage)
	if !ok {
		return nil, errors.New("_rebuild_tensor_v2 has no storage")
	}
	offset, err1 := integer(args[1])
	shape, err2 := integers(args[2])
	strides, err3 := integers(args[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("_rebuild_tensor_v2: %w", err)
	}
	return s.view(offset, shape, strides)
}

// rebuildParameter is torch._utils._rebuild_parameter(tensor, requires_grad, hooks).
type rebuildParameter struct{}

func (rebuildParameter) Call(args ...any) (any, error) {
	if len(args) == 0 {
		return nil, errors.New("_rebuild_parameter has no arguments")
	}
	return args[0], nil
}

// view checks that every element of a tensor is in its storage.
func (s *storage) view(offset int64, shape, strides []int64) (*view, error) {
	info := Info{Dtype: s.dtype, Shape: shape}
	if err := info.check(); err != nil {
		return nil, err
	}
	if len(strides) != len(shape) {
		return nil, fmt.Errorf("shape %v does not match strides %v", shape, strides)
	}
	size, held := int64(s.dtype.Size()), int64(len(s.data)/s.dtype.Size())
	n := info.Elements()
	if n == 0 {
		return &view{Info: info}, nil
	}
	last := offset // the tensor's last element; all others are between offset and it
	for i, extent := range shape {
		if strides[i] > 0 && extent-1 > (held-1-last)/strides[i] {
			last = held
			break
		}
		last += (extent - 1) * strides[i]
	}
	if last >= held {
		return nil, fmt.Errorf("shape %v, strides %v, offset %d extend past a storage of %d elements",
			shape, strides, offset, held)
	}
	if n > held { // only possible if the view repeats elements; its copy could have any size
		return nil, fmt.Errorf("shape %v repeats a storage of %d elements", shape, held)
	}
	v := &view{Info: info, data: s.data[offset*size : (last+1)*size], strides: strides}
	if rowMajor(shape, strides) {
		v.strides = nil
	}
	return v, nil
}

// rowMajor reports whether elements follow each other without gaps; the stride of a dimension of size one is ignored.
func rowMajor(shape, strides []int64) bool {
	want := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != 1 && strides[i] != want {
			return false
		}
		want *= shape[i]
	}
	return true
}

// contiguous returns the values in row-major order: the file's own bytes if they are already in that order, else a
// copy.
func (v view) contiguous() []byte {
	if v.parts != nil {
		return bytes.Join(v.parts, nil)
	}
	if v.strides == nil {
		return v.data
	}
	size := int64(v.Dtype.Size())
	out := make([]byte, 0, v.Bytes())
	index := make([]int64, len(v.Shape))
	for at, dim := int64(0), 0; dim >= 0; {
		out = append(out, v.data[at*size:][:size]...)
		for dim = len(index) - 1; dim >= 0; dim-- { // increment index like an odometer
			index[dim]++
			at += v.strides[dim]
			if index[dim] < v.Shape[dim] {
				break
			}
			at -= index[dim] * v.strides[dim]
			index[dim] = 0
		}
	}
	return out
}

// stateDict takes the tensors out of the pickle's result, which must be a flat dict from names to tensors.
func stateDict(root any) ([]view, error) {
	var views []view
	add := func(key, value any) error {
		name, ok := key.(string)
		if !ok {
			return fmt.Errorf("state dict: a key is not a string: %.80q", fmt.Sprint(key))
		}
		v, ok := value.(*view)
		if !ok {
			return fmt.Errorf("state dict: %q is not a tensor; only flat dicts of tensors are supported, "+
				"not whole training states", name)
		}
		named := *v
		named.Name = name
		views = append(views, named)
		return nil
	}
	switch dict := root.(type) {
	case *types.Dict:
		for _, e := range *dict {
			if err := add(e.Key, e.Value); err != nil {
				return nil, err
			}
		}
	case *types.OrderedDict:
		for e := dict.List.Front(); e != nil; e = e.Next() {
			pair := e.Value.(*types.OrderedDictEntry)
			if err := add(pair.Key, pair.Value); err != nil {
				return nil, err
			}
		}
	default:
		return nil, errors.New("contains no state dict (a dict from names to tensors)")
	}
	return views, nil
}

func integers(value any) ([]int64, error) {
	t, ok := value.(*types.Tuple)
	if !ok {
		return nil, errors.New("a shape is not a tuple")
	}
	list := make([]int64, t.Len())
	for i := range list {
		var err error
		if list[i], err = integer(t.Get(i)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// integer reads a count. The machine returns *big.Int above 8 bytes of pickle, which is a count only if it still fits.
func integer(value any) (int64, error) {
	switch n := value.(type) {
	case int:
		if n >= 0 {
			return int64(n), nil
		}
	case *big.Int:
		if n.Sign() >= 0 && n.IsInt64() {
			return n.Int64(), nil
		}
	}
	return 0, fmt.Errorf("%.40q is not an integer from 0 to 2⁶³-1", fmt.Sprint(value))
}
