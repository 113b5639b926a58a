package data

import (
	"strings"
	"unicode"
)

// round is a question and its answer, checked and with the image mark where the model will see it.
type round struct{ question, answer string }

// rounds pairs the turns of a record. It refuses, with what to do, everything that the original loses, mangles or fails on
// (docs/differences.md).
func (e *Encoder) rounds(r Record) ([]round, error) {
	turns, skipped := r.Turns, 0
	if len(turns) > 0 && turns[0].Role == "gpt" && !e.template.caption {
		turns, skipped = turns[1:], 1 // the original drops it too
	}
	if err := e.checkOrder(turns, skipped); err != nil {
		return nil, err
	}
	if err := e.checkImages(turns, skipped, len(r.Images)); err != nil {
		return nil, err
	}
	var rounds []round
	for i := 0; i < len(turns); i += 2 {
		question, err := e.turnText(turns[i], i+skipped)
		if err != nil {
			return nil, err
		}
		answer, err := e.turnText(turns[i+1], i+1+skipped)
		if err != nil {
			return nil, err
		}
		rounds = append(rounds, round{question, answer})
	}
	return rounds, nil
}

// checkOrder wants human and gpt in turn, gpt last. Messages count turns from 1.
func (e *Encoder) checkOrder(turns []Turn, skipped int) error {
	for i, turn := range turns {
		if want := [2]string{"human", "gpt"}[i%2]; turn.Role != want {
			return badRow("turn %d is from %q where %q is expected: turns must alternate, human first", i+skipped+1, turn.Role, want)
		}
	}
	switch {
	case len(turns) == 0:
		return badRow("row has no human turn: it needs at least a question from human and an answer from gpt")
	case len(turns)%2 == 1:
		return badRow("row ends with turn %d, from human: add the answer or remove the turn", len(turns)+skipped)
	case e.template.caption && len(turns) > 2:
		return badRow("row has %d turns; template %q takes one question and one caption", len(turns), e.template.Name)
	}
	return nil
}

// checkImages wants one image mark for each image, each in a turn of its own.
func (e *Encoder) checkImages(turns []Turn, skipped, images int) error {
	marks := 0
	for i, turn := range turns {
		n := strings.Count(turn.Text, imageMark)
		marks += n
		switch {
		case n > 0 && images == 0:
			return badRow("turn %d holds %s but the row has no image: name the image or remove the mark", i+skipped+1, imageMark)
		case n > 1:
			return badRow("turn %d holds %d %s: leave one", i+skipped+1, n, imageMark)
		}
	}
	if marks != images {
		return badRow("row has %d image(s) but %d %s: put one %s into a human turn for each image", images, marks, imageMark, imageMark)
	}
	if e.template.caption && (images != 1 || !strings.Contains(turns[0].Text, imageMark)) {
		return badRow("template %q takes one image, with its %s in turn 1", e.template.Name, imageMark)
	}
	return nil
}

// turnText is a turn's text as it is tokenised.
func (e *Encoder) turnText(turn Turn, index int) (string, error) {
	if e.template.caption && index == 0 {
		return imageMark, nil // the words of the question are not used
	}
	text := e.placeImage(turn.Text)
	if e.template.trim {
		text = strings.TrimFunc(text, isSpace)
	}
	if text == "" {
		return "", badRow("turn %d (%s) is empty: fill it or remove it with its partner", index+1, turn.Role)
	}
	if control := e.tokenizer.controlIn(strings.ReplaceAll(text, imageMark, "")); control != "" {
		return "", badRow("turn %d (%s) holds %q, which the tokenizer takes for a control token: remove or respell it", index+1, turn.Role, control)
	}
	if reserved := e.template.reserved; reserved != "" && strings.Contains(text, reserved) {
		return "", badRow("turn %d (%s) holds %q, which template %q uses to start an answer: remove or respell it", index+1, turn.Role, reserved, e.template.Name)
	}
	return text, nil
}

// placeImage moves a turn's image mark to the front, on a line of its own (preprocess_multimodal in llava/train/train.py).
func (e *Encoder) placeImage(text string) string {
	if !strings.Contains(text, imageMark) {
		return text
	}
	mark := e.template.image[0] + imageMark + e.template.image[1]
	rest := strings.TrimFunc(strings.ReplaceAll(text, imageMark, ""), isSpace)
	if rest == "" {
		return mark
	}
	return mark + "\n" + rest
}

// isSpace is Python's str.isspace, which the original strips and splits by.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// render spells a conversation out.
func (t *Template) render(rounds []round) []span {
	var spans []span
	for i, r := range rounds {
		spans = append(spans, t.question(i, r.question)...)
		spans = append(spans, span{t.lead + r.answer + t.close, true})
	}
	return append(spans, span{t.tail, true})
}

// question is round i up to where its answer begins.
func (t *Template) question(i int, text string) []span {
	before := t.next
	if i == 0 {
		before = t.first
	}
	spans := append([]span(nil), before...)
	spans = append(spans, span{text: text})
	return append(spans, t.header...)
}
