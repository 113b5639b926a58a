package shapes

import (
	"path/filepath"
	"slices"
	"strings"
)

// WriteBase writes the training data of the demo's base below dir, two files to be read in this order: captions.json
// with its images in images, then conversations.json. Its images are not those of the demo, and it has no held-out
// pair. progress is as for WriteDemo.
//
// The order matters for two reasons. A base that has seen 40 of 48 pairs in images treats the other eight as
// impossible: until it can see, it memorises which colour goes with which shape. So the first captions give an image's
// colours, or its shapes, never both. And it learns to see ten times faster from captions of one form and order than
// from many; the many forms teach it to look things up afterwards.
func WriteBase(dir string, options Options, progress func(done, total int)) error {
	o := options.withDefaults()
	pictures := make([]picture, o.BasePictures)
	for i := range pictures {
		pictures[i] = picture{itemName("base", i) + ".png", trainingScene(newStream(o.Seed, "base", i))}
	}
	if err := writePictures(filepath.Join(dir, "images"), pictures, progress); err != nil {
		return err
	}
	if err := writeArray(filepath.Join(dir, "captions.json"),
		lessons(o.Seed, "caption", o.BaseCaptions, captionCourse, pictures)); err != nil {
		return err
	}
	return writeArray(filepath.Join(dir, "conversations.json"),
		lessons(o.Seed, "lesson", o.BaseConversations, conversationCourse, pictures))
}

// period is a part of a course: its share of all rows, and the shares of the kinds of row in it, both in percent.
type period struct {
	share int
	kinds []kind
}

type kind struct {
	share int
	row   func(r *stream, pictures []picture) row
}

var captionCourse = []period{
	{5, []kind{{50, onePicture(colorsOf)}, {50, onePicture(shapesOf)}}},
	{15, []kind{{25, onePicture(colorsOf)}, {25, onePicture(shapesOf)}, {50, onePicture(captionOf(describeInOrder))}}},
	{80, []kind{
		{5, onePicture(colorsOf)}, {5, onePicture(shapesOf)},
		{40, onePicture(captionOf(tell))}, {35, onePicture(captionOf(tellByShape))},
		{15, onePicture(captionOf(tellBetween))},
	}},
}

var conversationCourse = []period{
	{10, []kind{{50, echo}, {50, pictureTold}}},
	{90, []kind{{20, wordScene}, {80, pictureTold}}},
}

func lessons(seed uint64, set string, n int, course []period, pictures []picture) []row {
	rows := make([]row, n)
	for i := range rows {
		r := newStream(seed, set, i)
		rows[i] = kindAt(course, 100*i/n, r.intN(100)).row(r, pictures)
		rows[i].ID = itemName(set, i)
	}
	return rows
}

// kindAt returns the kind of row at a point of the course that a draw from 0 to 99 selects.
func kindAt(course []period, percent, draw int) kind {
	for _, p := range course {
		if percent -= p.share; percent >= 0 {
			continue
		}
		for _, k := range p.kinds {
			if draw -= k.share; draw < 0 {
				return k
			}
		}
	}
	panic("synth: the shares of a course are not 100") // constants of this file, covered by every test of it
}

// onePicture is a row with one request about one image.
func onePicture(request func(r *stream, objects []object) ask) func(r *stream, pictures []picture) row {
	return func(r *stream, pictures []picture) row {
		p := pick(r, pictures)
		return row{Image: p.name, Conversations: dialog("<image>", []ask{request(r, p.scene.objects)})}
	}
}

func colorsOf(_ *stream, objects []object) ask {
	return ask{form: captionForm, text: colorsPrompt, answer: tellOne(objects, func(p pair) string { return p.color })}
}

func shapesOf(_ *stream, objects []object) ask {
	return ask{form: captionForm, text: shapesPrompt, answer: tellOne(objects, func(p pair) string { return p.shape })}
}

func captionOf(words func(r *stream, objects []object) string) func(r *stream, objects []object) ask {
	return func(r *stream, objects []object) ask {
		return ask{form: captionForm, text: pick(r, captionPrompts), answer: words(r, objects)}
	}
}

// captionForm is the form of a request to describe.
const captionForm = "caption"

// remarks are descriptions of a scene by its colours, by its shapes, in any phrasing, and of two objects relative to
// each other.
func remarks(r *stream, objects []object) (asks []ask) {
	for _, words := range shuffled(r, []func(*stream, []object) string{tellByColor, tellByShape, tell, tellBetween}) {
		asks = append(asks, captionOf(words)(r, objects))
	}
	return asks
}

// pictureTold is a conversation in which an image is described four times.
func pictureTold(r *stream, pictures []picture) row {
	p := pick(r, pictures)
	return row{Image: p.name, Conversations: dialog("<image>", remarks(r, p.scene.objects))}
}

// wordScene is a conversation about a scene that is described in words: often part of the description is repeated
// first, in other words, and then a question of each form follows. Relations between two objects take two look-ups, and
// are asked about more often.
func wordScene(r *stream, _ []picture) row {
	s := toldScene(r)
	var asks []ask
	if r.intN(2) == 0 {
		asks = append(asks, remarks(r, s.objects)[0])
	}
	asks = append(asks, converse(r, s, len(forms), false)...)
	asks = append(asks, shuffled(r, askRelation(relationPattern, s.objects))[:min(3, len(s.objects)-1)]...)
	return row{Conversations: dialog(tellAll(r, s.objects), asks)}
}

// echo is a conversation in which each answer repeats the turn before it, word for word. Words are drawn at random, so
// that only looking back helps: small models first learn to look back from such rows (Olsson et al. 2022, "In-context
// Learning and Induction Heads"), and then to answer questions that way. A held-out pair never appears in them.
func echo(r *stream, _ []picture) (out row) {
	for range 2 {
		text := echoText(r)
		out.Conversations = append(out.Conversations, message{"human", text}, message{"gpt", text})
	}
	return out
}

func echoText(r *stream) string {
	list := make([]string, 8+r.intN(13))
	for k := range list {
		list[k] = pick(r, echoWords)
		for k > 0 && slices.Contains(heldOut, pair{list[k-1], list[k]}) {
			list[k] = pick(r, echoWords)
		}
	}
	return strings.Join(list, " ")
}

// echoWords are the colors and shapes, and the words of the answers.
var echoWords = slices.Concat(colors, shapes, toldColors, toldShapes,
	strings.Fields("top bottom left right above below a in the and of there yes no 1 2 3"))
