package alike

// Index holds the hashes of pictures and finds those near another. It takes about 30 bytes a picture. Use is not safe
// while another goroutine adds; Nearest alone is safe for concurrent use.
//
// A caller that adds only what is near nothing yet keeps one picture of each kind: no two of those are near each other,
// and every other one is near the one that it is counted with, which chains of near pictures would not give.
//
// The 64 bits are cut into 5 bands. Hashes that differ in at most 4 bits are equal in at least one band, so only
// pictures with an equal band are compared (Manku, Jain, Das Sarma, "Detecting Near-Duplicates for Web Crawling",
// 2007).
type Index struct {
	hashes []Hash
	bands  [Near + 1]map[uint16][]int32 // pictures, by the band's bits
	plain  map[uint64]int32             // the first plain picture of each digest
}

// bandBits is the width of a band; the last one is a bit narrower.
const bandBits = 13

// band is the bits of band i.
func (h Hash) band(i int) uint16 { return uint16(h.Bits >> (bandBits * i) & (1<<bandBits - 1)) }

// Add takes a picture, which gets the next number, from 0.
func (x *Index) Add(h Hash) (number int) {
	number = len(x.hashes)
	x.hashes = append(x.hashes, h)
	if h.Plain {
		if x.plain == nil {
			x.plain = map[uint64]int32{}
		}
		if _, ok := x.plain[h.Bits]; !ok {
			x.plain[h.Bits] = int32(number)
		}
		return number
	}
	for i := range x.bands {
		if x.bands[i] == nil {
			x.bands[i] = map[uint16][]int32{}
		}
		x.bands[i][h.band(i)] = append(x.bands[i][h.band(i)], int32(number))
	}
	return number
}

// Nearest is the picture with the smallest distance, at most Near, and of several the first one added.
func (x *Index) Nearest(h Hash) (number, distance int, ok bool) {
	if h.Plain {
		first, ok := x.plain[h.Bits]
		return int(first), 0, ok
	}
	number, distance = -1, Near+1
	for i := range x.bands {
		for _, other := range x.bands[i][h.band(i)] {
			d := h.Distance(x.hashes[other])
			if d < distance || d == distance && int(other) < number {
				number, distance = int(other), d
			}
			if d == 0 { // all its equals are in this band, in the order in which they were added
				return number, 0, true
			}
		}
	}
	return number, distance, number >= 0
}
