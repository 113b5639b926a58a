package caption

import "slices"

// Report says what Filter did.
type Report struct {
	Captions  int            `json:"captions"` // read, without the skipped
	Skipped   map[Reason]int `json:"skipped"`
	Unmatched int            `json:"captions_without_phrases"` // captions that the file of phrases has no line for
	Strangers int            `json:"unknown_phrase_lines"`     // its lines for no caption, or for one that was skipped

	Kept          int `json:"kept"`
	Phrases       int `json:"phrases"`                // different normal forms
	Enough        int `json:"phrases_enough"`         // of them, those in at least Min captions
	Above         int `json:"phrases_above"`          // and those in more than Cap
	Covered       int `json:"phrases_covered"`        // those that are in kept captions, of all
	EnoughCovered int `json:"phrases_enough_covered"` // and of those in at least Min captions

	Rarest    []Count `json:"rarest"`    // of those in at least Min captions, from the rarest on
	Commonest []Count `json:"commonest"` // from the commonest on
}

// Count is in how many captions a phrase is.
type Count struct {
	Phrase   string `json:"phrase"`
	Captions int    `json:"captions"`
	Kept     int    `json:"kept"` // of them
}

// shown is how many phrases the report names at each end.
const shown = 10

func (r *Report) count(c *choice) {
	r.Captions, r.Kept = len(c.kept), c.count
	r.Phrases, r.Enough = len(c.counts), len(c.order)
	for phrase, n := range c.counts {
		enough := int(n) >= c.rule.Min
		if enough && int(n) > c.rule.Cap {
			r.Above++
		}
		if slices.ContainsFunc(c.captions(uint32(phrase)), func(caption uint32) bool { return c.kept[caption] }) {
			r.Covered++
			if enough {
				r.EnoughCovered++
			}
		}
	}
	for i := range min(shown, len(c.order)) {
		r.Rarest = append(r.Rarest, c.tell(c.order[i]))
		r.Commonest = append(r.Commonest, c.tell(c.order[len(c.order)-1-i]))
	}
}

func (c *choice) tell(phrase uint32) Count {
	count := Count{Phrase: c.phrases.at(phrase), Captions: int(c.counts[phrase])}
	for _, caption := range c.captions(phrase) {
		if c.kept[caption] {
			count.Kept++
		}
	}
	return count
}
