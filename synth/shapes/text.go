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

// describe describes a scene in words, object by object in the order given.
func describe(objects []object) string { return list(objects, phrasings[0]) }

// phrasings are ways to describe one object. Each leads from a different property to the rest: a model that can produce
// all of them can look up anything by anything.
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
	shapePhrasings = phrasings[2:5] // start from the shape, as most questions do
)

// describeInOrder describes a scene in one form and order.
func describeInOrder(_ *stream, objects []object) string { return describe(objects) }

// tellAll is a description from which the scene can be reconstructed.
func tellAll(r *stream, objects []object) string {
	return list(shuffled(r, objects), pick(r, fullPhrasings))
}

// tellByShape is a description that starts from the shapes.
func tellByShape(r *stream, objects []object) string {
	return list(shuffled(r, objects), pick(r, shapePhrasings))
}

// tellByColor is a description that starts from the colours.
func tellByColor(r *stream, objects []object) string {
	return list(shuffled(r, objects), phrasings[5])
}

// tell is a description in any phrasing, sometimes with the number of objects or their relations.
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

// tellBetween describes the position of one object relative to another: "between the star and the square: the star is
// left, above". For a single object it describes the object.
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

// linksBetween describes all relations between two objects.
func linksBetween(objects []object) (links []string) {
	for _, a := range objects {
		for _, b := range objects {
			for _, relation := range relations {
				if relation.holds(a.position, b.position) {
					links = append(links, "the "+a.shape+" is "+relation.words+" the "+b.shape,
						relation.words+" the "+b.shape+" is "+a.name())
				}
			}
		}
	}
	return links
}

// tellOne describes one attribute of each object, in the order given.
func tellOne(objects []object, attribute func(pair) string) string {
	return list(objects, func(o object) string { return attribute(o.pair) + " in the " + o.position.String() })
}

// list joins the phrases for all objects.
func list(objects []object, phrase func(o object) string) string {
	parts := make([]string, len(objects))
	for i, o := range objects {
		parts[i] = phrase(o)
	}
	return strings.Join(parts, " and ")
}
