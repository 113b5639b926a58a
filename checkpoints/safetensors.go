package checkpoints

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Limits of the reference parser (github.com/huggingface/safetensors, safetensors/src/tensor.rs), and one of our own.
const (
	maxHeader  = 100_000_000 // bytes of JSON
	maxTensors = 100_000
)

// view is a tensor in a mapped file. strides counts elements, and is nil if data is the tensor in row-major order.
type view struct {
	Info
	data    []byte
	strides []int64
	parts   [][]byte // of a tensor in slices, in place of data
}

// readSafetensors finds the tensors of a safetensors file: 8 bytes N, N bytes of JSON, then the data, which the tensors
// must cover from the first byte to the last without gaps or overlaps. It accepts and refuses what the reference parser
// does, and also refuses duplicate keys.
func readSafetensors(file []byte) ([]view, map[string]string, error) {
	if len(file) < 8 {
		return nil, nil, fmt.Errorf("safetensors: %d bytes are too few for a header", len(file))
	}
	length := binary.LittleEndian.Uint64(file)
	if length > maxHeader {
		return nil, nil, fmt.Errorf("safetensors: header of %d bytes, more than the limit of %d; "+
			"is this a safetensors file?", length, maxHeader)
	}
	if length > uint64(len(file)-8) {
		return nil, nil, fmt.Errorf("safetensors: header of %d bytes in a file of %d: the file is truncated; "+
			"download or copy it again", length, len(file))
	}
	entries, metadata, err := readHeader(file[8 : 8+length])
	if err != nil {
		return nil, nil, fmt.Errorf("safetensors header: %w", err)
	}
	views, err := lay(entries, file[8+length:])
	if err != nil {
		return nil, nil, fmt.Errorf("safetensors: %w", err)
	}
	return views, metadata, nil
}

// entry is one tensor of a header: its data is bytes begin to end after the header.
type entry struct {
	Info
	begin, end int64
}

func readHeader(text []byte) (entries []entry, metadata map[string]string, err error) {
	if len(text) == 0 || text[0] != '{' {
		return nil, nil, errors.New("does not start with a brace")
	}
	err = readJSON(text, func(r jsonReader, key string) (err error) {
		if key == "__metadata__" {
			metadata, err = r.texts()
			return err
		}
		if len(entries) == maxTensors {
			return fmt.Errorf("more than %d tensors", maxTensors)
		}
		e, err := readEntry(r, key)
		entries = append(entries, e)
		return err
	})
	return entries, metadata, err
}

func readEntry(r jsonReader, name string) (entry, error) {
	e := entry{Info: Info{Name: name}}
	var offsets []int64
	err := r.object(func(key string) (err error) {
		switch key {
		case "dtype":
			var dtype string
			dtype, err = r.text()
			e.Dtype = Dtype(dtype)
		case "shape":
			e.Shape, err = r.integers()
		case "data_offsets":
			offsets, err = r.integers()
		default:
			err = r.skip()
		}
		return err
	})
	if err != nil {
		return e, err
	}
	if e.Shape == nil || len(offsets) != 2 {
		return e, errors.New("needs dtype, shape and two data_offsets")
	}
	e.begin, e.end = offsets[0], offsets[1]
	return e, e.check()
}

// lay assigns each entry its bytes of data.
func lay(entries []entry, data []byte) ([]view, error) {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	views, at := make([]view, len(entries)), int64(0)
	for i, e := range entries {
		if e.begin != at {
			return nil, fmt.Errorf("tensor %q: starts at byte %d of the data, want %d: a gap or an overlap",
				e.Name, e.begin, at)
		}
		if e.end < e.begin || e.end-e.begin != e.Bytes() {
			return nil, fmt.Errorf("tensor %q: %s %v needs %d bytes, but its offsets are %d to %d",
				e.Name, e.Dtype, e.Shape, e.Bytes(), e.begin, e.end)
		}
		if e.end > int64(len(data)) {
			return nil, fmt.Errorf("tensor %q: ends at byte %d of %d bytes of data: the file is truncated; "+
				"download or copy it again", e.Name, e.end, len(data))
		}
		views[i] = view{Info: e.Info, data: data[e.begin:e.end:e.end]}
		at = e.end
	}
	if at != int64(len(data)) {
		return nil, fmt.Errorf("%d bytes of data, but the header describes %d", len(data), at)
	}
	return views, nil
}
