package picture

import (
	"fmt"
	"io"
	"slices"
)

// jpegScan is one pass over blocks of one component, or of several interleaved ones.
type jpegScan struct {
	components []scanComponent
	start, end int  // the band of coefficients, in zigzag order
	high, low  uint // low bits that the coefficients lacked before and lack after it
	endOfBand  int  // remaining blocks whose band has nothing new
	exhausted  bool // a marker came too early; the rest up to the next restart is left unchanged
}

type scanComponent struct {
	*jpegComponent
	dc, ac               *huffmanTable
	unitAcross, unitDown int   // blocks in an MCU
	prediction           int32 // for the next block's mean
}

// scan reads a scan header, T.81 B.2.3, and the blocks after it.
func (d *jpegDecoder) scan(body []byte) error {
	if d.scans++; d.scans > maxScans {
		return fmt.Errorf("it has more than %d scans", maxScans)
	}
	if len(body) < 4 || body[0] < 1 || body[0] > 4 || len(body) != 4+2*int(body[0]) {
		return fmt.Errorf("scan header of %d bytes is damaged", len(body))
	}
	if d.components == nil {
		return fmt.Errorf("it has a scan before its frame header")
	}
	if err := d.useStandardTables(); err != nil {
		return err
	}
	s := new(jpegScan)
	selectors := body[1 : len(body)-3]
	for ; len(selectors) > 0; selectors = selectors[2:] {
		if err := d.scanComponent(s, selectors[0], selectors[1]>>4, selectors[1]&15); err != nil {
			return err
		}
	}
	band := body[len(body)-3:]
	s.start, s.end, s.high, s.low = int(band[0]), int(band[1]), uint(band[2]>>4), uint(band[2]&15)
	if err := d.prepare(s); err != nil {
		return err
	}
	return d.units(s)
}

// scanComponent adds the component id to a scan. Some files give all components the same id; these are taken in order
// (jdmarker.c).
func (d *jpegDecoder) scanComponent(s *jpegScan, id, dc, ac uint8) error {
	for _, c := range d.components {
		if c.id != id || slices.ContainsFunc(s.components, func(other scanComponent) bool {
			return other.jpegComponent == c
		}) {
			continue
		}
		if dc > 3 || ac > 3 {
			return fmt.Errorf("scan refers to Huffman tables %d and %d; there are 0 to 3", dc, ac)
		}
		s.components = append(s.components, scanComponent{jpegComponent: c, dc: d.huffman[0][dc], ac: d.huffman[1][ac]})
		return d.firstScan(c)
	}
	return fmt.Errorf("scan refers to component %d, which is not in the frame", id)
}

// firstScan keeps the component's quantization table, which may be replaced between scans, and allocates its memory.
func (d *jpegDecoder) firstScan(c *jpegComponent) error {
	switch {
	case c.quantization != nil && !d.progressive:
		return fmt.Errorf("component %d appears twice", c.id)
	case c.quantization != nil:
		return nil
	case c.table > 3 || d.quantization[c.table] == nil:
		return fmt.Errorf("quantization table %d is missing", c.table)
	}
	c.quantization = d.quantization[c.table]
	if d.progressive {
		c.coefficients = make([]jpegBlock, c.samples/64)
	} else {
		c.pix = make([]uint8, c.samples)
	}
	return nil
}

// prepare checks what the scan needs.
func (d *jpegDecoder) prepare(s *jpegScan) error {
	needDC, needAC := true, true
	if d.progressive {
		if err := s.prepareProgressive(); err != nil {
			return err
		}
		needDC, needAC = s.start == 0 && s.high == 0, s.start > 0
	}
	for _, c := range s.components {
		switch {
		case needDC && c.dc == nil || needAC && c.ac == nil:
			return fmt.Errorf("a Huffman table of component %d is missing", c.id)
		case needDC && slices.ContainsFunc(c.dc.symbols, func(length uint8) bool { return length > 15 }):
			return fmt.Errorf("the Huffman table of component %d is damaged", c.id)
		}
	}
	return nil
}

