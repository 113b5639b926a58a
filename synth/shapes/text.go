package shapes

import "strings"

// captionPrompts are the requests that a caption answers. The template "plain" leaves them out.
var captionPrompts = []string{
	"Describe the picture briefly.",
	"Write a caption for the picture.",
	"What does the picture show?",
}

// Requests for one attribute of each object.
const (
	colorsPrompt = "Name the colors."
	shapesPrompt = "Name the shapes."
)

// name is the object with its article: "an orange star".
func (p pair) name() string {
	if strings.IndexByte("aeiou", p.color[0]) >= 0 {
		return "an " + p.color + " " + p.shape
	}
	return "a " + p.color + " " + p.shape
}

// describe tells a scene in words, object by object in the order given.
func describe(objects []object) string { return list(objects, phrasings[0]) }

// phrasings are ways to tell of one object. Each leads from another property to the rest: who can say them all can look up anything
// by anything.
var phrasings = []func(o object) string{
	func(o object) string { return o.name() + " in the " + o.position.String() },
	func(o object) string { return "in the " + o.position.String() + " " + o.name() },
	func(o object) string { return "the " + o.shape + " in the " + o.position.String() + " is " + o.color },
	func(o object) string { return "the " + o.shape + " is " + o.color },
	func(o object) string { return "the " + o.shape + " is in the " + o.position.String() },
	func(o object) string { return "the " + o.color + " one is a " + o.shape },
}

var (
	fullPhrasings  = phrasings[:3]  // tell all properties
	shapePhrasings = phrasings[2:5] // lead from the shape, by which most questions ask
)

// describeInOrder tells a scene in one form and order.
func describeInOrder(_ *stream, objects []object) string { return describe(objects) }

// tellAll is a description from which the scene can be drawn again.
func tellAll(r *stream, objects []object) string {
	return list(shuffled(r, objects), pick(r, fullPhrasings))
}

// tellByShape is a description that leads from the shapes to the rest.
func tellByShape(r *stream, objects []object) string {
	return list(shuffled(r, objects), pick(r, shapePhrasings))
}

// tellByColor is a description that leads from the colours to the shapes.
func tellByColor(r *stream, objects []object) string {
	return list(shuffled(r, objects), phrasings[5])
}

// tell is a description in any phrasing, sometimes with the number of the objects or with what is beside what.
func tell(r *stream, objects []object) string {
	parts := []string{list(shuffled(r, objects), pick(r, phrasings))}
	if r.intN(4) == 0 {
		parts = append(parts, [...]string{"1 shape", "2 shapes", "3 shapes"}[len(objects)-1])
	}
	if links := linksBetween(objects); len(links) > 0 && r.intN(2) == 0 {
		parts = append(parts, shuffled(r, links)[:min(2, len(links))]...)
	}
	return strings.Join(shuffled(r, parts), " and ")
}

// tellBetween tells how one object stands to another: "between the star and the square: the star is left, above". Of one alone it tells
// what it is.
func tellBetween(r *stream, objects []object) string {
	if len(objects) == 1 {
		return tellByShape(r, objects)
	}
	objects = shuffled(r, objects)
	a, b := objects[0], objects[1]
	var words []string
	for _, relation := range relations {
		if relation.holds(a.position, b.position) {
			words = append(words, strings.TrimSuffix(relation.words, " of"))
		}
	}
	return "between the " + a.shape + " and the " + b.shape + ": the " + a.shape + " is " + strings.Join(words, ", ")
}

// linksBetween tells all that holds between two objects.
func linksBetween(objects []object) (links []string) {
	for _, a := range objects {
		for _, b := range objects {
			for _, relation := range relations {
				if relation.holds(a.position, b.position) {
					links = append(links, "the "+a.shape+" is "+relation.words+" the "+b.shape, relation.words+" the "+b.shape+" is "+a.name())
				}
			}
		}
	}
	return links
}

// tellOne tells one attribute of each object, in the order given.
func tellOne(objects []object, attribute func(pair) string) string {
	return list(objects, func(o object) string { return attribute(o.pair) + " in the " + o.position.String() })
}

// list joins what phrase says of each object.
func list(objects []object, phrase func(o object) string) string {
	parts := make([]string, len(objects))
	for i, o := range objects {
		parts[i] = phrase(o)
	}
	return strings.Join(parts, " and ")
}
