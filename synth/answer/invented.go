package answer

import (
	"maps"
	"slices"
	"strings"
)

// Names are the names of categories, for telling which an answer speaks of.
type Names struct{ root nameNode }

// nameNode is a place in the tree of names, whose branches are words.
type nameNode struct {
	name string // that ends here; ""
	next map[string]*nameNode
}

// NewNames prepares names of one or several words. Of two that differ only in case or punctuation the first counts.
func NewNames(names []string) *Names {
	n := &Names{}
	for _, name := range names {
		at := &n.root
		for word := range wordsOf(name).runs(1) {
			if at.next[word] == nil {
				if at.next == nil {
					at.next = map[string]*nameNode{}
				}
				at.next[word] = &nameNode{}
			}
			at = at.next[word]
		}
		if at.name == "" && at != &n.root {
			at.name = name
		}
	}
	return n
}

// Invented are the names that the answers of an accepted result speak of and no known text does: captions, and the
// names of boxes. They are a cheap sign of things that are not in the picture, and no more than a sign, as a caption
// may use another word for the same thing. They are in the order of their bytes.
func (n *Names) Invented(turns []Turn, known []string) []string {
	said := map[string]bool{}
	for _, turn := range turns {
		n.find(turn.Answer, said)
	}
	if len(said) == 0 {
		return nil
	}
	seen := map[string]bool{}
	for _, text := range known {
		n.find(text, seen)
	}
	maps.DeleteFunc(said, func(name string, _ bool) bool { return seen[name] })
	return slices.Sorted(maps.Keys(said))
}

// find adds the names in a text. Where names overlap the longest counts: a hot dog is no dog.
func (n *Names) find(text string, found map[string]bool) {
	w := wordsOf(text)
	for i := 0; i < w.count(); {
		name, length := "", 1
		at := n.root.after(w.run(i, 1))
		for words := 1; at != nil; words++ {
			if at.name != "" {
				name, length = at.name, words
			}
			if i+words == w.count() {
				break
			}
			at = at.after(w.run(i+words, 1))
		}
		if name != "" {
			found[name] = true
		}
		i += length
	}
}

// plurals are the endings of English plurals, and what the singular has in their place.
var plurals = [][2]string{{"s", ""}, {"es", ""}, {"ies", "y"}, {"ves", "f"}, {"ves", "fe"}}

// irregular are plurals of things that pictures show often.
var irregular = map[string]string{
	"people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse",
}

// after is the place after one more word, in the plural perhaps; nil if no name goes on like that.
func (n *nameNode) after(word string) *nameNode {
	if next := n.next[word]; next != nil {
		return next
	}
	for _, ending := range plurals {
		if stem, ok := strings.CutSuffix(word, ending[0]); ok {
			if next := n.next[stem+ending[1]]; next != nil {
				return next
			}
		}
	}
	return n.next[irregular[word]]
}
