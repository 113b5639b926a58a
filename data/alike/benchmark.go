package alike

// Benchmark is what one file says of the pictures and questions of a benchmark. Picture and Question are safe for
// concurrent use.
type Benchmark struct {
	Path      string
	Lines     bool  // places are lines, from 1; otherwise rows, from 0
	Pictures  int   // different ones, by their paths
	Numbered  int   // of them, those with a COCO number
	Hashed    int   // of them, those that were found and hashed
	Questions int   // different ones, by their normal form
	Unread    int   // lines or rows that cannot be read
	Fault     error // of the first of them, with its place

	list      bool // of names alone
	images    []placedImage
	seen      map[string]bool // paths that images has
	numbers   map[int64]Place
	names     map[string]Place // by the end of a path
	hashes    Index
	hashed    []Place // by number in hashes
	questions map[uint64]Place
}

// Place is a line or row of the benchmark's file.
type Place struct {
	At      int
	Picture string // its path in the file; "" for a question, and for a picture that is in the file itself
}

// By says in which way a picture was recognised.
type By int

// The ways, from the surest to the least sure.
const (
	ByNumber By = iota // its COCO number
	ByName             // the end of its path
	ByHash             // its pixels
)

// Match is a picture that was recognised.
type Match struct {
	By By
	Place
	Distance int // of the hashes, for ByHash
}

// Picture looks for a picture: by the COCO number in its path, by a path of the benchmark that its path ends with, and
// by its hash, nil if it is not known.
func (b *Benchmark) Picture(path string, hash *Hash) (Match, bool) {
	if number, ok := COCONumber(path); ok {
		if place, ok := b.numbers[number]; ok {
			return Match{By: ByNumber, Place: place}, true
		}
	}
	if path != "" && len(b.names) > 0 {
		for end := range endings(path) {
			if place, ok := b.names[end]; ok {
				return Match{By: ByName, Place: place}, true
			}
		}
	}
	if hash != nil {
		if number, distance, ok := b.hashes.Nearest(*hash); ok {
			return Match{ByHash, b.hashed[number], distance}, true
		}
	}
	return Match{}, false
}

// Question looks for a question with the same normal form.
func (b *Benchmark) Question(text string) (Place, bool) {
	place, ok := b.questions[Key(Question(text))]
	return place, ok
}
