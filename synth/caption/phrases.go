package caption

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/caption/phrase"
)

// Auto is the value of Options.Phrases for phrases that are found here.
const Auto = "auto"

// normalForms changes phrases into their normal forms.
func normalForms(phrases []string) []string {
	for i, found := range phrases {
		phrases[i] = phrase.Normal(found)
	}
	return phrases
}

// phraseLine is a line of a file of phrases.
type phraseLine struct {
	ID      label    `json:"id"`
	Phrases []string `json:"phrases"`
}

func readPhraseLine(text []byte) (line phraseLine, err error) {
	if err := json.Unmarshal(text, &line); err != nil {
		return line, wrongType(err)
	}
	if line.ID == "" || line.Phrases == nil {
		return line, errors.New(`it has no "id" or no "phrases"; a line is {"id": "…", "phrases": ["…", …]}`)
	}
	line.Phrases = normalForms(line.Phrases)
	return line, nil
}

// addFromFile adds the phrases that a file gives for the captions of the index. It returns how many captions have a
// line in it, and how many lines are for none.
func (x *index) addFromFile(ctx context.Context, path string) (found, strangers int, err error) {
	captions := newFinder(&x.ids)
	add := func(line phraseLine) error {
		caption, ok := captions.find(string(line.ID))
		if !ok {
			strangers++
			return nil
		}
		found++
		x.addPhrases(caption, line.Phrases)
		return nil
	}
	read := func(l line) (phraseLine, error) {
		read, err := readPhraseLine(l.text)
		if err != nil {
			err = failure.Inputf("%s: line %d: %w", path, l.number, err)
		}
		return read, err
	}
	err = inOrder(ctx, func(next func(line) error) error { return phraseLines(path, next) }, read, add)
	return found, strangers, err
}

// phraseLines hands out the lines of a file, each with a text of its own.
func phraseLines(path string, next func(line) error) error {
	var stopped error
	f := &file{path: path}
	err := f.open(func(text *bufio.Reader) error {
		return eachLine(text, func(l line) error {
			l.text = bytes.Clone(l.text)
			stopped = next(l)
			return stopped
		})
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// addFound adds captions and the phrases that are found in them.
func (x *index) addFound(ctx context.Context, produce func(next func(Caption) error) error) error {
	type found struct {
		id    string
		forms []string
	}
	chunker := phrase.Open()
	return inOrder(ctx, produce, func(c Caption) (found, error) {
		return found{c.ID, normalForms(chunker.Find(c.Text))}, nil
	}, func(f found) error {
		x.addPhrases(x.ids.add(f.id), f.forms)
		return nil
	})
}
