package picture

// The inverse cosine transform is the one of libjpeg's jidctint.c ("islow"): the factorisation of Loeffler, Ligtenberg
// and Moschytz (Practical fast 1-D DCT algorithms with 11 multiplications, ICASSP 1989) in integers, columns first.
// Where it rounds decides the last bit of every sample. Values that only damaged images reach wrap or saturate at 16
// bits as in libjpeg-turbo's vector code for x86 (jidctint-sse2.asm, jidctint-avx2.asm).
const (
	cosineBits = 13 // fractional bits of the factors
	columnBits = 2  // fractional bits kept between columns and rows
)

// Sums and differences of √2·cos(kπ/16), times 2^13.
const (
	factor0298 = 2446
	factor0390 = 3196
	factor0541 = 4433
	factor0765 = 6270
	factor0899 = 7373
	factor1175 = 9633
	factor1501 = 12299
	factor1847 = 15137
	factor1961 = 16069
	factor2053 = 16819
	factor2562 = 20995
	factor3072 = 25172
)

// transform writes the samples of a block to the plane, at x and y in blocks. In a flat block, only the first row is
// nonzero.
func (c *jpegComponent) transform(b *jpegBlock, flat bool, x, y int) {
	out := c.pix[8*(y*c.stride+x):]
	var columns jpegBlock
	if flat {
		for i, v := range b[:8] {
			columns[i] = v << columnBits
		}
		transformRow(out, columns[:8])
		for row := 1; row < 8; row++ {
			copy(out[row*c.stride:][:8], out[:8])
		}
		return
	}
	for i := range 8 {
		transformColumn(columns[i:], b[i:])
	}
	for row := range 8 {
		transformRow(out[row*c.stride:], columns[8*row:])
	}
}

func transformColumn(to, from []int16) {
	to, from = to[:57], from[:57]
	c0, c1, c2, c3 := int32(from[0]), int32(from[8]), int32(from[16]), int32(from[24])
	c4, c5, c6, c7 := int32(from[32]), int32(from[40]), int32(from[48]), int32(from[56])
	if c1|c2|c3|c4|c5|c6|c7 == 0 {
		v := saturate16(c0 << columnBits)
		to[0], to[8], to[16], to[24], to[32], to[40], to[48], to[56] = v, v, v, v, v, v, v, v
		return
	}
	const shift = cosineBits - columnBits
	s0, s1, s2, s3, s4, s5, s6, s7 := cosines(c0, c1, c2, c3, c4, c5, c6, c7, 1<<(shift-1))
	to[0], to[8] = saturate16(s0>>shift), saturate16(s1>>shift)
	to[16], to[24] = saturate16(s2>>shift), saturate16(s3>>shift)
	to[32], to[40] = saturate16(s4>>shift), saturate16(s5>>shift)
	to[48], to[56] = saturate16(s6>>shift), saturate16(s7>>shift)
}

// transformRow also shifts samples from being centred on 0 to being centred on 128.
func transformRow(to []uint8, from []int16) {
	to, from = to[:8], from[:8]
	c0, c1, c2, c3 := int32(from[0]), int32(from[1]), int32(from[2]), int32(from[3])
	c4, c5, c6, c7 := int32(from[4]), int32(from[5]), int32(from[6]), int32(from[7])
	const shift = cosineBits + columnBits + 3
	s0, s1, s2, s3, s4, s5, s6, s7 := cosines(c0, c1, c2, c3, c4, c5, c6, c7, 1<<(shift-1))
	to[0], to[1] = clamp8(s0>>shift+128), clamp8(s1>>shift+128)
	to[2], to[3] = clamp8(s2>>shift+128), clamp8(s3>>shift+128)
	to[4], to[5] = clamp8(s4>>shift+128), clamp8(s5>>shift+128)
	to[6], to[7] = clamp8(s6>>shift+128), clamp8(s7>>shift+128)
}

// cosines is the transform of one line, times 2^13, with bias added to every value.
func cosines(c0, c1, c2, c3, c4, c5, c6, c7, bias int32) (s0, s1, s2, s3, s4, s5, s6, s7 int32) {
	turn := (c2 + c6) * factor0541
	low, high := turn+c2*factor0765, turn-c6*factor1847
	sum, difference := int32(int16(c0+c4))<<cosineBits+bias, int32(int16(c0-c4))<<cosineBits+bias
	even0, even1, even2, even3 := sum+low, difference+high, difference-high, sum-low

	sum73, sum51 := int32(int16(c7+c3)), int32(int16(c5+c1))
	mid := (sum73 + sum51) * factor1175
	side73, side51 := mid-sum73*factor1961, mid-sum51*factor0390
	outer, inner := (c7+c1)*factor0899, (c5+c3)*factor2562
	odd0 := c1*factor1501 - outer + side51
	odd1 := c3*factor3072 - inner + side73
	odd2 := c5*factor2053 - inner + side51
	odd3 := c7*factor0298 - outer + side73
	return even0 + odd0, even1 + odd1, even2 + odd2, even3 + odd3, even3 - odd3, even2 - odd2, even1 - odd1,
		even0 - odd0
}

func saturate16(v int32) int16 {
	if int32(int16(v)) != v {
		return int16(v>>31 ^ 0x7fff)
	}
	return int16(v)
}