// layOutScan returns how many units (MCU, T.81 A.2) the scan has across and down. Blocks of several components are
// interleaved, and units at the edges contain blocks outside the image; the blocks of one component are stored row by
// row.
func (d *jpegDecoder) layOutScan(s *jpegScan) (across, down int, err error) {
	if len(s.components) == 1 {
		c := &s.components[0]
		c.unitAcross, c.unitDown = 1, 1
		return ceilDiv(c.width, 8), ceilDiv(c.height, 8), nil
	}
	blocks := 0
	for i := range s.components {
		c := &s.components[i]
		c.unitAcross, c.unitDown = c.across, c.down
		blocks += c.across * c.down
	}
	if blocks > maxBlocksPerMCU {
		return 0, 0, fmt.Errorf("scan interleaves %d blocks; the limit is %d", blocks, maxBlocksPerMCU)
	}
	return ceilDiv(d.width, 8*d.acrossMax), ceilDiv(d.height, 8*d.downMax), nil
}

// units decodes the coefficients of a scan.
func (d *jpegDecoder) units(s *jpegScan) error {
	across, down, err := d.layOutScan(s)
	if err != nil {
		return err
	}
	d.discard()
	left, next := d.interval, uint8(0)
	for i := range across * down {
		if d.interval > 0 && left == 0 {
			if err := d.restart(s, next); err != nil {
				return err
			}
			left, next = d.interval, (next+1)&7
		}
		left--
		d.unit(s, i%across, i/across)
		if d.count < 0 && d.marker == 0 {
			return io.ErrUnexpectedEOF
		}
		s.exhausted = s.exhausted || d.count < 0
	}
	return nil
}

func (d *jpegDecoder) unit(s *jpegScan, x, y int) {
	for i := range s.components {
		c := &s.components[i]
		for v := range c.unitDown {
			for h := range c.unitAcross {
				d.block(s, c, x*c.unitAcross+h, y*c.unitDown+v)
			}
		}
	}
}

func (d *jpegDecoder) block(s *jpegScan, c *scanComponent, x, y int) {
	if d.progressive {
		if !s.exhausted {
			d.refine(s, c, &c.coefficients[y*c.stride/8+x])
		}
		return
	}
	var b jpegBlock
	flat := s.exhausted || d.sequential(c, &b)
	c.transform(&b, flat, x, y)
}

// sequential decodes a whole block, T.81 F.2.2, and multiplies it by the quantization table. It reports whether only
// the first row of the block is nonzero. The reader's state is kept in registers.
func (d *jpegDecoder) sequential(c *scanComponent, b *jpegBlock) (flat bool) {
	c.prediction += d.signed(d.symbol(c.dc))
	b[0] = int16(c.prediction) * int16(c.quantization[0])
	var places uint8 // of all coefficients, combined with OR
	bits, count := d.bits, d.count
	for k := 1; k < 64; k++ {
		if count < 32 { // the longest code and the longest number after it
			d.bits, d.count = bits, count
			d.fill()
			bits, count = d.bits, d.count
		}
		symbol, length := c.ac.find(bits)
		bits <<= length & 63
		count -= length
		run, size := symbol>>4, symbol&15
		if size == 0 {
			if run != 15 {
				break
			}
			k += 15
			continue
		}
		k += run
		value := signedValue(bits, size)
		bits <<= size & 63
		count -= size
		place := zigzag[k]
		b[place] = int16(value) * int16(c.quantization[min(k, 63)])
		places |= place
	}
	d.bits, d.count = bits, count
	return places < 8
}

// restart looks for restart marker number next (0 to 7). If it finds another, it does what libjpeg does (jdmarker.c,
// jpeg_resync_to_restart): a recently passed number, or an invalid marker, is skipped; a number due soon, or the end of
// the scan, stays and leaves this interval without data; any other is treated as the expected one.
func (d *jpegDecoder) restart(s *jpegScan, next uint8) error {
	d.discard()
	for {
		marker, err := d.nextMarker()
		if err != nil {
			return err
		}
		ahead := (marker - markerRST0 - next) & 7
		switch {
		case marker < markerSOF0:
			continue
		case marker < markerRST0 || marker > markerRST7 || ahead == 1 || ahead == 2:
			d.marker = marker
		case ahead == 6 || ahead == 7:
			continue
		default:
			s.exhausted = false
		}
		break
	}
	for i := range s.components {
		s.components[i].prediction = 0
	}
	s.endOfBand = 0
	return nil
}
