package answer

import "crypto/sha256"

// Rows are the rows of a run so far, for finding those that say the same. The zero value is a run without rows.
type Rows struct{ seen map[form]bool }

// form is a hash of what a row says: its kind, and the words of its questions and answers.
type form [sha256.Size]byte

// Add adds an accepted answer in the order of the rows, and says whether it is new. One that says the same as an
// earlier row of its kind, but for case, punctuation and white space, is to be dropped as a [Duplicate].
func (r *Rows) Add(kind Kind, turns []Turn) bool {
	said := []byte(kind)
	for _, turn := range turns {
		said = append(said, '\n')
		said = append(said, wordsOf(turn.Question).joined...)
		said = append(said, '\n')
		said = append(said, wordsOf(turn.Answer).joined...)
	}
	sum := form(sha256.Sum256(said))
	if r.seen[sum] {
		return false
	}
	if r.seen == nil {
		r.seen = map[form]bool{}
	}
	r.seen[sum] = true
	return true
}
