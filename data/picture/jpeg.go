package picture

import (
	"encoding/binary"
	"fmt"
	"image"
	"io"
)

// The JPEG decoder produces the same bytes as libjpeg-turbo with its default settings, which Pillow uses; other
// decoders differ by some levels. ITU-T T.81 leaves the inverse transform, the interpolation of colour and the handling
// of damage to the decoder, so each file says which code it follows. The steps of decoding:
//
//  1. The markers are walked in file order; each segment sets tables or the frame (this file).
//  2. A scan reads its blocks of 8x8 coefficients from entropy-coded bits (jpeg_scan.go, jpeg_huffman.go). A sequential
//     block is complete and continues at once, a progressive one waits for the scans that refine it
//     (jpeg_progressive.go).
//  3. The inverse transform turns a block into samples of a component's plane (jpeg_idct.go).
//  4. Planes are upsampled to full size (chroma.go) and rows converted to RGB (jpeg_colour.go).
//
// Damage is handled as in libjpeg, which continues whenever it can, but a file must reach its end marker, and all scans
// must be present.

// Markers, T.81 table B.1.
const (
	markerTEM   = 0x01
	markerSOF0  = 0xc0
	markerSOF2  = 0xc2
	markerDHT   = 0xc4
	markerDAC   = 0xcc
	markerSOF15 = 0xcf
	markerRST0  = 0xd0
	markerRST7  = 0xd7
	markerEOI   = 0xd9
	markerSOS   = 0xda
	markerDQT   = 0xdb
	markerDNL   = 0xdc
	markerDRI   = 0xdd
	markerAPP0  = 0xe0
	markerAPP14 = 0xee
	markerAPP15 = 0xef
	markerCOM   = 0xfe
)

const (
	maxScans        = 200 // encoders write a dozen; each scan of a hostile file costs a pass over all coefficients
	maxBlocksPerMCU = 10  // T.81 B.2.3
)

// refusedFrames are unsupported coding processes, by the marker of their frame header.
var refusedFrames = map[byte]string{
	0xc3: "lossless", 0xc5: "differential", 0xc6: "differential", 0xc7: "differential", 0xc8: "an extension",
	0xc9: "arithmetic coding", 0xca: "arithmetic coding", 0xcb: "lossless", 0xcd: "differential", 0xce: "differential",
	0xcf: "lossless",
}

// zigzag maps the file's order of coefficients to their place in a block, row by row. A run that leads beyond the block
// ends in its last coefficient.
var zigzag = [64 + 16]uint8{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
	63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
}

// jpegBlock holds 8x8 coefficients, row by row.
type jpegBlock [64]int16

type jpegDecoder struct {
	entropyReader
	quantization [4]*[64]uint16 // in zigzag order
	huffman      [2][4]*huffmanTable
	interval     int // MCUs between restart markers, 0: none
	scans        int
	jfif, adobe  bool
	transform    uint8 // from Adobe's segment

	width, height      int
	progressive        bool
	components         []*jpegComponent
	acrossMax, downMax int // largest sampling factors
}

// jpegComponent is one of the planes that an image is stored in.
type jpegComponent struct {
	id, table     uint8
	across, down  int // sampling factors
	width, height int // samples that belong to the image
	quantization  *[64]uint16
	pix           []uint8 // in whole MCUs
	stride        int
	samples       int         // len(pix)
	coefficients  []jpegBlock // of a progressive image, stride/8 per row
	missing       [64]int8    // of a progressive image: low bits that each coefficient still lacks; -1: all
}

func decodeJPEG(file []byte) (*RGB, error) {
	d, err := decodeComponents(file)
	if err != nil {
		return nil, err
	}
	return &RGB{d.width, d.height, d.convert(3, d.conversion())}, nil
}

