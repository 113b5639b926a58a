package data

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
)

// round is a question and its answer, checked and with the image placeholder where the model will see it.
type round struct {
	question, answer string
	trained          bool
}

// conversation is a record ready to be rendered.
type conversation struct {
	system string // replaces the template's own unless ""
	rounds []round
}

// converse checks a record and pairs its turns. It refuses everything that the original loses, mangles or fails on
// (docs/differences.md), and says how to fix it.
func (e *Encoder) converse(r rows.Record) (conversation, error) {
	var c conversation
	turns, skipped := r.Turns, 0
	if len(turns) > 0 && turns[0].Role == "system" {
		if err := e.checkSystem(turns[0].Text); err != nil {
			return c, err
		}
		c.system, turns, skipped = turns[0].Text, turns[1:], 1
	}
	if len(turns) > 0 && turns[0].Role == "gpt" && !e.template.caption {
		turns, skipped = turns[1:], skipped+1 // the original drops it too
	}
	if err := e.checkOrder(turns, skipped); err != nil {
		return c, err
	}
	if err := e.checkImages(turns, skipped, len(r.Images)); err != nil {
		return c, err
	}
	for i := 0; i < len(turns); i += 2 {
		question, err := e.turnText(turns[i], i+skipped)
		if err != nil {
			return c, err
		}
		answer, err := e.turnText(turns[i+1], i+1+skipped)
		if err != nil {
			return c, err
		}
		c.rounds = append(c.rounds, round{question, answer, !turns[i+1].Untrained})
	}
	if !slices.ContainsFunc(c.rounds, func(r round) bool { return r.trained }) {
		return c, picture.BadRow("no answer of the row is trained (weight 0, loss or train false): remove the row")
	}
	return c, nil
}

// checkSystem checks a system message, which the original's training does not support.
func (e *Encoder) checkSystem(text string) error {
	switch {
	case e.template.system == "":
		return picture.BadRow("turn 1 (system): template %q has no place for a system message: "+
			"choose another template or remove the turn", e.template.Name)
	case text == "":
		return picture.BadRow("turn 1 (system) is empty: fill it or remove it")
	case strings.Contains(text, rows.ImageMark):
		return picture.BadRow("turn 1 (system) holds %s: an image belongs to a human turn", rows.ImageMark)
	}
	return e.checkText(rows.Turn{Role: "system", Text: text}, 0, text)
}

// checkOrder requires human and gpt to alternate, ending with gpt. Messages count turns from 1.
func (e *Encoder) checkOrder(turns []rows.Turn, skipped int) error {
	for i, turn := range turns {
		if want := [2]string{"human", "gpt"}[i%2]; turn.Role != want {
			return picture.BadRow("turn %d is from %q where %q is expected: turns must alternate, human first",
				i+skipped+1, turn.Role, want)
		}
	}
	switch {
	case len(turns) == 0:
		return picture.BadRow("row has no human turn: it needs at least a question from human and an answer from gpt")
	case len(turns)%2 == 1:
		return picture.BadRow("row ends with turn %d, from human: add the answer or remove the turn",
			len(turns)+skipped)
	case e.template.caption && len(turns) > 2:
		return picture.BadRow("row has %d turns; template %q takes one question and one caption",
			len(turns), e.template.Name)
	}
	return nil
}

// checkImages requires one image placeholder for each image.
func (e *Encoder) checkImages(turns []rows.Turn, skipped, images int) error {
	marks := 0
	for i, turn := range turns {
		n := strings.Count(turn.Text, rows.ImageMark)
		marks += n
		if n > 0 && images == 0 {
			return picture.BadRow("turn %d holds %s but the row has no image: add the image or remove the placeholder",
				i+skipped+1, rows.ImageMark)
		}
	}
	if marks != images {
		return picture.BadRow("row has %d image(s) but %d %s: put one %s into a human turn for each image",
			images, marks, rows.ImageMark, rows.ImageMark)
	}
	if e.template.caption && (images != 1 || !strings.Contains(turns[0].Text, rows.ImageMark)) {
		return picture.BadRow("template %q takes one image, with its %s in turn 1", e.template.Name, rows.ImageMark)
	}
	return nil
}

