package synth

import "path/filepath"

// WriteBase writes what the demo's base learns from, below dir: captions.json with its pictures in images, and
// conversations.json, text-only rows whose first turn is a scene in words, a line break and a question, just as a picture and a
// question stand in the demo's rows. The sets are disjoint from the demo's; no held-out pair is in them. progress is as for WriteDemo.
func WriteBase(dir string, options Options, progress func(done, total int)) error {
	o := options.withDefaults()
	captioned, pictures := captions(o.Seed, "base", o.BaseCaptions)
	if err := writePictures(filepath.Join(dir, "images"), pictures, progress); err != nil {
		return err
	}
	if err := writeArray(filepath.Join(dir, "captions.json"), captioned); err != nil {
		return err
	}
	return writeArray(filepath.Join(dir, "conversations.json"), wordScenes(o.Seed, "words", o.BaseConversations))
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
// again in reading order: a dense lesson in looking things up, without which answering is learnt late or not at all.
func wordScenes(seed uint64, set string, n int) []row {
	rows := make([]row, n)
	for i := range rows {
		r := newStream(seed, set, i)
		s := trainingScene(r)
		var asks []ask
		if r.intN(4) > 0 {
			asks = append(asks, ask{form: captionForm, text: pick(r, captionPrompts), answer: describe(s.objects)})
		}
		asks = append(asks, converse(r, s, 3+r.intN(2), false)...)
		rows[i] = row{ID: itemName(set, i), Conversations: dialog(describe(shuffled(r, s.objects)), asks)}
	}
	return rows
}

// captionForm is the form of a request to describe.
const captionForm = "caption"
