package picture

import "fmt"

// A progressive image is stored as scans over the same coefficients, T.81 annex G: each adds a band of them (spectral
// selection) or another low bit of a band (successive approximation).

// prepareProgressive checks the band and its bits.
func (s *jpegScan) prepareProgressive() error {
	switch {
	case s.start == 0 && s.end != 0, s.start > s.end, s.end > 63, s.start > 0 && len(s.components) > 1,
		s.high != 0 && s.low != s.high-1, s.low > 13:
		return fmt.Errorf("scan of coefficients %d to %d, bits %d to %d, in %d components, is not valid",
			s.start, s.end, s.high, s.low, len(s.components))
	}
	for _, c := range s.components {
		for k := s.start; k <= s.end; k++ {
			c.missing[k] = int8(s.low)
		}
	}
	return nil
}

func (d *jpegDecoder) refine(s *jpegScan, c *scanComponent, b *jpegBlock) {
	switch {
	case s.start == 0 && s.high == 0:
		c.prediction += d.signed(d.symbol(c.dc))
		b[0] = int16(c.prediction << s.low)
	case s.start == 0:
		b[0] |= int16(d.take(1) << s.low)
	case s.high == 0:
		d.firstBits(s, c, b)
	default:
		d.nextBit(s, c, b)
	}
}

// firstBits decodes a band for the first time, T.81 G.1.2.2.
func (d *jpegDecoder) firstBits(s *jpegScan, c *scanComponent, b *jpegBlock) {
	if s.endOfBand > 0 {
		s.endOfBand--
		return
	}
	for k := s.start; k <= s.end; k++ {
		symbol := d.symbol(c.ac)
		run, size := symbol>>4, symbol&15
		switch {
		case size > 0:
			k += run
			b[zigzag[k]] = int16(d.signed(size) << s.low)
		case run == 15:
			k += 15
		default:
			s.endOfBand = 1<<run + int(d.take(run)) - 1
			return
		}
	}
}

// nextBit decodes another bit of a band, T.81 G.1.2.3: a correction of each nonzero coefficient, and between them the
// positions of new ones.
func (d *jpegDecoder) nextBit(s *jpegScan, c *scanComponent, b *jpegBlock) {
	k := s.start
	for ; s.endOfBand == 0 && k <= s.end; k++ {
		symbol := d.symbol(c.ac)
		run, size := symbol>>4, symbol&15
		var value int16
		switch {
		case size > 0:
			value = int16(2*d.take(1)-1) << s.low
		case run < 15:
			s.endOfBand = 1<<run + int(d.take(run))
			run = 64 // the rest of the band has nothing new
		}
		k = d.correct(s, b, k, run)
		if value != 0 {
			b[zigzag[k]] = value
		}
	}
	if s.endOfBand > 0 {
		d.correct(s, b, k, 64)
		s.endOfBand--
	}
}

// correct reads a bit for each nonzero coefficient from k on, skips run zeros, and returns the index of the next zero.
func (d *jpegDecoder) correct(s *jpegScan, b *jpegBlock, k, run int) int {
	for ; k <= s.end; k++ {
		coefficient := &b[zigzag[k]]
		switch {
		case *coefficient == 0 && run == 0:
			return k
		case *coefficient == 0:
			run--
		case d.take(1) == 0 || *coefficient&(1<<s.low) != 0:
		case *coefficient > 0:
			*coefficient += 1 << s.low
		default:
			*coefficient -= 1 << s.low
		}
	}
	return k
}

// finish transforms the coefficients of a progressive image and releases them. libjpeg fills in missing scans by
// smoothing; such an image is refused here as truncated.
func (d *jpegDecoder) finish(c *jpegComponent) error {
	if c.quantization == nil {
		return fmt.Errorf("component %d has no scan: the image is incomplete", c.id)
	}
	if !d.progressive {
		return nil
	}
	for k, bits := range c.missing[:10] {
		if bits < 0 || bits > 0 && k > 0 {
			return fmt.Errorf("component %d lacks scans: the image is incomplete", c.id)
		}
	}
	c.pix = make([]uint8, c.samples)
	for y := range ceilDiv(c.height, 8) {
		for x := range ceilDiv(c.width, 8) {
			b := &c.coefficients[y*c.stride/8+x]
			var places uint8
			for k, factor := range c.quantization {
				if place := zigzag[k]; b[place] != 0 {
					b[place] *= int16(factor)
					places |= place
				}
			}
			c.transform(b, places < 8, x, y)
		}
	}
	c.coefficients = nil
	return nil
}
