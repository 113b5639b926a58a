package phrase

// tableBits is the size of the table of weights: 2^tableBits rows. The row of a feature is its hash, so unrelated
// features may share one. On held-out sentences this costs nothing: 2^14 to 2^20 rows give the same within 0.1 %.
const tableBits = 16

// outside stands for the word or tag before and after the sentence.
const outside = ^uint64(0)

// traits are the parts of a token that features are made of, each as a hash.
type traits struct{ word, tag, second, margin, end2, end3 uint64 }

func traitsOf(t token) traits {
	return traits{
		word: hash(hashStart, t.word), tag: uint64(t.tag), second: uint64(t.second),
		margin: uint64(min(t.margin/2000, 4)), // sure, in five steps
		end2:   hash(hashStart, suffix(t.word, 2)), end3: hash(hashStart, suffix(t.word, 3)),
	}
}

// features are the rows that score each token: what it is, what stands around it, and how sure the tagger was.
func features(tokens []token) [][]uint32 {
	all := make([]traits, len(tokens)+4) // two before, two after
	for i := range all {
		all[i] = traits{outside, outside, outside, outside, outside, outside}
	}
	for i, t := range tokens {
		all[i+2] = traitsOf(t)
	}
	rows := make([][]uint32, len(tokens))
	flat := make([]uint32, 0, len(tokens)*perToken)
	for i := range tokens {
		start := len(flat)
		flat = appendFeatures(flat, all[i], all[i+1], all[i+2], all[i+3], all[i+4])
		rows[i] = flat[start:len(flat):len(flat)]
	}
	return rows
}

// perToken is the number of features of a token.
const perToken = 26

// appendFeatures appends the rows of the token t, with the traits of the two tokens before and after it.
func appendFeatures(to []uint32, b2, b1, t, a1, a2 traits) []uint32 {
	for i, parts := range [perToken][3]uint64{
		{},
		{t.word}, {t.tag}, {t.end2}, {t.end3}, {t.tag, t.second}, {t.tag, t.margin},
		{b1.word}, {b1.tag}, {b1.end3}, {b2.tag},
		{a1.word}, {a1.tag}, {a1.end3}, {a2.tag},
		{b1.tag, t.tag}, {t.tag, a1.tag}, {b1.tag, t.tag, a1.tag}, {b2.tag, b1.tag, t.tag}, {t.tag, a1.tag, a2.tag},
		{t.word, t.tag}, {t.word, b1.tag}, {t.word, a1.tag}, {t.tag, a1.word}, {t.tag, b1.word},
		{a1.tag, a1.second},
	} {
		h := uint64(i)
		for _, part := range parts {
			h = mix(h ^ part)
		}
		to = append(to, uint32(h>>(64-tableBits)))
	}
	return to
}

// mix spreads each bit of x over all: the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
// number generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
