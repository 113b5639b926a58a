package data

import (
	"fmt"
	"strings"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// ChatTurn is a question and its answer in a conversation with someone who is not trusted.
type ChatTurn struct {
	Text   string
	Images int    // that belong to it; they stand before its text
	Answer string // "" for the question to be answered
}

// Chat is a sample that asks the last question of a conversation, without supervised tokens. What the turns say is
// text: special tokens and <image> in it mean nothing. system replaces the template's own system message unless "". For
// text without such the ids are those of Prompt. An error says what is wrong with the conversation.
func (e *Encoder) Chat(system string, turns []ChatTurn, images ...picture.Picture) (Sample, error) {
	spans, err := e.template.chat(system, turns)
	if err != nil {
		return Sample{}, err
	}
	marks := 0
	for _, turn := range turns {
		marks += turn.Images
	}
	if marks != len(images) {
		return Sample{}, failure.Inputf("the turns take %d images and %d are given", marks, len(images))
	}
	return e.ask(spans, images)
}

// Written is a conversation's text as Chat encodes it, with an <image> for each image, and the text that ends an
// answer, for a server that takes no conversations.
func (t *Template) Written(system string, turns []ChatTurn) (text, stop string, err error) {
	spans, err := t.chat(system, turns)
	if err != nil {
		return "", "", err
	}
	text, _ = join(spans)
	return text, t.stop, nil
}

// chat writes a conversation out. What the turns say is marked as typed.
func (t *Template) chat(system string, turns []ChatTurn) (spans []span, err error) {
	switch {
	case t.caption:
		return nil, failure.Inputf("template %q writes captions and holds no conversation", t.Name)
	case len(turns) == 0:
		return nil, failure.Inputf("the conversation has no question")
	}
	lead := ""
	if system != "" && t.system == "" {
		lead, system = system+"\n", "" // the template has no place for it
	}
	for i, turn := range turns {
		last := i == len(turns)-1
		asked := t.question("", i, "", last)
		before := len(t.before(i))
		spans = append(spans, systemSpans(asked[:before], t.system, system, i == 0)...)
		spans = append(spans, t.asked(turn, lead)...)
		spans = append(spans, asked[before+1:]...)
		lead = ""
		if !last {
			answer := strings.TrimFunc(turn.Answer, rows.IsSpace)
			spans = append(spans, span{text: t.lead}, span{text: answer, typed: true}, span{text: t.close})
		}
	}
	for i := range spans {
		spans[i].trained = false
	}
	return spans, nil
}

// systemSpans puts a system message, which is typed, in the place of the template's own.
func systemSpans(spans []span, own, system string, first bool) []span {
	if !first || system == "" || len(spans) == 0 {
		return spans
	}
	before, after, ok := strings.Cut(spans[0].text, own)
	if !ok {
		return spans
	}
	return append([]span{{text: before}, {text: system, typed: true}, {text: after}}, spans[1:]...)
}

// asked is a question with its images before it, each on a line of its own. lead is typed too.
func (t *Template) asked(turn ChatTurn, lead string) []span {
	text := strings.TrimFunc(lead+turn.Text, rows.IsSpace)
	mark := t.image[0] + rows.ImageMark + t.image[1]
	marks := strings.TrimSuffix(strings.Repeat(mark+"\n", turn.Images), "\n")
	if marks != "" && text != "" {
		marks += "\n"
	}
	if turn.Images == 0 && !t.trim {
		text = lead + turn.Text
	}
	return []span{{text: marks}, {text: text, typed: true}}
}

// Raw is a sample of a text that is written out already, with the template's words and an <image> for each image, as
// LLaVA's worker gets it. Special tokens in it are special.
func (e *Encoder) Raw(text string, images ...picture.Picture) (Sample, error) {
	if marks := strings.Count(text, rows.ImageMark); marks != len(images) {
		return Sample{}, failure.Inputf("the number of images (%d) does not match the number of %s in the prompt (%d)",
			len(images), rows.ImageMark, marks)
	}
	mark := e.template.image[0] + rows.ImageMark + e.template.image[1]
	return e.ask([]span{{text: strings.ReplaceAll(text, rows.ImageMark, mark)}}, images)
}

// ask tokenises spans about images.
func (e *Encoder) ask(spans []span, images []picture.Picture) (Sample, error) {
	s, _, err := e.tokenize(spans, func(i int) (width, height int, err error) {
		return images[i].Width, images[i].Height, nil
	})
	if err != nil {
		return Sample{}, fmt.Errorf("prompt: %w", err)
	}
	for i := range s.Labels {
		s.Labels[i] = Ignore
	}
	for i := range s.Images {
		layout := s.Images[i].Layout
		s.Images[i] = images[i]
		s.Images[i].Layout = layout
	}
	return s, nil
}