// decodeComponents decodes the planes of an image.
func decodeComponents(file []byte) (*jpegDecoder, error) {
	d, err := readJPEG(file, markerEOI)
	if err != nil {
		return nil, err
	}
	for _, c := range d.components {
		if err := d.finish(c); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// jpegHeader reads no further than the frame header.
func jpegHeader(file []byte) (image.Config, error) {
	d, err := readJPEG(file, markerSOF0)
	if err != nil {
		return image.Config{}, err
	}
	return image.Config{Width: d.width, Height: d.height}, nil
}

// readJPEG walks the markers up to the end of the image, or up to its frame header.
func readJPEG(file []byte, until byte) (*jpegDecoder, error) {
	d := &jpegDecoder{entropyReader: entropyReader{file: file, at: 2}}
	for {
		marker, err := d.nextMarker()
		switch {
		case err != nil:
			return nil, err
		case marker == markerEOI && d.scans == 0:
			return nil, fmt.Errorf("it ends without an image")
		case marker == markerEOI:
			return d, nil
		case marker == markerTEM || marker >= markerRST0 && marker <= markerRST7: // have no parameters
			continue
		}
		body, err := d.segment()
		if err != nil {
			return nil, err
		}
		if err := d.process(marker, body); err != nil {
			return nil, err
		}
		if until == markerSOF0 && d.components != nil {
			return d, nil
		}
	}
}

func (d *jpegDecoder) process(marker byte, body []byte) error {
	switch {
	case marker == markerDHT:
		return d.huffmanTables(body)
	case marker == markerDQT:
		return d.quantizationTables(body)
	case marker == markerSOS:
		return d.scan(body)
	case marker == markerDRI && len(body) == 2:
		d.interval = int(binary.BigEndian.Uint16(body))
	case marker == markerAPP0 && d.scans == 0:
		d.jfif = d.jfif || len(body) >= 14 && string(body[:5]) == "JFIF\x00"
	case marker == markerAPP14 && d.scans == 0:
		if len(body) >= 12 && string(body[:5]) == "Adobe" {
			d.adobe, d.transform = true, body[11]
		}
	case marker >= markerAPP0 && marker <= markerAPP15, marker == markerCOM, marker == markerDNL, marker == markerDAC:
	case marker >= markerSOF0 && marker <= markerSOF15:
		return d.frame(marker, body)
	default:
		return fmt.Errorf("marker %#x of %d bytes is not valid", marker, len(body))
	}
	return nil
}

// nextMarker skips bytes that belong to no segment, and fill bytes.
func (d *jpegDecoder) nextMarker() (byte, error) {
	for d.marker == 0 {
		for d.at < len(d.file) && d.file[d.at] != 0xff {
			d.at++
		}
		for d.at < len(d.file) && d.file[d.at] == 0xff {
			d.at++
		}
		if d.at >= len(d.file) {
			return 0, io.ErrUnexpectedEOF
		}
		d.marker = d.file[d.at] // 0 is the second half of a data byte 0xff
		d.at++
	}
	marker := d.marker
	d.marker = 0
	return marker, nil
}

// segment returns the parameters of a marker, which start with their length.
func (d *jpegDecoder) segment() ([]byte, error) {
	rest := d.file[d.at:]
	if len(rest) < 2 {
		return nil, io.ErrUnexpectedEOF
	}
	length := max(int(binary.BigEndian.Uint16(rest)), 2)
	if len(rest) < length {
		return nil, io.ErrUnexpectedEOF
	}
	d.at += length
	return rest[2:length], nil
}

func (d *jpegDecoder) quantizationTables(body []byte) error {
	for len(body) > 0 {
		wide, slot := int(min(body[0]>>4, 1)), body[0]&15
		if slot > 3 || len(body) < 1+64<<wide {
			return fmt.Errorf("quantization table %d is damaged", slot)
		}
		table := new([64]uint16)
		for k := range table {
			if wide == 1 {
				table[k] = binary.BigEndian.Uint16(body[1+2*k:])
			} else {
				table[k] = uint16(body[1+k])
			}
		}
		d.quantization[slot] = table
		body = body[1+64<<wide:]
	}
	return nil
}

func (d *jpegDecoder) huffmanTables(body []byte) error {
	for len(body) > 0 {
		if len(body) < 17 {
			return fmt.Errorf("a Huffman table is truncated")
		}
		class, slot, counts := body[0]>>4, body[0]&15, [16]uint8(body[1:17])
		total := 0
		for _, n := range counts {
			total += int(n)
		}
		if class > 1 || slot > 3 || total > 256 || total > len(body)-17 {
			return fmt.Errorf("the Huffman table %d of class %d with %d codes is damaged", slot, class, total)
		}
		table, err := newHuffmanTable(counts, body[17:17+total])
		if err != nil {
			return err
		}
		d.huffman[class][slot] = table
		body = body[17+total:]
	}
	return nil
}

// frame reads a frame header, T.81 B.2.2.
func (d *jpegDecoder) frame(marker byte, body []byte) error {
	if name, ok := refusedFrames[marker]; ok {
		return fmt.Errorf("its coding process (%s, marker %#x) is not supported; save it as baseline or progressive",
			name, marker)
	}
	switch {
	case d.components != nil:
		return fmt.Errorf("it has a second frame")
	case len(body) < 6 || len(body) != 6+3*int(body[5]):
		return fmt.Errorf("frame header of %d bytes is damaged", len(body))
	case body[0] != 8:
		return fmt.Errorf("%d bits per sample are not supported; save it with 8", body[0])
	case body[5] != 1 && body[5] != 3 && body[5] != 4:
		return fmt.Errorf("%d components are not supported; grey, colour and CMYK images have 1, 3 and 4", body[5])
	}
	d.progressive = marker == markerSOF2
	d.height, d.width = int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:]))
	if d.width == 0 || d.height == 0 {
		return fmt.Errorf("its header does not give its full size (%dx%d)", d.width, d.height)
	}
	for p := body[6:]; len(p) > 0; p = p[3:] {
		c := &jpegComponent{id: p[0], across: int(p[1] >> 4), down: int(p[1] & 15), table: p[2]}
		if c.across < 1 || c.across > 4 || c.down < 1 || c.down > 4 {
			return fmt.Errorf("sampling factors %dx%d must be from 1 to 4", c.across, c.down)
		}
		d.acrossMax, d.downMax = max(d.acrossMax, c.across), max(d.downMax, c.down)
		d.components = append(d.components, c)
	}
	return d.layOut()
}

// layOut computes the size of each component. Its memory is allocated at its first scan.
func (d *jpegDecoder) layOut() error {
	for _, c := range d.components {
		if d.acrossMax%c.across != 0 || d.downMax%c.down != 0 {
			return fmt.Errorf("sampling factors %dx%d do not divide %dx%d", c.across, c.down, d.acrossMax, d.downMax)
		}
		c.width = ceilDiv(d.width*c.across, d.acrossMax)
		c.height = ceilDiv(d.height*c.down, d.downMax)
		c.stride = ceilDiv(d.width, 8*d.acrossMax) * c.across * 8
		c.samples = c.stride * ceilDiv(d.height, 8*d.downMax) * c.down * 8
		for k := range c.missing {
			c.missing[k] = -1
		}
	}
	return nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
