package shapes

import "math/bits"

// stream is a sequence of random numbers in which number n is a pure function of (key, n): SplitMix64 (Steele, Lea and
// Flood, "Fast splittable pseudorandom number generators", 2014). Unlike math/rand it is the same in every version of
// Go.
type stream struct{ key, n uint64 }

// newStream returns the stream of one item of a set. Streams of other seeds, sets or indices are independent of it.
func newStream(seed uint64, set string, index int) *stream {
	key := mix(seed)
	for _, b := range []byte(set) {
		key = mix(key ^ uint64(b))
	}
	return &stream{key: mix(key ^ uint64(index))}
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (r *stream) next() uint64 {
	r.n++
	return mix(r.key + r.n*0x9e3779b97f4a7c15)
}

// intN is uniform in [0, n).
func (r *stream) intN(n int) int {
	high, _ := bits.Mul64(r.next(), uint64(n))
	return int(high)
}

// between is uniform in [low, high).
func (r *stream) between(low, high float64) float64 {
	return low + (high-low)*float64(r.next()>>11)/(1<<53)
}

func pick[T any](r *stream, from []T) T { return from[r.intN(len(from))] }

// shuffled returns the items in random order; the argument is unchanged.
func shuffled[T any](r *stream, items []T) []T {
	out := append([]T(nil), items...)
	for i := len(out) - 1; i > 0; i-- {
		j := r.intN(i + 1)
		out[i], out[j] = out[j], out[i]
	}
	return out
}
