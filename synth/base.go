package synth

import (
	"path/filepath"
	"slices"
	"strings"
)

// WriteBase writes what the demo's base learns from, below dir: captions.json with its pictures in images;
// conversations.json, text-only rows whose first turn is a scene in words, a line break and a question, just as a picture and a
// question stand in the demo's rows; and echoes.json, words without sense to be said again. The sets are disjoint from the demo's; no held-out pair is in them. progress is as for WriteDemo.
func WriteBase(dir string, options Options, progress func(done, total int)) error {
	o := options.withDefaults()
	captioned, pictures := captions(o.Seed, "base", o.BaseCaptions)
	if err := writePictures(filepath.Join(dir, "images"), pictures, progress); err != nil {
		return err
	}
	if err := writeArray(filepath.Join(dir, "captions.json"), captioned); err != nil {
		return err
	}
	if err := writeArray(filepath.Join(dir, "conversations.json"), wordScenes(o.Seed, "words", o.BaseConversations)); err != nil {
		return err
	}
	return writeArray(filepath.Join(dir, "echoes.json"), echoes(o.Seed, "echoes", o.BaseEchoes))
}

// captions draws n pictures, each with its caption as the answer to a prompt before or after the picture.
func captions(seed uint64, set string, n int) (rows []row, pictures []picture) {
	for i := range n {
		r := newStream(seed, set, i)
		p := picture{itemName(set, i) + ".png", trainingScene(r)}
		prompt := "<image>\n" + pick(r, captionPrompts)
		if r.intN(2) == 0 {
			prompt = pick(r, captionPrompts) + "\n<image>"
		}
		rows = append(rows, row{itemName(set, i), p.name, []message{{"human", prompt}, {"gpt", describe(p.scene.objects)}}})
		pictures = append(pictures, p)
	}
	return rows, pictures
}

// wordScenes draws n conversations about scenes that are told in words, the objects in any order. Most begin by telling the scene
// again in reading order, and then answer many questions: looking things up is learnt late, or not at all, from few answers a row.
func wordScenes(seed uint64, set string, n int) []row {
	rows := make([]row, n)
	for i := range rows {
		r := newStream(seed, set, i)
		s := trainingScene(r)
		var asks []ask
		if r.intN(4) > 0 {
			asks = append(asks, ask{form: captionForm, text: pick(r, captionPrompts), answer: describe(s.objects)})
		}
		asks = append(asks, converse(r, s, len(forms), false)...)
		asks = append(asks, converse(r, s, 4, false)...)
		rows[i] = row{ID: itemName(set, i), Conversations: dialog(describe(shuffled(r, s.objects)), asks)}
	}
	return rows
}

// captionForm is the form of a request to describe.
const captionForm = "caption"

// echoes draws n conversations in which the answer repeats the turn before it, word by word. Words are drawn at random, so that
// nothing but looking back helps: small models learn to look back from such rows first (Olsson et al. 2022, "In-context Learning and
// Induction Heads"), and to answer questions with it then. A held-out pair never stands in them.
func echoes(seed uint64, set string, n int) []row {
	words := echoWords()
	rows := make([]row, n)
	for i := range rows {
		r := newStream(seed, set, i)
		rows[i].ID = itemName(set, i)
		for range 2 {
			text := echo(r, words)
			rows[i].Conversations = append(rows[i].Conversations, message{"human", text}, message{"gpt", text})
		}
	}
	return rows
}

func echo(r *stream, words []string) string {
	list := make([]string, 8+r.intN(13))
	for k := range list {
		list[k] = pick(r, words)
		for k > 0 && slices.ContainsFunc(heldOut, func(p pair) bool { return p.color == list[k-1] && p.shape == list[k] }) {
			list[k] = pick(r, words)
		}
	}
	return strings.Join(list, " ")
}

// echoWords are the colors and shapes, and the words of the answers.
func echoWords() []string {
	words := strings.Fields("top bottom left right above below a in the and of is there yes no 1 2 3")
	for _, p := range slices.Concat(trainingPairs, heldOut) {
		for _, w := range []string{p.color, p.shape} {
			if !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
	}
	return words
}
