package shapes

import (
	"cmp"
	"slices"
)

var (
	colors = []string{"red", "green", "blue", "yellow", "purple", "orange", "cyan", "white"}
	shapes = []string{"circle", "square", "triangle", "cross", "diamond", "star"}
)

// toldColors and toldShapes appear in the base's texts beside those that are drawn, and never in an image. A small
// model cannot memorise which of 392 pairs occur, so it has to look them up, and has no bias against a held-out pair.
var (
	toldColors = []string{"pink", "brown", "grey", "black", "gold", "silver", "violet", "beige", "maroon", "teal",
		"coral", "ivory"}
	toldShapes = []string{"heart", "ring", "moon", "arrow", "cone", "cube", "oval", "leaf", "key", "bell", "cup",
		"ball", "box", "spiral"}
)

// pair is what a model has to compose: a colour and a shape, each of which it has seen with others.
type pair struct{ color, shape string }

// heldOut are the pairs that appear in no training text or image: one for each colour, at most two per shape.
var heldOut = []pair{
	{"red", "star"}, {"green", "triangle"}, {"blue", "circle"}, {"yellow", "cross"},
	{"purple", "square"}, {"orange", "diamond"}, {"cyan", "triangle"}, {"white", "star"},
}

// position is a cell of the 2x2 grid in reading order.
type position int

var positions = []position{0, 1, 2, 3}

func (p position) String() string {
	return [...]string{"top left", "top right", "bottom left", "bottom right"}[p]
}

func (p position) column() int { return int(p) % 2 }
func (p position) row() int    { return int(p) / 2 }

// object is one coloured shape of a scene.
type object struct {
	pair
	position position
}

// scene is the content of an image. No two objects share a colour, a shape or a position, so that "the star" is
// unambiguous.
type scene struct {
	objects []object // one to three, in reading order
	look    stream   // decides what the text does not say: sizes, offsets, background, noise
}

// objectCounts is drawn from uniformly. Scenes with two or three objects allow more questions.
var objectCounts = []int{1, 2, 2, 3, 3}

// trainingScene draws a scene without held-out pairs.
func trainingScene(r *stream) scene {
	return drawScene(r, anyPair, trainingPairs)
}

// unseenScene draws a scene in which at least one object is a held-out pair.
func unseenScene(r *stream) scene {
	isFirstHeld := func(k int, p pair) bool { return k > 0 || slices.Contains(heldOut, p) }
	return drawScene(r, isFirstHeld, slices.Concat(trainingPairs, heldOut))
}

// toldScene draws a scene described only in words, from all colours and shapes. It has no held-out pair either.
func toldScene(r *stream) scene {
	return drawScene(r, anyPair, toldPairs)
}

func anyPair(int, pair) bool { return true }

var (
	trainingPairs = pairsOf(colors, shapes)
	toldPairs     = pairsOf(slices.Concat(colors, toldColors), slices.Concat(shapes, toldShapes))
)

// pairsOf are all pairs except the held-out ones.
func pairsOf(colors, shapes []string) (pairs []pair) {
	for _, c := range colors {
		for _, s := range shapes {
			if p := (pair{c, s}); !slices.Contains(heldOut, p) {
				pairs = append(pairs, p)
			}
		}
	}
	return pairs
}

// drawScene fills one to three random positions with pairs from allowed; suits restricts the k-th choice further.
func drawScene(r *stream, suits func(k int, p pair) bool, allowed []pair) scene {
	var s scene
	for k, at := range shuffled(r, positions)[:pick(r, objectCounts)] {
		var candidates []pair
		for _, p := range allowed {
			if suits(k, p) && !s.has(p) {
				candidates = append(candidates, p)
			}
		}
		s.objects = append(s.objects, object{pick(r, candidates), at})
	}
	slices.SortFunc(s.objects, func(a, b object) int { return cmp.Compare(a.position, b.position) })
	s.look = stream{key: r.next()}
	return s
}

// has reports whether the scene already uses the pair's colour or shape.
func (s scene) has(p pair) bool {
	return slices.ContainsFunc(s.objects, func(o object) bool { return o.color == p.color || o.shape == p.shape })
}
