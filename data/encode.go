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
// The ids are those of the original, which cuts the spelled-out conversation at each <image> and tokenises every piece on its own.
// The labels follow from where a token's text lies, in a trained part of the template or not, never from counting tokens.
type Encoder struct {
	tokenizer   *tokenizer.Tokenizer
	template    *Template
	maxLength   int
	imageTokens int
}

// NewEncoder makes an encoder for samples of at most maxLength positions, of which each image takes imageTokens.
func NewEncoder(t *tokenizer.Tokenizer, tpl *Template, maxLength, imageTokens int) (*Encoder, error) {
	if err := tpl.check(t); err != nil {
		return nil, failure.Input(err)
	}
	return &Encoder{tokenizer: t, template: tpl, maxLength: maxLength, imageTokens: imageTokens}, nil
}

// Encode fills a sample's ID, IDs, Labels and Cut. A sample longer than maxLength loses its end, as in the original. An error wraps
// ErrRow: the row cannot be used as it is.
func (e *Encoder) Encode(r rows.Record) (Sample, error) {
	conversation, err := e.converse(r)
	if err != nil {
		return Sample{}, err
	}
	s, lastImage := e.tokenize(e.template.render(conversation))
	s.ID = r.ID
	if length := len(s.IDs); length > e.maxLength {
		if lastImage > e.maxLength {
			return Sample{}, picture.BadRow("image does not fit within %d positions (max_length): shorten the text before it", e.maxLength)
		}
		s.Cut = length - e.maxLength
		s.IDs, s.Labels = s.IDs[:e.maxLength], s.Labels[:e.maxLength]
	}
	if !slices.ContainsFunc(s.Labels, func(label int32) bool { return label != Ignore }) {
		return Sample{}, picture.BadRow("sample takes %d positions and nothing to learn is left within %d (max_length): shorten the question", len(s.IDs)+s.Cut, e.maxLength)
	}
	return s, nil
}

// Settings spells out what, beside tokenizer and template, ids and labels depend on.
func (e *Encoder) Settings() string {
	return fmt.Sprintf("%s, max_length %d, %d features an image", e.template.Name, e.maxLength, e.imageTokens)
}

// Check is Encode without the numbers: it refuses what Encode refuses, except for lengths, at a fraction of the time.
func (e *Encoder) Check(r rows.Record) error {
	_, err := e.converse(r)
	return err
}

// Prompt is the ids that ask question, with or without an image, in a conversation's first round: exactly those that a training
// sample has up to where its answer begins.
func (e *Encoder) Prompt(question string, image bool) ([]int32, error) {
	r := rows.Record{Turns: []rows.Turn{{Role: "human", Text: question}, {Role: "gpt", Text: "answer"}}}
	if image {
		r.Images = []picture.Image{{Path: "image"}}
		if !strings.Contains(question, rows.ImageMark) {
			r.Turns[0].Text = rows.ImageMark + "\n" + question
		}
	}
	conversation, err := e.converse(r)
	if err != nil {
		return nil, fmt.Errorf("prompt: %w", err)
	}
	s, _ := e.tokenize(e.template.question("", 0, conversation.rounds[0].question, true))
	return s.IDs, nil
}

// Stop is what ends a generated answer: any of ids, or the text, if it is not empty.
func (e *Encoder) Stop() (ids []int32, text string) {
	ids = []int32{e.tokenizer.Eos}
	switch id, ok := e.tokenizer.Special(e.template.stop); {
	case !ok:
		return ids, e.template.stop
	case id != e.tokenizer.Eos:
		ids = append(ids, id)
	}
	return ids, ""
}

// tokenize is the ids and labels of a conversation at full length, and where its last image ends.
func (e *Encoder) tokenize(spans []span) (s Sample, lastImage int) {
	text, trained := join(spans)
	add := func(id, label int32) {
		s.IDs = append(s.IDs, id)
		s.Labels = append(s.Labels, label)
	}
	if e.tokenizer.AddBOS {
		add(e.tokenizer.Bos, Ignore)
	}
	at := 0
	for i, piece := range strings.Split(text, rows.ImageMark) {
		if i > 0 {
			for range e.imageTokens {
				add(ImageToken, Ignore)
			}
			at, lastImage = at+len(rows.ImageMark), len(s.IDs)
		}
		for _, token := range e.tokenizer.Encode(piece) {
			if trained.at(at + token.Start) {
				add(token.ID, token.ID)
			} else {
				add(token.ID, Ignore)
			}
		}
		at += len(piece)
	}
	return s, lastImage
}

// extents says which bytes of a text are trained: extent k reaches from the end of the one before to its own.
type extents struct {
	ends    []int
	trained []bool
	k       int // the extent of the last position asked for
}

// join puts spans together.
func join(spans []span) (string, *extents) {
	var text strings.Builder
	x := &extents{}
	for _, s := range spans {
		text.WriteString(s.text)
		x.ends = append(x.ends, text.Len())
		x.trained = append(x.trained, s.trained)
	}
	return text.String(), x
}

// at says whether the byte at pos is trained; pos must not decrease from call to call.
func (x *extents) at(pos int) bool {
	for x.ends[x.k] <= pos {
		x.k++
	}
	return x.trained[x.k]
}