// turnText is a turn's text as it is tokenised.
func (e *Encoder) turnText(turn rows.Turn, index int) (string, error) {
	if e.template.caption && index == 0 {
		return rows.ImageMark, nil // the words of the question are not used
	}
	text := e.placeImage(turn.Text)
	if e.template.trim {
		text = strings.TrimFunc(text, rows.IsSpace)
	}
	if text == "" {
		return "", picture.BadRow("turn %d (%s) is empty: fill it or remove it with its partner", index+1, turn.Role)
	}
	return text, e.checkText(turn, index, text)
}

// checkText refuses text that the tokenizer or the template would take for something else.
func (e *Encoder) checkText(turn rows.Turn, index int, text string) error {
	words := strings.ReplaceAll(text, rows.ImageMark, "")
	if control := e.tokenizer.ControlIn(words); control != "" {
		return picture.BadRow("turn %d (%s) holds %q, which the tokenizer reads as a control token: "+
			"remove or respell it", index+1, turn.Role, control)
	}
	if marker := e.template.markerIn(words); marker != "" {
		return picture.BadRow("turn %d (%s) holds %q, which template %q writes around turns: remove or respell it",
			index+1, turn.Role, marker, e.template.Name)
	}
	if missing := e.tokenizer.Missing(words); missing != "" {
		r, _ := utf8.DecodeRuneInString(missing)
		return picture.BadRow("turn %d (%s) holds %q (%U), for which the tokenizer has no token: remove or replace it",
			index+1, turn.Role, missing, r)
	}
	if reserved := e.template.reserved; reserved != "" && strings.Contains(text, reserved) {
		return picture.BadRow("turn %d (%s) holds %q, which template %q uses to start an answer: remove or respell it",
			index+1, turn.Role, reserved, e.template.Name)
	}
	for _, name := range unfilled {
		mark := "<" + name + ">"
		if strings.Contains(text, mark) && !strings.Contains(text, "</"+name+">") { // not a tag of HTML
			return picture.BadRow("turn %d (%s) holds %s, which nothing fills, so the model would see these letters: "+
				"write what is meant, or remove the row", index+1, turn.Role, mark)
		}
	}
	return nil
}

// unfilled are the placeholders of other programs for what this one does not read.
var unfilled = []string{"video", "audio", "bbox", "ref-object"}

// placeImage moves a turn's only image placeholder to the front, on a separate line (preprocess_multimodal in
// llava/train/train.py). Several placeholders stay where they are, as in LLaVA-NeXT's version of that function: the
// text may refer to them by position.
func (e *Encoder) placeImage(text string) string {
	mark := e.template.image[0] + rows.ImageMark + e.template.image[1]
	switch strings.Count(text, rows.ImageMark) {
	case 0:
		return text
	case 1:
		rest := strings.TrimFunc(strings.ReplaceAll(text, rows.ImageMark, ""), rows.IsSpace)
		if rest == "" {
			return mark
		}
		return mark + "\n" + rest
	}
	return strings.ReplaceAll(strings.TrimFunc(text, rows.IsSpace), rows.ImageMark, mark)
}

// render turns a conversation into spans of text.
func (t *Template) render(c conversation) []span {
	var spans []span
	before := c.rounds[0] // the round whose end a trained span before a question is
	for i, r := range c.rounds {
		last := i == len(c.rounds)-1
		asked := t.question(c.system, i, r.question, last)
		for k := range asked {
			if k < len(t.before(i)) {
				asked[k].trained = asked[k].trained && before.trained
			} else {
				asked[k].trained = asked[k].trained && r.trained
			}
		}
		if last && t.final != "" {
			r.answer = strings.TrimLeft(r.answer, "\n")
		}
		spans = append(append(spans, asked...), span{text: t.lead + r.answer + t.close, trained: r.trained})
		before = r
	}
	return append(spans, span{text: t.tail, trained: before.trained})
}

// before is what stands before the question of round i.
func (t *Template) before(i int) []span {
	if i == 0 {
		return t.first
	}
	return t.next
}

// question is round i up to the start of its answer.
func (t *Template) question(system string, i int, text string, last bool) []span {
	spans := append([]span(nil), t.before(i)...)
	if i == 0 && system != "" {
		spans[0].text = strings.Replace(spans[0].text, t.system, system, 1)
	}
	spans = append(append(spans, span{text: text}), t.header...)
	if last && t.final != "" {
		spans = append(spans, span{text: t.final})
	}
	return spans
}
