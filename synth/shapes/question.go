package shapes

import (
	"fmt"
	"slices"
	"strconv"
)

// ask is a question about a scene with its only right answer.
type ask struct {
	form         string
	text, answer string
	about        []object // the objects that the question involves; none if it is about the whole scene
}

// form is a kind of question. Its pattern has all its words except those of the objects.
type form struct {
	name    string
	pattern string
	ask     func(pattern string, objects []object) []ask // all questions of this form that have one answer
}

var forms = []form{
	{"color", "What color is the %s?", func(pattern string, objects []object) []ask {
		return eachObject(objects, func(o object) ask {
			return ask{text: fmt.Sprintf(pattern, o.shape), answer: o.color}
		})
	}},
	{"shape", "Which shape is %s?", func(pattern string, objects []object) []ask {
		return eachObject(objects, func(o object) ask {
			return ask{text: fmt.Sprintf(pattern, o.color), answer: o.shape}
		})
	}},
	{"position", "Where is the %s?", func(pattern string, objects []object) []ask {
		return eachObject(objects, func(o object) ask {
			return ask{text: fmt.Sprintf(pattern, o.shape), answer: o.position.String()}
		})
	}},
	{"object", "What is in the %s?", func(pattern string, objects []object) []ask {
		return eachObject(objects, func(o object) ask {
			return ask{text: fmt.Sprintf(pattern, o.position), answer: o.name()}
		})
	}},
	{"count", "How many shapes are there?", func(pattern string, objects []object) []ask {
		return []ask{{text: pattern, answer: strconv.Itoa(len(objects))}}
	}},
	{"neighbor", "What is %s the %s?", askNeighbor},
	{"relation", relationPattern, askRelation},
}

const relationPattern = "Is the %s %s the %s?"

// relation holds between whole columns or rows of the grid: everything in the left column is left of everything in the
// right column.
type relation struct {
	words string
	holds func(a, b position) bool
}

var relations = []relation{
	{"left of", func(a, b position) bool { return a.column() < b.column() }},
	{"right of", func(a, b position) bool { return a.column() > b.column() }},
	{"above", func(a, b position) bool { return a.row() < b.row() }},
	{"below", func(a, b position) bool { return a.row() > b.row() }},
}

func eachObject(objects []object, question func(object) ask) []ask {
	var asks []ask
	for _, o := range objects {
		a := question(o)
		a.about = []object{o}
		asks = append(asks, a)
	}
	return asks
}

// askNeighbor asks for the object in a relation to another if there is exactly one.
func askNeighbor(pattern string, objects []object) []ask {
	var asks []ask
	for _, to := range objects {
		for _, r := range relations {
			var found []object
			for _, o := range objects {
				if r.holds(o.position, to.position) {
					found = append(found, o)
				}
			}
			if len(found) == 1 {
				asks = append(asks, ask{text: fmt.Sprintf(pattern, r.words, to.shape), answer: found[0].name(),
					about: []object{found[0], to}})
			}
		}
	}
	return asks
}

// askRelation asks whether a relation holds between two objects. For any two objects some relations hold and some do
// not.
func askRelation(pattern string, objects []object) []ask {
	var asks []ask
	for _, a := range objects {
		for _, b := range objects {
			if a == b {
				continue
			}
			for _, r := range relations {
				answer := "no"
				if r.holds(a.position, b.position) {
					answer = "yes"
				}
				asks = append(asks, ask{text: fmt.Sprintf(pattern, a.shape, r.words, b.shape), answer: answer,
					about: []object{a, b}})
			}
		}
	}
	return asks
}

// converse draws up to n questions about a scene, each of a different form. In every form the answer is drawn first and
// then a question with that answer, so yes and no are equally frequent. With held, questions about objects must involve
// a held-out pair.
func converse(r *stream, s scene, n int, held bool) []ask {
	var asks []ask
	for _, f := range shuffled(r, forms) {
		candidates := slices.DeleteFunc(f.ask(f.pattern, s.objects), func(a ask) bool {
			return held && !a.involvesHeldOut()
		})
		if len(candidates) == 0 {
			continue
		}
		answer := pick(r, answers(candidates))
		candidates = slices.DeleteFunc(candidates, func(a ask) bool { return a.answer != answer })
		chosen := pick(r, candidates)
		chosen.form = f.name
		if asks = append(asks, chosen); len(asks) == n {
			break
		}
	}
	return asks
}

func (a ask) involvesHeldOut() bool {
	return a.about == nil || slices.ContainsFunc(a.about, func(o object) bool {
		return slices.Contains(heldOut, o.pair)
	})
}

// answers lists the distinct answers in order of appearance.
func answers(asks []ask) []string {
	var distinct []string
	for _, a := range asks {
		if !slices.Contains(distinct, a.answer) {
			distinct = append(distinct, a.answer)
		}
	}
	return distinct
}
