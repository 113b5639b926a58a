package shapes

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// told is an object as a reader of a description understands it; x and y grow to the right and downwards.
type told struct {
	color, shape string
	x, y         int
}

type claim struct {
	pattern *regexp.Regexp
	holds   func(scene []told, o told, words []string) bool // for one object
}

// claims are the clauses that a description may have: what the words say, and whether it holds in a scene.
var claims = []claim{
	{regexp.MustCompile(`^an? (\w+) (\w+) in the (\w+ \w+)$`), func(_ []told, o told, w []string) bool {
		return o.is(w[1], w[2], w[3])
	}},
	{regexp.MustCompile(`^in the (\w+ \w+) an? (\w+) (\w+)$`), func(_ []told, o told, w []string) bool {
		return o.is(w[2], w[3], w[1])
	}},
	{regexp.MustCompile(`^the (\w+) in the (\w+ \w+) is (\w+)$`), func(_ []told, o told, w []string) bool {
		return o.is(w[3], w[1], w[2])
	}},
	{regexp.MustCompile(`^the (\w+) is (\w+)$`), func(_ []told, o told, w []string) bool {
		return o.is(w[2], w[1], o.place())
	}},
	{regexp.MustCompile(`^the (\w+) is in the (\w+ \w+)$`), func(_ []told, o told, w []string) bool {
		return o.is(o.color, w[1], w[2])
	}},
	{regexp.MustCompile(`^the (\w+) one is a (\w+)$`), func(_ []told, o told, w []string) bool {
		return o.is(w[1], w[2], o.place())
	}},
	{regexp.MustCompile(`^the (\w+) is (left of|right of|above|below) the (\w+)$`),
		func(scene []told, o told, w []string) bool {
			return o.shape == w[1] && o.stands(w[2], find(scene, w[3]))
		}},
	{regexp.MustCompile(`^(left of|right of|above|below) the (\w+) is (an? \w+ \w+)$`),
		func(scene []told, o told, w []string) bool {
			return o.name() == w[3] && o.stands(w[1], find(scene, w[2]))
		}},
	{regexp.MustCompile(`^(\w+) in the (\w+ \w+)$`), func(_ []told, o told, w []string) bool { // one attribute
		return o.place() == w[2] && (o.color == w[1] || o.shape == w[1])
	}},
	{regexp.MustCompile(`^(\d) shapes?$`), func(scene []told, _ told, w []string) bool {
		return w[1] == strconv.Itoa(len(scene))
	}},
}

// fullClaims, the first of them, tell all of one object.
var fullClaims = claims[:3]

func (o told) is(color, shape, place string) bool {
	return o.color == color && o.shape == shape && o.place() == place
}

// between describes all relations of one object to another.
var between = regexp.MustCompile(`^between the (\w+) and the (\w+): the (\w+) is (.*)$`)

// verify requires each clause of a description to hold in the scene, and one attribute if the request asks for it.
func verify(scene []told, description, request string) error {
	if words := between.FindStringSubmatch(description); words != nil {
		var hold []string
		for _, relation := range []string{"left of", "right of", "above", "below"} {
			if find(scene, words[1]).stands(relation, find(scene, words[2])) {
				hold = append(hold, strings.TrimSuffix(relation, " of"))
			}
		}
		if want := strings.Join(hold, ", "); words[3] != words[1] || words[4] != want {
			return fmt.Errorf("%q does not hold in %v: want %q", description, scene, want)
		}
		return nil
	}
	for clause := range strings.SplitSeq(description, " and ") {
		at := slices.IndexFunc(claims, func(c claim) bool { return c.pattern.MatchString(clause) })
		if at < 0 {
			return fmt.Errorf("%q is not understood", clause)
		}
		words := claims[at].pattern.FindStringSubmatch(clause)
		if !slices.ContainsFunc(scene, func(o told) bool { return claims[at].holds(scene, o, words) }) {
			return fmt.Errorf("%q does not hold in %v", clause, scene)
		}
		if wanted := map[string][]string{colorsPrompt: colors, shapesPrompt: shapes}[request]; wanted != nil &&
			!slices.Contains(wanted, words[1]) {
			return fmt.Errorf("%q is answered %q", request, description)
		}
	}
	return nil
}

// read parses a description that tells all of each object, without the package's own code.
func read(t *testing.T, description string) (scene []told) {
	t.Helper()
	for clause := range strings.SplitSeq(description, " and ") {
		at := slices.IndexFunc(fullClaims, func(c claim) bool { return c.pattern.MatchString(clause) })
		if at < 0 {
			t.Fatalf("description %q: clause %q is not understood", description, clause)
		}
		words := fullClaims[at].pattern.FindStringSubmatch(clause)
		order := [][3]int{{1, 2, 3}, {2, 3, 1}, {3, 1, 2}}[at]
		o := told{color: words[order[0]], shape: words[order[1]]}
		for o.place() != words[order[2]] {
			if o.x++; o.x == 2 {
				o.x, o.y = 0, o.y+1
			}
		}
		scene = append(scene, o)
	}
	return scene
}

