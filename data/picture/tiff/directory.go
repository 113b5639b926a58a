package tiff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Tags that are read, TIFF 6.0, appendix A.
const (
	tagWidth           = 256
	tagHeight          = 257
	tagBits            = 258
	tagCompression     = 259
	tagPhotometric     = 262
	tagFillOrder       = 266
	tagStripOffsets    = 273
	tagOrientation     = 274
	tagSamples         = 277
	tagRowsPerStrip    = 278
	tagStripByteCounts = 279
	tagPlanar          = 284
	tagT4Options       = 292
	tagPredictor       = 317
	tagColorMap        = 320
	tagTileWidth       = 322
	tagTileLength      = 323
	tagTileOffsets     = 324
	tagTileByteCounts  = 325
	tagExtraSamples    = 338
	tagSampleFormat    = 339
	tagJPEGTables      = 347
	tagYCbCrFactors    = 529
	tagSubsampling     = 530
	tagReferences      = 532
	tagXMP             = 700
)

// typeBytes are the sizes of a tag's values by their type; 13 is an offset, and 16 to 18 are BigTIFF's.
var typeBytes = [...]uint64{1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8,
	17: 8, 18: 8}

const (
	typeByte           = 1
	typeText           = 2
	typeRational       = 5
	typeUndefined      = 7
	typeSignedRational = 10
	typeFloat          = 11
	typeDouble         = 12
)

// entry is a tag: its values in the file's byte order.
type entry struct {
	kind int
	data []byte
}

// directory is the first directory of a file.
type directory struct {
	order   binary.ByteOrder
	entries map[int]entry
}

// layoutOf are the sizes in a directory: of its count of entries, of one entry, and of fields for counts and offsets.
type layoutOf struct{ count, entry, field int }

// readDirectory reads the directory that the file's header points to (TIFF 6.0, section 2), or that of a BigTIFF, whose
// fields are wider. The values of a tag may lie outside of what there is of the file; such a tag is left out.
func readDirectory(file []byte) (directory, error) {
	if len(file) < 16 {
		return directory{}, io.ErrUnexpectedEOF
	}
	if start := string(file[:2]); start != "II" && start != "MM" {
		return directory{}, errors.New("it names no byte order")
	}
	d := directory{order: binary.LittleEndian, entries: map[int]entry{}}
	if file[0] == 'M' {
		d.order = binary.BigEndian
	}
	sizes, offset := layoutOf{2, 12, 4}, uint64(d.order.Uint32(file[4:]))
	if d.order.Uint16(file[2:]) == 43 {
		sizes, offset = layoutOf{8, 20, 8}, d.order.Uint64(file[8:])
	}
	if offset < 8 || offset > uint64(len(file)) || len(file)-int(offset) < sizes.count {
		return d, io.ErrUnexpectedEOF
	}
	at := file[offset:]
	count, at := d.uint(at[:sizes.count]), at[sizes.count:]
	if count == 0 || count > 4096 {
		return d, fmt.Errorf("its directory of %d entries is damaged", count)
	}
	if uint64(len(at)) < count*uint64(sizes.entry) {
		return d, io.ErrUnexpectedEOF
	}
	for range count {
		d.add(file, at[:sizes.entry], sizes)
		at = at[sizes.entry:]
	}
	return d, nil
}

// add adds a tag. Of several entries with one tag the first counts.
func (d directory) add(file, raw []byte, sizes layoutOf) {
	tag, kind := int(d.order.Uint16(raw)), int(d.order.Uint16(raw[2:]))
	if _, ok := d.entries[tag]; ok || kind >= len(typeBytes) || typeBytes[kind] == 0 {
		return
	}
	count, value := d.uint(raw[4:4+sizes.field]), raw[4+sizes.field:]
	if count > uint64(len(file)) {
		return
	}
	size := count * typeBytes[kind]
	if size > uint64(sizes.field) {
		offset := d.uint(value)
		if offset > uint64(len(file)) || size > uint64(len(file))-offset {
			return
		}
		value = file[offset:]
	}
	d.entries[tag] = entry{kind, value[:size]}
}

// uint is an unsigned number of 2, 4 or 8 bytes, or one.
func (d directory) uint(raw []byte) uint64 {
	switch len(raw) {
	case 1:
		return uint64(raw[0])
	case 2:
		return uint64(d.order.Uint16(raw))
	case 4:
		return uint64(d.order.Uint32(raw))
	}
	return d.order.Uint64(raw)
}

// numbers are the values of a tag that holds whole numbers, nil if it is missing.
func (d directory) numbers(tag int) []uint64 {
	e := d.entries[tag]
	switch e.kind {
	case 0, typeText, typeRational, typeSignedRational, typeFloat, typeDouble:
		return nil
	}
	size := int(typeBytes[e.kind])
	values := make([]uint64, 0, len(e.data)/size)
	for data := e.data; len(data) >= size; data = data[size:] {
		values = append(values, d.uint(data[:size]))
	}
	return values
}

// number is the first value of a tag, or what holds if it is missing.
func (d directory) number(tag, missing int) int {
	values := d.numbers(tag)
	if len(values) == 0 {
		return missing
	}
	return int(min(values[0], math.MaxInt32))
}

// fractions are the values of a tag of fractions or floating point numbers, nil unless there are n.
func (d directory) fractions(tag, n int) []float32 {
	e := d.entries[tag]
	var values []float32
	for data := e.data; len(data) >= 4; {
		switch e.kind {
		case typeRational:
			values = append(values, float32(float64(d.order.Uint32(data))/float64(d.order.Uint32(data[4:]))))
			data = data[8:]
		case typeFloat:
			values = append(values, math.Float32frombits(d.order.Uint32(data)))
			data = data[4:]
		case typeDouble:
			values = append(values, float32(math.Float64frombits(d.order.Uint64(data))))
			data = data[8:]
		default:
			for _, v := range d.numbers(tag) {
				values = append(values, float32(v))
			}
			data = nil
		}
	}
	if len(values) != n {
		return nil
	}
	return values
}

// size is the width or height.
func (d directory) size(tag int) (int, error) {
	if value := d.number(tag, 0); value > 0 {
		return value, nil
	}
	return 0, errors.New("its header does not give its size")
}

// Orientation is tag 274 of a file that may have no image, such as EXIF data; ok says whether it has the tag. Pillow
// does not understand bytes there; the value is then 0.
func Orientation(file []byte) (value int, ok bool) {
	d, err := readDirectory(file)
	if err != nil {
		return 0, false
	}
	e, ok := d.entries[tagOrientation]
	if e.kind == typeByte || e.kind == typeUndefined {
		return 0, ok
	}
	return d.number(tagOrientation, 0), ok
}
