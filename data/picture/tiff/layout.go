package tiff

import (
	"errors"
	"fmt"
	"slices"
)

// Values of the tag PhotometricInterpretation.
const (
	photometricWhite   = 0 // grey, 0 is white
	photometricBlack   = 1 // grey, 0 is black
	photometricRGB     = 2
	photometricPalette = 3
	photometricCMYK    = 5
	photometricYCbCr   = 6
)

var photometrics = map[int]string{0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr",
	8: "CIE Lab", 9: "ICC Lab", 10: "ITU Lab", 32803: "raw sensor", 32844: "LogL", 32845: "LogLuv", 34892: "raw sensor"}

// Values of the tags SampleFormat and Predictor.
const (
	unsigned = 1
	signed   = 2
	floating = 3

	noPrediction    = 1
	differences     = 2
	floatPrediction = 3
)

// maxSamples is the most samples a pixel may have, as in Pillow.
const maxSamples = 6

// maxSide is the longest side of a tile, in pixels.
const maxSide = 1 << 20

// Parse reads what the first directory says. An error names what is damaged or not supported.
func Parse(file []byte) (*Image, error) {
	d, err := readDirectory(file)
	if err != nil {
		return nil, err
	}
	m := &Image{file: file, order: d.order}
	if m.Width, err = d.size(tagWidth); err != nil {
		return nil, err
	}
	if m.Height, err = d.size(tagHeight); err != nil {
		return nil, err
	}
	m.XMP = d.entries[tagXMP].data
	for _, step := range []func(directory) error{m.readCompression, m.readSamples, m.readPalette, m.readChunks,
		m.readConversion} {
		if err := step(d); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Image) readCompression(d directory) error {
	m.compression = d.number(tagCompression, uncompressed)
	m.photometric = d.number(tagPhotometric, photometricWhite)
	m.reversed = d.number(tagFillOrder, 1) == 2
	m.predictor = noPrediction
	switch m.compression {
	case lzwCompression, deflate, deflateOld: // the others ignore it
		m.predictor = d.number(tagPredictor, noPrediction)
	case faxGroup3:
		m.faxOptions = uint64(d.number(tagT4Options, 0))
	case jpegInTIFF:
		m.jpegTables = d.entries[tagJPEGTables].data
	}
	return checkCompression(m.compression)
}

// readSamples finds the number of samples and their bits as Pillow does: one number of bits counts for all samples,
// and samples of no meaning in planes behind the others are left out.
func (m *Image) readSamples(d directory) error {
	m.planes = d.number(tagPlanar, 1) == 2
	m.samples = d.number(tagSamples, 1)
	m.extra = d.numbers(tagExtraSamples)
	bits := d.numbers(tagBits)
	if len(bits) == 0 {
		bits = []uint64{1}
	}
	if m.samples < 1 || m.samples > maxSamples || len(bits) > 1 && len(bits) < m.samples {
		return fmt.Errorf("%d samples with %d numbers of bits are not supported; save it as PNG", m.samples, len(bits))
	}
	bits = bits[:min(len(bits), m.samples)]
	m.bits, m.format = int(min(bits[0], 1<<10)), unsigned
	formats := d.numbers(tagSampleFormat)
	if len(formats) > 0 {
		m.format = int(min(formats[0], 1<<10))
	}
	if slices.Max(bits) != slices.Min(bits) || len(formats) > 0 && slices.Max(formats) != slices.Min(formats) {
		return errors.New("samples of different kinds are not supported; save it as PNG")
	}
	if m.planes && len(m.extra) > 0 && slices.Max(m.extra) == 0 && len(m.extra) < m.samples {
		m.samples -= len(m.extra)
		m.extra = nil
	}
	if m.samples == 1 && m.compression != uncompressed {
		m.planes = false
	}
	return m.checkFax()
}

// readPalette takes the upper bytes of the palette's reds, greens and blues.
func (m *Image) readPalette(d directory) error {
	if m.photometric != photometricPalette {
		return nil
	}
	table := d.numbers(tagColorMap)
	n := min(len(table)/3, 256)
	if n == 0 {
		return errors.New("its palette is missing")
	}
	third := len(table) / 3
	for i := range n {
		m.colours = append(m.colours, [3]uint8{uint8(table[i] >> 8), uint8(table[third+i] >> 8),
			uint8(table[2*third+i] >> 8)})
	}
	return nil
}

// readChunks finds the strips or tiles (TIFF 6.0, sections 3 and 15).
func (m *Image) readChunks(d directory) error {
	m.offsets, m.counts = d.numbers(tagStripOffsets), d.numbers(tagStripByteCounts)
	m.chunkWidth, m.chunkHeight = m.Width, min(d.number(tagRowsPerStrip, m.Height), m.Height)
	if _, ok := d.entries[tagTileOffsets]; ok && len(m.offsets) == 0 {
		m.tiled = true
		m.offsets, m.counts = d.numbers(tagTileOffsets), d.numbers(tagTileByteCounts)
		m.chunkWidth, m.chunkHeight = d.number(tagTileWidth, 0), d.number(tagTileLength, 0)
	}
	if m.chunkWidth < 1 || m.chunkHeight < 1 || m.chunkWidth > maxSide {
		return fmt.Errorf("%ss of %dx%d pixels are not valid", m.chunkName(), m.chunkWidth, m.chunkHeight)
	}
	area := m.chunkWidth * m.chunkHeight
	if area > m.largestChunk() || area > (4*m.Width*m.Height+64<<20)/m.chunks() {
		return fmt.Errorf("tiles of %dx%d pixels are too large for an image of %dx%d", m.chunkWidth, m.chunkHeight,
			m.Width, m.Height)
	}
	if wants := m.chunks() * m.storedPlanes(); len(m.offsets) < wants {
		return fmt.Errorf("it has %d of %d %ss", len(m.offsets), wants, m.chunkName())
	}
	if m.compression == uncompressed && m.chunks() == 1 && !m.planes {
		m.offsets = m.offsets[len(m.offsets)-1:] // as in Pillow
	}
	return nil
}

// largestChunk bounds the pixels of a strip or tile, which may lead beyond the image: each costs memory, and all of
// them time.
func (m *Image) largestChunk() int { return 2*m.Width*m.Height + 4<<20 }

// readConversion chooses the converter. What has none is not supported.
func (m *Image) readConversion(d directory) error {
	m.across, m.down = 1, 1
	if err := m.checkPrediction(); err != nil {
		return err
	}
	if m.compression == jpegInTIFF && (m.bits != 8 || m.planes) {
		return fmt.Errorf("JPEG compression of %d bits or in planes is not supported; save it as PNG", m.bits)
	}
	if m.planes && m.samples > 1 {
		if m.bits != 8 && (m.bits != 16 || m.compression == uncompressed) || m.photometric == photometricYCbCr {
			return fmt.Errorf("planes of %d-bit %s are not supported; save it as PNG", m.bits, m.colourName())
		}
	}
	if m.convert = m.chooseConverter(); m.photometric == photometricYCbCr {
		return m.readYCbCr(d)
	}
	if m.convert == nil {
		return m.refusal()
	}
	return nil
}

func (m *Image) colourName() string {
	if name := photometrics[m.photometric]; name != "" {
		return name
	}
	return fmt.Sprintf("colour model %d", m.photometric)
}

// refusal says what an image without a converter holds.
func (m *Image) refusal() error {
	kind := map[int]string{signed: "signed ", floating: "floating point "}[m.format]
	extra := ""
	if len(m.extra) > 0 {
		extra = fmt.Sprintf(", extra samples %v", m.extra)
	}
	if m.reversed {
		extra += ", bits in reverse order"
	}
	return fmt.Errorf("%s of %d %ssamples of %d bits%s is not supported; save it as PNG", m.colourName(), m.samples,
		kind, m.bits, extra)
}

func (m *Image) checkPrediction() error {
	switch {
	case m.predictor == noPrediction,
		m.predictor == differences && (m.bits == 8 || m.bits == 16 || m.bits == 32),
		m.predictor == floatPrediction && m.bits == 32 && m.format == floating:
		return nil
	}
	return fmt.Errorf("predictor %d with %d bits is not supported; save it as PNG", m.predictor, m.bits)
}
