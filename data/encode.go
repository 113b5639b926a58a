package data

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Encoder turns records into ids and labels by a template. It is safe for concurrent use.
//
// The ids are those of the original, which cuts the rendered conversation at each <image> and tokenises every piece
// separately. A label follows from whether its token's text lies in a trained part of the template, never from counting
// tokens.
type Encoder struct {
	tokenizer *tokenizer.Tokenizer
	template  *Template
	maxLength int
	positions picture.Positions
}

// NewEncoder makes an encoder for samples of at most maxLength positions, of which each image takes as many as
// positions says.
func NewEncoder(t *tokenizer.Tokenizer, tpl *Template, maxLength int, positions picture.Positions) (*Encoder, error) {
	if err := tpl.check(t); err != nil {
		return nil, failure.Input(err)
	}
	return &Encoder{tokenizer: t, template: tpl, maxLength: maxLength, positions: positions}, nil
}

// Encode fills a sample's ID, IDs, Labels and Cut, and the Layout of each of its Images. A sample longer than
// maxLength is truncated at the end, as in the original. An error wraps ErrRow, since the row cannot be used as it is,
// or was returned by sizes.
func (e *Encoder) Encode(r rows.Record, sizes ImageSizes) (Sample, error) {
	conversation, err := e.converse(r)
	if err != nil {
		return Sample{}, err
	}
	s, lastImage, err := e.tokenize(e.template.render(conversation), sizes)
	if err != nil {
		return Sample{}, err
	}
	s.ID = r.ID
	if length := len(s.IDs); length > e.maxLength {
		if lastImage > e.maxLength {
			return Sample{}, picture.BadRow(
				"image does not fit within %d positions (max_length): shorten the text before it", e.maxLength)
		}
		s.Cut = length - e.maxLength
		s.IDs, s.Labels = s.IDs[:e.maxLength], s.Labels[:e.maxLength]
	}
	if !slices.ContainsFunc(s.Labels, func(label int32) bool { return label != Ignore }) {
		return Sample{}, picture.BadRow(
			"sample takes %d positions and the first %d (max_length) hold no supervised token: shorten the question",
			len(s.IDs)+s.Cut, e.maxLength)
	}
	return s, nil
}

// Settings describes the settings, beside tokenizer and template, that ids and labels depend on.
func (e *Encoder) Settings() string {
	return fmt.Sprintf("%s, max_length %d, %v", e.template.Name, e.maxLength, e.positions)
}

// Check is Encode without computing ids: it refuses what Encode refuses, except for lengths, in a fraction of the time.
func (e *Encoder) Check(r rows.Record) error {
	_, err := e.converse(r)
	return err
}

// Prompt is a sample that asks question in a conversation's first round, about images, without supervised tokens. Its
// ids are exactly those of a training sample up to the start of its answer. The images stand where question has
// placeholders, or before it if it has none. system replaces the template's own system message unless "".
func (e *Encoder) Prompt(system, question string, images ...picture.Picture) (Sample, error) {
	conversation, err := e.answered(system, question, "answer", len(images))
	if err != nil {
		return Sample{}, err
	}
	return e.ask(e.template.question(conversation.system, 0, conversation.rounds[0].question, true), images)
}

// Continuation is the tokens of an answer behind [Encoder.Prompt] of the same question: those that training supervises,
// with what ends the answer.
func (e *Encoder) Continuation(system, question, answer string, images ...picture.Picture) (ids []int32, err error) {
	prompt, err := e.Prompt(system, question, images...)
	if err != nil {
		return nil, err
	}
	conversation, err := e.answered(system, question, answer, len(images))
	if err != nil {
		return nil, err
	}
	whole, _, err := e.tokenize(e.template.render(conversation), func(i int) (width, height int, err error) {
		return images[i].Width, images[i].Height, nil
	})
	if err != nil {
		return nil, fmt.Errorf("prompt: %w", err)
	}
	for i, label := range whole.Labels {
		if i >= len(prompt.IDs) && label != Ignore {
			ids = append(ids, label)
		}
	}
	return ids, nil
}

