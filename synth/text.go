package synth

import "strings"

// captionPrompts are the requests that a caption answers. In stage 1 the template "plain" leaves them out.
var captionPrompts = []string{
	"Describe the picture briefly.",
	"Write a caption for the picture.",
	"What does the picture show?",
}

// name is the object with its article: "an orange star".
func (p pair) name() string {
	if strings.IndexByte("aeiou", p.color[0]) >= 0 {
		return "an " + p.color + " " + p.shape
	}
	return "a " + p.color + " " + p.shape
}

// describe tells a scene in words, object by object in the order given. Captions keep the reading order.
func describe(objects []object) string {
	parts := make([]string, len(objects))
	for i, o := range objects {
		parts[i] = o.name() + " in the " + o.position.String()
	}
	return strings.Join(parts, " and ")
}
