package convert

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The lines that name the answer's form, as LLaVA-1.5's mixture and its evaluation have them.
const (
	shortLine  = "Answer the question using a single word or phrase."
	letterLine = "Answer with the option's letter from the given choices directly."
)

// imageMark is where the picture stands in a question.
const imageMark = "<image>"

// pair is a question and its answer.
type pair struct{ question, answer string }

// fault says why a pair cannot be trained on; "" if it can.
func (p pair) fault() string {
	switch {
	case p.question == "":
		return "no question"
	case p.answer == "":
		return "no answer"
	case strings.Contains(p.question, imageMark) || strings.Contains(p.answer, imageMark):
		return "an image mark in the text"
	case strings.ContainsRune(p.question, utf8.RuneError) || strings.ContainsRune(p.answer, utf8.RuneError):
		return "damaged characters"
	}
	return ""
}

// sound says whether a pair can be trained on, and counts it as dropped if not.
func (c *conversion) sound(p pair) bool {
	fault := p.fault()
	if fault != "" {
		c.drop(fault)
	}
	return fault == ""
}

// groups collects things by picture, in the order of each picture's first.
type groups[K comparable, T any] struct {
	order []K
	of    map[K][]T
}

func newGroups[K comparable, T any]() *groups[K, T] { return &groups[K, T]{of: map[K][]T{}} }

func (g *groups[K, T]) add(picture K, thing T) {
	all, known := g.of[picture]
	if !known {
		g.order = append(g.order, picture)
	}
	g.of[picture] = append(all, thing)
}

// each visits the pictures in order, and forgets them on the way.
func (g *groups[K, T]) each(visit func(picture K, things []T) error) error {
	for _, picture := range g.order {
		if err := visit(picture, g.of[picture]); err != nil {
			return err
		}
		delete(g.of, picture)
	}
	return nil
}

// emit passes a complete picture on.
func (c *conversion) emit(id string, rows ...row) error { return c.out.add(c.draw(id), rows) }

// row makes a row of pairs. line names the answer's form, "" for none. A row without picture has image "".
func (c *conversion) row(id, image, line string, pairs []pair) row {
	turns := make([]turn, 0, 2*len(pairs))
	for i, p := range pairs {
		question := p.question
		if i == 0 && image != "" {
			question = imageMark + "\n" + question
		}
		if line != "" && (i == 0 || c.Prompt == "every") {
			question += "\n" + line
		}
		turns = append(turns, turn{"human", question}, turn{"gpt", p.answer})
	}
	return row{ID: id, Image: image, Turns: turns}
}

// coco is the path of one of COCO's pictures. All that the sets use are in train2017.
func coco(id int64) string { return fmt.Sprintf("coco/train2017/%012d.jpg", id) }

// fileName refuses identifiers that are no file names: they become part of a path.
func (e entry) fileName(id string) error {
	if !filepath.IsLocal(id) || id == "." || strings.ContainsAny(id, `/\`) ||
		strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return e.fault("%s names a picture, and is not the name of a file", shortened(id))
	}
	return nil
}

// tidy makes all white space single spaces.
func tidy(text string) string { return strings.Join(strings.Fields(text), " ") }

// answered is an answer as it is written: tidy, and with a capital if it begins with an ASCII letter.
func answered(text string) string {
	text = tidy(text)
	if text != "" && 'a' <= text[0] && text[0] <= 'z' {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	return text
}

// lettered are the lines of a question's options: "A. …".
func lettered(options []string) string {
	var lines strings.Builder
	for i, option := range options {
		lines.WriteString("\n" + letter(i) + ". " + option)
	}
	return lines.String()
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func letter(i int) string { return letters[i : i+1] }

// choiceFault says why a list of options cannot be asked; "" if it can. right is the number of the right one, nil if it
// is not marked.
func choiceFault(options []string, right *int) string {
	switch {
	case right == nil || *right < 0 || *right >= len(options):
		return "no choice is marked as right"
	case len(options) > len(letters):
		return "more choices than letters"
	}
	for _, option := range options {
		if strings.TrimSpace(option) == "" {
			return "an empty choice"
		}
	}
	return ""
}
