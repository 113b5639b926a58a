package tiff

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"math/bits"

	"golang.org/x/image/tiff/lzw"
)

// Values of the tag Compression.
const (
	uncompressed   = 1
	faxRLE         = 2
	faxGroup3      = 3
	faxGroup4      = 4
	lzwCompression = 5
	jpegInTIFF     = 7
	deflate        = 8
	faxRLEWords    = 32771
	packBits       = 32773
	deflateOld     = 32946
)

// refusedCompressions are those that are known and not supported.
var refusedCompressions = map[int]string{
	6: "old JPEG (6)", 9: "JBIG", 10: "JBIG", 32766: "NeXT", 32809: "ThunderScan", 34661: "JBIG", 34676: "SGI Log",
	34677: "SGI Log", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP",
	50002: "JPEG XL",
}

func checkCompression(compression int) error {
	switch compression {
	case uncompressed, faxRLE, faxGroup3, faxGroup4, lzwCompression, jpegInTIFF, deflate, faxRLEWords, packBits,
		deflateOld:
		return nil
	}
	name := refusedCompressions[compression]
	if name == "" {
		name = fmt.Sprintf("its compression (%d)", compression)
	} else {
		name += " compression"
	}
	return fmt.Errorf("%s is not supported; save it as PNG", name)
}

// rowReader gives the rows of a strip or tile, from the top. A row that cannot be filled is an error. finish says what
// is damaged behind the rows.
type rowReader interface {
	row(dst []byte) error
	finish() error
}

// openPlane returns the reader of a strip or tile that holds one of several planes.
func (m *Image) openPlane(number, rows, planes int, jpeg JPEG) (rowReader, error) {
	stored, err := m.stored(number)
	if err != nil {
		return nil, err
	}
	if m.reversed && m.compression != jpegInTIFF {
		needed := len(stored)
		if m.compression == uncompressed {
			needed = min(needed, rows*m.rowBytes(planes))
		}
		stored = reverseBits(stored[:needed])
	}
	switch m.compression {
	case lzwCompression:
		return m.predicted(lzw.NewReader(bytes.NewReader(stored), lzw.MSB, 8), planes), nil
	case deflate, deflateOld:
		inflated, err := zlib.NewReader(bytes.NewReader(stored))
		if err != nil {
			return nil, err
		}
		return m.predicted(inflated, planes), nil
	case packBits:
		return streamReader{&packBitsReader{data: stored}}, nil
	case faxRLE, faxGroup3, faxGroup4, faxRLEWords:
		return m.openFax(stored), nil
	case jpegInTIFF:
		return m.openJPEG(stored, rows, jpeg)
	}
	return streamReader{bytes.NewReader(stored)}, nil
}

// predicted reads rows from a stream, and undoes its prediction.
func (m *Image) predicted(r io.Reader, planes int) rowReader {
	if m.predictor == noPrediction {
		return streamReader{r}
	}
	return &predictionReader{rowReader: streamReader{r}, order: m.order, bits: m.bits, samples: m.samples / planes,
		floating: m.predictor == floatPrediction}
}

func reverseBits(data []byte) []byte {
	reversed := make([]byte, len(data))
	for i, b := range data {
		reversed[i] = bits.Reverse8(b)
	}
	return reversed
}

// streamReader reads rows that follow each other.
type streamReader struct{ io.Reader }

func (r streamReader) row(dst []byte) error {
	_, err := io.ReadFull(r.Reader, dst)
	return err
}

// finish finds a wrong checksum. That a stream does not end is not an error.
func (r streamReader) finish() error {
	_, err := r.Reader.Read(make([]byte, 1))
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// packBitsReader undoes PackBits, TIFF 6.0, section 9: a count, and then as many bytes, or one byte to repeat.
type packBitsReader struct {
	data   []byte
	left   int  // of the current run
	repeat bool // the run is one byte
}

func (r *packBitsReader) Read(dst []byte) (n int, err error) {
	for n < len(dst) {
		for r.left == 0 {
			if len(r.data) == 0 {
				return n, io.ErrUnexpectedEOF
			}
			switch count := int8(r.data[0]); {
			case count >= 0:
				r.left, r.repeat = int(count)+1, false
			case count != -128:
				r.left, r.repeat = 1-int(count), true
			}
			r.data = r.data[1:]
		}
		if len(r.data) == 0 {
			return n, io.ErrUnexpectedEOF
		}
		dst[n] = r.data[0]
		n++
		if r.left--; !r.repeat || r.left == 0 {
			r.data = r.data[1:]
		}
	}
	return n, nil
}

// openJPEG decodes a whole strip or tile. Tables that all of them share are in a tag, as a JPEG stream without an image
// (Adobe's TIFF technical note 2); they belong after the start of the stream.
func (m *Image) openJPEG(stored []byte, rows int, jpeg JPEG) (rowReader, error) {
	if len(stored) < 2 {
		return nil, io.ErrUnexpectedEOF
	}
	stream := stored
	if tables := m.jpegTables; len(tables) > 4 {
		stream = append(append([]byte(nil), tables[:len(tables)-2]...), stored[2:]...)
	}
	pix, err := jpeg(stream, m.chunkWidth, rows, m.largestChunk(), m.photometric == photometricYCbCr)
	if err != nil {
		return nil, err
	}
	return streamReader{bytes.NewReader(pix)}, nil
}

// planeReader interleaves the samples of several planes.
type planeReader struct {
	readers []rowReader
	rows    [][]byte
	bytes   int // of a sample
}

func (r *planeReader) row(dst []byte) error {
	for p, reader := range r.readers {
		if err := reader.row(r.rows[p]); err != nil {
			return err
		}
		step, at := len(r.readers)*r.bytes, p*r.bytes
		for i, b := range r.rows[p] {
			dst[i/r.bytes*step+at+i%r.bytes] = b
		}
	}
	return nil
}

func (r *planeReader) finish() error {
	for _, reader := range r.readers {
		if err := reader.finish(); err != nil {
			return err
		}
	}
	return nil
}
