package phrase

// label says where a word stands.
type label uint8

const (
	begins    label = iota // the first word of a phrase
	continues              // a later one
	apart                  // in no phrase
	labels                 // their number, and the label before a sentence's first word
)

// scores of each label of a word.
type scores [labels]int32

// chain scores a label after the two before it. Both may be `labels`, before the first word.
type chain [labels + 1][labels + 1]scores

// best finds the sequence of labels with the highest sum of the words' scores and the chain's, by Viterbi's algorithm
// over pairs of labels. A phrase is never continued after a word that is apart. Of equal sequences it takes the first
// that the loops below meet.
func best(words []scores, c *chain) []label {
	if len(words) == 0 {
		return nil
	}
	const never = -1 << 62
	type table [labels + 1][labels + 1]int64 // the best sum that ends with a pair
	var none, now table
	for i := range none {
		for j := range none[i] {
			none[i][j] = never
		}
	}
	now = none
	now[labels][labels] = 0
	from := make([][labels + 1][labels + 1]label, len(words)) // the label before the pair
	for i, word := range words {
		next := none
		for a := range now {
			for b, sum := range now[a] {
				if sum == never {
					continue
				}
				for l := range labels {
					if l == continues && label(b) != begins && label(b) != continues {
						continue
					}
					if s := sum + int64(word[l]) + int64(c[a][b][l]); s > next[b][l] {
						next[b][l], from[i][b][l] = s, label(a)
					}
				}
			}
		}
		now = next
	}
	var last [2]label
	top := int64(never)
	for b := range now {
		for l, sum := range now[b] {
			if sum > top {
				top, last = sum, [2]label{label(b), label(l)}
			}
		}
	}
	path := make([]label, len(words))
	for i := len(words) - 1; i >= 0; i-- {
		path[i] = last[1]
		last[0], last[1] = from[i][last[0]][last[1]], last[0]
	}
	return path
}

// phrases are the texts of the labelled phrases.
func phrases(text string, spans []span, path []label) (found []string) {
	for i := 0; i < len(path); i++ {
		if path[i] != begins {
			continue
		}
		start := spans[i].start
		for i+1 < len(path) && path[i+1] == continues {
			i++
		}
		found = append(found, text[start:spans[i].end])
	}
	return found
}
