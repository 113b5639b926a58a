package benchmarks

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Keep leaves about n of the set's questions, the same ones each time: those whose hashes are the lowest, an equal
// number of each category as far as it has them. Questions that count together stay together, so that there may be a
// few more than n. Only questions that can be scored here are kept.
func (s *Set) Keep(n int) error {
	switch {
	case s.Rule.Judged:
		return failure.Inputf("rule %s of %s scores by a judge's replies, for which no run waits: judge it with "+
			"`llavatrain benchmark judge`", s.Rule.Name, s.Benchmark.Name)
	case !s.Labelled:
		return failure.Inputf("the labels of %s, split %s, are not public", s.Benchmark.Name, s.Split)
	}
	byCategory := s.units()
	var kept []Question
	for place := 0; len(kept) < n; place++ {
		left := false
		for _, units := range byCategory {
			if place >= len(units) || len(kept) >= n {
				continue
			}
			left = true
			for _, i := range units[place].questions {
				kept = append(kept, s.Questions[i])
			}
		}
		if !left {
			break
		}
	}
	s.Questions = kept
	return nil
}

// unit is questions that count together.
type unit struct {
	hash      [sha256.Size]byte
	questions []int
}

// units are the questions that count together, by category in the order of the files, each category's by hash.
func (s *Set) units() (byCategory [][]unit) {
	places, units := map[string]int{}, map[string]*unit{}
	members := map[int][]*unit{}
	for i := range s.Questions {
		q := &s.Questions[i]
		if counts := s.Rule.counts; !s.Wanted(i) || counts != nil && !counts(&Row{Tags: q.tags}) {
			continue
		}
		category := q.category()
		at, known := places[category]
		if !known {
			at = len(places)
			places[category] = at
		}
		together := fmt.Sprint(i)
		switch {
		case q.group != "":
			together = "group " + q.group
		case s.Benchmark.pairs:
			together = "picture " + q.Image
		}
		u := units[together]
		if u == nil {
			u = &unit{hash: sha256.Sum256([]byte(q.ID.text + "\n" + q.Image + "\n" + q.Prompt))}
			units[together], members[at] = u, append(members[at], u)
		}
		u.questions = append(u.questions, i)
	}
	byCategory = make([][]unit, len(places))
	for at, list := range members {
		for _, u := range list {
			byCategory[at] = append(byCategory[at], *u)
		}
		slices.SortFunc(byCategory[at], func(a, b unit) int {
			return cmp.Or(bytes.Compare(a.hash[:], b.hash[:]), a.questions[0]-b.questions[0])
		})
	}
	return byCategory
}

// category is what a part of a benchmark is balanced over: the question's category, or its first property.
func (q *Question) category() string {
	if q.Category == "" && len(q.tags) > 0 {
		return q.tags[0].Value
	}
	return q.Category
}