func (o told) name() string {
	if o.color == "orange" || o.color == "ivory" {
		return "an " + o.color + " " + o.shape
	}
	return "a " + o.color + " " + o.shape
}

func (o told) place() string {
	return []string{"top", "bottom"}[o.y] + " " + []string{"left", "right"}[o.x]
}

func (o told) stands(words string, to told) bool {
	return map[string]bool{"left of": o.x < to.x, "right of": o.x > to.x, "above": o.y < to.y,
		"below": o.y > to.y}[words]
}

// rules find the answers to a question in a scene: from its words and one object at a time (or all of them, for the
// last two).
var rules = []struct {
	form    string
	pattern *regexp.Regexp
	answer  func(scene []told, o told, words []string) (string, bool)
}{
	{"color", regexp.MustCompile(`^What color is the (\w+)\?$`), func(_ []told, o told, w []string) (string, bool) {
		return o.color, o.shape == w[1]
	}},
	{"shape", regexp.MustCompile(`^Which shape is (\w+)\?$`), func(_ []told, o told, w []string) (string, bool) {
		return o.shape, o.color == w[1]
	}},
	{"position", regexp.MustCompile(`^Where is the (\w+)\?$`), func(_ []told, o told, w []string) (string, bool) {
		return o.place(), o.shape == w[1]
	}},
	{"object", regexp.MustCompile(`^What is in the (\w+ \w+)\?$`), func(_ []told, o told, w []string) (string, bool) {
		return o.name(), o.place() == w[1]
	}},
	{"count", regexp.MustCompile(`^How many shapes are there\?$`),
		func(scene []told, o told, _ []string) (string, bool) {
			return strconv.Itoa(len(scene)), o == scene[0]
		}},
	{"neighbor", regexp.MustCompile(`^What is (left of|right of|above|below) the (\w+)\?$`),
		func(scene []told, o told, w []string) (string, bool) {
			return o.name(), o.stands(w[1], find(scene, w[2]))
		}},
	{"relation", regexp.MustCompile(`^Is the (\w+) (left of|right of|above|below) the (\w+)\?$`),
		func(scene []told, o told, w []string) (string, bool) {
			return map[bool]string{true: "yes", false: "no"}[o.stands(w[2], find(scene, w[3]))], o.shape == w[1] &&
				w[1] != w[3]
		}},
}

func find(scene []told, shape string) told {
	return scene[slices.IndexFunc(scene, func(o told) bool { return o.shape == shape })]
}

// derive returns the form of a question and its answer, which must be the only one.
func derive(scene []told, question string) (form, answer string, err error) {
	for _, r := range rules {
		words := r.pattern.FindStringSubmatch(question)
		if words == nil {
			continue
		}
		var found []string
		for _, o := range scene {
			if answer, ok := r.answer(scene, o, words); ok {
				found = append(found, answer)
			}
		}
		if len(found) != 1 {
			return "", "", fmt.Errorf("question %q has answers %q in %v", question, found, scene)
		}
		return r.form, found[0], nil
	}
	return "", "", fmt.Errorf("question %q is not understood", question)
}

func TestAnswersFollowFromTheScene(t *testing.T) {
	forms := map[string]int{}
	for i := range 3000 {
		r := newStream(11, "answers", i)
		s := unseenScene(r)
		scene := read(t, describe(s.objects))
		for _, a := range converse(r, s, 4, i%2 == 0) {
			form, answer, err := derive(scene, a.text)
			if err != nil || form != a.form || answer != a.answer {
				t.Fatalf("scene %q: %s question %q is answered %q, want %s, %q (%v)",
					describe(s.objects), a.form, a.text, a.answer, form, answer, err)
			}
			forms[form]++
		}
	}
	for _, r := range rules {
		if forms[r.form] < 500 {
			t.Errorf("form %q: asked only %d times", r.form, forms[r.form])
		}
	}
}

func TestConversationsAskEachFormOnce(t *testing.T) {
	for i := range 500 {
		r := newStream(11, "once", i)
		seen := map[string]bool{}
		asks := converse(r, trainingScene(r), 4, false)
		for _, a := range asks {
			if seen[a.form] {
				t.Fatalf("form %q was asked twice in %v", a.form, asks)
			}
			seen[a.form] = true
		}
		if len(asks) != 4 {
			t.Fatalf("%d questions, want 4", len(asks))
		}
	}
}

func TestYesAndNoAreBalanced(t *testing.T) {
	type count struct{ yes, all float64 }
	counts := map[string]*count{"": {}}
	for i := range 20000 {
		r := newStream(11, "balance", i)
		for _, a := range converse(r, trainingScene(r), 3, false) {
			if a.form != "relation" {
				continue
			}
			relation := rules[6].pattern.FindStringSubmatch(a.text)[2]
			if counts[relation] == nil {
				counts[relation] = &count{}
			}
			for _, c := range []*count{counts[""], counts[relation]} {
				c.all++
				if a.answer == "yes" {
					c.yes++
				}
			}
		}
	}
	for relation, c := range counts {
		if share := c.yes / c.all; c.all < 1000 || share < 0.46 || share > 0.54 {
			t.Errorf("relation %q: %.0f questions, share of yes %.3f", relation, c.all, share)
		}
	}
}
