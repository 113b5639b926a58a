package data

import "math/bits"

// permutation is a keyed bijection of 0..n-1, computed one index at a time, so that no list is stored: a balanced
// Feistel network (Luby and Rackoff, SIAM J. Comput. 1988) over an even number of bits large enough for n, applied
// repeatedly until the result is below n ("cycle walking", Black and Rogaway, CT-RSA 2002).
type permutation struct {
	n    uint64
	half uint // bits in each half of the network
	keys [feistelRounds]uint64
}

const (
	// Four rounds make a pseudorandom permutation when the halves are large; small halves need more.
	feistelRounds = 8
	// A network of few bits reaches few of the possible permutations. Cycle walking from 256 values down to a small n
	// hides that.
	feistelMinHalf = 4
)

func newPermutation(n int, key uint64) permutation {
	half := max(feistelMinHalf, (bits.Len64(uint64(max(n-1, 0)))+1)/2)
	p := permutation{n: uint64(n), half: uint(half)}
	for round := range p.keys {
		p.keys[round] = deriveKey(key, uint64(round))
	}
	return p
}

// at returns the image of i, which must be in 0..n-1.
func (p *permutation) at(i int) int {
	x := p.encrypt(uint64(i))
	for x >= p.n { // terminates: the cycle through i returns to i < n
		x = p.encrypt(x)
	}
	return int(x)
}

func (p *permutation) encrypt(x uint64) uint64 {
	mask := uint64(1)<<p.half - 1
	left, right := x>>p.half, x&mask
	for _, key := range p.keys {
		left, right = right, left^(mix64(key^right)&mask)
	}
	return left<<p.half | right
}

// list is the whole permutation; it takes four bytes per entry.
func (p *permutation) list() []int32 {
	out := make([]int32, p.n)
	for i := range out {
		out[i] = int32(p.at(i))
	}
	return out
}

// deriveKey makes an independent key for each (seed, words...).
func deriveKey(seed uint64, words ...uint64) uint64 {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / golden ratio, SplitMix64's increment
	key := mix64(seed + golden)
	for _, word := range words {
		key = mix64(key ^ mix64(word+golden) + golden)
	}
	return key
}

// mix64 is the output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, in Vigna's published variant).
func mix64(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
