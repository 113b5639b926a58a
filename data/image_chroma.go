package data

import "image"

// Most photos store colour at half the resolution of brightness. Go's decoders repeat each colour sample; libjpeg and libwebp, and
// so Pillow, interpolate. At coloured edges that is a difference of dozens of levels.

// jpegRGB converts as libjpeg-turbo does by default: jdsample.c ("fancy" upsampling), jdcolor.c (JFIF's equations in 16-bit fixed point).
// Pictures of four inks whose colour is both transformed and subsampled come from Go's decoder already merged, with samples repeated.
func jpegRGB(img image.Image) (*RGB, error) {
	m, ok := img.(*image.YCbCr)
	if !ok {
		return plainRGB(img)
	}
	return ycbcrRGB(m, libjpeg, jfifRow), nil
}

// webpRGB converts as libwebp does: dsp/upsampling.c, dsp/yuv.h. VP8's values have limited range (16 to 235), JPEG's full range.
func webpRGB(img image.Image) (*RGB, error) {
	switch m := img.(type) {
	case *image.YCbCr:
		return ycbcrRGB(m, libwebp, vp8Row), nil
	case *image.NYCbCrA:
		return ycbcrRGB(&m.YCbCr, libwebp, vp8Row), nil
	}
	return plainRGB(img)
}

func ycbcrRGB(m *image.YCbCr, as chroma, convert func(dst, y, cb, cr []uint8)) *RGB {
	out := newRGB(m.Rect.Dx(), m.Rect.Dy())
	cb, cr := as.plane(m, m.Cb), as.plane(m, m.Cr)
	for y := range out.H {
		convert(out.Pix[3*y*out.W:][:3*out.W], m.Y[y*m.YStride:][:out.W], cb.row(y), cr.row(y))
	}
	return out
}

// subsampling is by how much width and height of the colour planes are divided.
var subsampling = map[image.YCbCrSubsampleRatio]struct{ x, y int }{
	image.YCbCrSubsampleRatio444: {1, 1},
	image.YCbCrSubsampleRatio422: {2, 1},
	image.YCbCrSubsampleRatio420: {2, 2},
	image.YCbCrSubsampleRatio440: {1, 2},
	image.YCbCrSubsampleRatio411: {4, 1},
	image.YCbCrSubsampleRatio410: {4, 2},
}

// chroma says where two libraries that interpolate alike differ, and makes upsamplers for the planes of a picture.
type chroma struct {
	oddBias  int // added at odd columns of 4:2:0 before the division by 16; 8 rounds to nearest, libjpeg takes 7
	minWidth int // narrower planes are repeated, not interpolated across
}

var (
	libjpeg = chroma{oddBias: 7, minWidth: 3}
	libwebp = chroma{oddBias: 8}
)

// plane upsamples one colour plane, a row at a time. Sample centres lie between pixel centres, so every pixel takes 3/4 of the
// nearer sample and 1/4 of the next one, in each direction that is subsampled by two. Other ratios repeat samples.
type plane struct {
	pix           []uint8
	stride        int
	width, height int // samples that belong to the picture; a JPEG stores more, which libjpeg ignores
	byX, byY      int
	smooth        bool
	oddBias       int
	sums          []int
	out           []uint8
}

func (c chroma) plane(m *image.YCbCr, pix []uint8) *plane {
	by := subsampling[m.SubsampleRatio]
	p := &plane{pix: pix, stride: m.CStride, byX: by.x, byY: by.y, oddBias: c.oddBias}
	p.width, p.height = (m.Rect.Dx()+by.x-1)/by.x, (m.Rect.Dy()+by.y-1)/by.y
	p.smooth = by.x == 1 || by.x == 2 && p.width >= c.minWidth
	p.sums = make([]int, p.width)
	p.out = make([]uint8, p.width*by.x)
	return p
}

// row returns row y of the picture; it is valid until the next call.
func (p *plane) row(y int) []uint8 {
	near := p.stored(y / p.byY)
	switch {
	case p.byX == 1 && p.byY == 1:
		return near
	case p.smooth && p.byY == 2:
		far := p.stored(y/2 - 1 + y%2*2)
		if p.byX == 2 {
			p.both(near, far)
		} else {
			p.vertical(near, far, 1+y%2)
		}
	case p.smooth && p.byY == 1:
		p.horizontal(near)
	default:
		for x := range p.out {
			p.out[x] = near[x/p.byX]
		}
	}
	return p.out
}

// stored returns a row of samples, the first or last one for rows beyond the edge.
func (p *plane) stored(y int) []uint8 {
	return p.pix[min(max(y, 0), p.height-1)*p.stride:][:p.width]
}

// both interpolates in both directions: 9, 3, 3 and 1 sixteenths.
func (p *plane) both(near, far []uint8) {
	sums := p.sums
	for x := range sums {
		sums[x] = 3*int(near[x]) + int(far[x])
	}
	before := sums[0]
	for x, sum := range sums {
		after := sums[min(x+1, len(sums)-1)]
		p.out[2*x] = uint8((3*sum + before + 8) >> 4)
		p.out[2*x+1] = uint8((3*sum + after + p.oddBias) >> 4)
		before = sum
	}
}

// horizontal is for 4:2:2. Rounding leans one way at even columns and the other way at odd ones.
func (p *plane) horizontal(near []uint8) {
	before := int(near[0])
	for x, v := range near {
		sample, after := int(v), int(near[min(x+1, len(near)-1)])
		p.out[2*x] = uint8((3*sample + before + 1) >> 2)
		p.out[2*x+1] = uint8((3*sample + after + 2) >> 2)
		before = sample
	}
}

// vertical is for 4:4:0; bias is 1 in even rows, 2 in odd ones.
func (p *plane) vertical(near, far []uint8, bias int) {
	for x := range p.out {
		p.out[x] = uint8((3*int(near[x]) + int(far[x]) + bias) >> 2)
	}
}

// jfifRow: R = Y + 1.402 Cr, G = Y − 0.34414 Cb − 0.71414 Cr, B = Y + 1.772 Cb, factors times 2^16.
func jfifRow(dst, ys, cbs, crs []uint8) {
	const half = 1 << 15
	cbs, crs = cbs[:len(ys)], crs[:len(ys)]
	for x, v := range ys {
		y, cb, cr := int32(v), int32(cbs[x])-128, int32(crs[x])-128
		d := dst[3*x : 3*x+3 : 3*x+3]
		d[0] = clamp8(y + (91881*cr+half)>>16)
		d[1] = clamp8(y + (-22554*cb-46802*cr+half)>>16)
		d[2] = clamp8(y + (116130*cb+half)>>16)
	}
}

// vp8Row: R = 1.164 (Y−16) + 1.596 (V−128) and so on, factors times 2^14, products cut to 6 fractional bits one by one.
func vp8Row(dst, ys, us, vs []uint8) {
	us, vs = us[:len(ys)], vs[:len(ys)]
	for x := range ys {
		y, u, v := int32(ys[x])*19077>>8, int32(us[x]), int32(vs[x])
		d := dst[3*x : 3*x+3 : 3*x+3]
		d[0] = clamp8((y + v*26149>>8 - 14234) >> 6)
		d[1] = clamp8((y - u*6419>>8 - v*13320>>8 + 8708) >> 6)
		d[2] = clamp8((y + u*33050>>8 - 17685) >> 6)
	}
}

func clamp8(v int32) uint8 { return uint8(min(max(v, 0), 255)) }