// answered is a conversation of one round.
func (e *Encoder) answered(system, question, answer string, images int) (conversation, error) {
	if !strings.Contains(question, rows.ImageMark) {
		question = strings.Repeat(rows.ImageMark+"\n", images) + question
	}
	r := rows.Record{Turns: []rows.Turn{{Role: "human", Text: question}, {Role: "gpt", Text: answer}}}
	r.Images = make([]picture.Image, images)
	if system != "" {
		r.Turns = append([]rows.Turn{{Role: "system", Text: system}}, r.Turns...)
	}
	c, err := e.converse(r)
	if err != nil {
		return c, fmt.Errorf("prompt: %w", err)
	}
	return c, nil
}

// Stop says what ends a generated answer: any of ids, or the text if it is not empty.
func (e *Encoder) Stop() (ids []int32, text string) {
	ids = []int32{e.tokenizer.EOS}
	switch id, ok := e.tokenizer.Special(e.template.stop); {
	case !ok:
		return ids, e.template.stop
	case id != e.tokenizer.EOS:
		ids = append(ids, id)
	}
	return ids, ""
}

// tokenize returns the ids, labels and images of a conversation at full length, and where its last image ends.
func (e *Encoder) tokenize(spans []span, sizes ImageSizes) (s Sample, lastImage int, err error) {
	text, x := join(spans)
	add := func(id, label int32) {
		s.IDs = append(s.IDs, id)
		s.Labels = append(s.Labels, label)
	}
	if begin, ok := e.tokenizer.Special(e.template.begin); ok && e.template.begin != "" {
		add(begin, Ignore)
	} else if e.tokenizer.AddBOS {
		add(e.tokenizer.BOS, Ignore)
	}
	at := 0
	pieces := cutAtMarks(text, x.literal)
	for i, piece := range pieces {
		if i > 0 {
			size := func() (width, height int, err error) { return sizes(i - 1) }
			layout, err := e.positions.Of(len(pieces) > 2, size)
			if err != nil {
				return Sample{}, 0, err
			}
			s.Images, s.Before = append(s.Images, picture.Picture{Layout: layout}), append(s.Before, len(s.IDs))
			for range layout.Positions() {
				add(ImageToken, Ignore)
			}
			at, lastImage = at+len(rows.ImageMark), len(s.IDs)
		}
		for _, token := range e.tokenizer.EncodeWith(piece, x.literalFrom(at)) {
			if x.at(at + token.Start) {
				add(token.ID, token.ID)
			} else {
				add(token.ID, Ignore)
			}
		}
		at += len(piece)
	}
	return s, lastImage, nil
}

// cutAtMarks cuts text at each <image> that was not typed.
func cutAtMarks(text string, typed func(at int) bool) (pieces []string) {
	from, search := 0, 0
	for {
		at := strings.Index(text[search:], rows.ImageMark)
		if at < 0 {
			return append(pieces, text[from:])
		}
		at += search
		search = at + len(rows.ImageMark)
		if !typed(at) {
			pieces, from = append(pieces, text[from:at]), search
		}
	}
}

// extents says which bytes of a text are trained, and which were typed by someone who is not trusted: extent k starts
// where extent k-1 ends.
type extents struct {
	ends           []int
	trained, typed []bool
	anyTyped       bool
	k              int // the extent of the last position asked for
}

// join concatenates spans.
func join(spans []span) (string, *extents) {
	var text strings.Builder
	x := &extents{}
	for _, s := range spans {
		text.WriteString(s.text)
		x.ends = append(x.ends, text.Len())
		x.trained, x.typed = append(x.trained, s.trained), append(x.typed, s.typed)
		x.anyTyped = x.anyTyped || s.typed
	}
	return text.String(), x
}

// at reports whether the byte at pos is trained; pos must not decrease from call to call.
func (x *extents) at(pos int) bool {
	for x.ends[x.k] <= pos {
		x.k++
	}
	return x.trained[x.k]
}

// literal reports whether the byte at pos was typed.
func (x *extents) literal(pos int) bool {
	k, _ := slices.BinarySearch(x.ends, pos+1)
	return x.typed[k]
}

// literalFrom is literal for a piece of the text that begins at pos; nil if nothing was typed.
func (x *extents) literalFrom(pos int) func(at int) bool {
	if !x.anyTyped {
		return nil
	}
	return func(at int) bool { return x.literal(pos + at) }
}
