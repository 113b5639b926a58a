package picture

import "image"

// Most photos store colour at half the resolution of brightness. Go's decoders repeat each colour sample; libjpeg
// (jdsample.c, "fancy" upsampling) and libwebp, and so Pillow, interpolate. At coloured edges this makes a difference
// of dozens of levels.

// webpRGB converts as libwebp does: dsp/upsampling.c, dsp/yuv.h. VP8's values have limited range (16 to 235), JPEG's
// full range.
func webpRGB(img image.Image) (*RGB, error) {
	switch m := img.(type) {
	case *image.YCbCr:
		return vp8RGB(m), nil
	case *image.NYCbCrA:
		return vp8RGB(&m.YCbCr), nil
	}
	return plainRGB(img)
}

func vp8RGB(m *image.YCbCr) *RGB {
	out := newRGB(m.Rect.Dx(), m.Rect.Dy())
	width, height := ceilDiv(out.W, 2), ceilDiv(out.H, 2) // VP8 is always 4:2:0
	us := libwebp.plane(m.Cb, m.CStride, width, height, 2, 2)
	vs := libwebp.plane(m.Cr, m.CStride, width, height, 2, 2)
	for y := range out.H {
		vp8Row(out.Pix[3*y*out.W:][:3*out.W], m.Y[y*m.YStride:][:out.W], us.row(y), vs.row(y))
	}
	return out
}

// chroma describes how two interpolating libraries differ, and makes upsamplers for the planes of an image.
type chroma struct {
	oddBias  int32 // added at odd columns of 4:2:0 before the division by 16; 8 rounds to nearest, libjpeg takes 7
	minWidth int   // in narrower planes, columns are repeated, not interpolated
}

var (
	libjpeg = chroma{oddBias: 7, minWidth: 3}
	libwebp = chroma{oddBias: 8}
)

// plane upsamples one colour plane, a row at a time. Sample centres lie between pixel centres, so every pixel takes 3/4
// of the nearer sample and 1/4 of the next one, in each direction that is subsampled by two. Other ratios repeat
// samples.
type plane struct {
	pix           []uint8
	stride        int
	width, height int // samples that belong to the image; a JPEG stores more, which libjpeg ignores
	byX, byY      int
	smooth        bool
	oddBias       int32
	sums          []int32
	out           []uint8
}

// plane makes the upsampler of a plane; byX and byY are the factors for its width and height.
func (c chroma) plane(pix []uint8, stride, width, height, byX, byY int) *plane {
	return &plane{
		pix: pix, stride: stride, width: width, height: height, byX: byX, byY: byY, oddBias: c.oddBias,
		smooth: byX == 1 || byX == 2 && width >= c.minWidth,
		sums:   make([]int32, width), out: make([]uint8, width*byX),
	}
}

// row returns row y of the upsampled plane; it is valid until the next call.
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

// stored returns a row of samples; beyond the edge, the first or last row.
func (p *plane) stored(y int) []uint8 {
	return p.pix[min(max(y, 0), p.height-1)*p.stride:][:p.width]
}

// both interpolates in both directions, with weights of 9, 3, 3 and 1 sixteenths.
func (p *plane) both(near, far []uint8) {
	sums := p.sums
	near, far = near[:len(sums)], far[:len(sums)]
	for x := range sums {
		sums[x] = 3*int32(near[x]) + int32(far[x])
	}
	before, sum := sums[0], sums[0]
	last := len(sums) - 1
	for x, after := range sums[1:] {
		out := p.out[2*x : 2*x+2 : 2*x+2]
		out[0] = uint8((3*sum + before + 8) >> 4)
		out[1] = uint8((3*sum + after + p.oddBias) >> 4)
		before, sum = sum, after
	}
	p.out[2*last] = uint8((3*sum + before + 8) >> 4)
	p.out[2*last+1] = uint8((4*sum + p.oddBias) >> 4)
}

// horizontal is for 4:2:2. It rounds one way in even columns and the other way in odd ones.
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

// vp8Row: R = 1.164 (Y−16) + 1.596 (V−128) and so on, factors times 2^14, each product truncated to 6 fractional
// bits.
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

func clamp8(v int32) uint8 {
	if uint32(v) > 255 {
		return uint8(^v >> 31)
	}
	return uint8(v)
}
