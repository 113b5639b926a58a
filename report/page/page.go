package page

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strings"
)

// Page is a whole report.
type Page struct {
	Title    string
	Lead     string // a sentence or two below the title; may be empty
	Sections []Section
	Foot     string // the last line, such as what made the report; may be empty
}

// Section is a part of a page with a heading. The page begins with links to its sections if there are several.
type Section struct {
	Title  string
	Folded bool // closed until the reader opens it
	Blocks []Block
}

// Block is a part of a section: one of this package's types.
type Block interface {
	// check says what is wrong with a block that cannot be shown.
	check() error
	write(w *writer) error
}

var (
	//go:embed templates.html
	templatesText string
	//go:embed style.css
	styleText string

	templates = template.Must(template.New("").Parse(templatesText))

	// policy lets a browser use the page's own style sheet and pictures that are part of the page, and nothing else.
	policy = "default-src 'none'; style-src '" + styleHash() + "'; img-src data:; base-uri 'none'; form-action 'none'"
)

// styleHash names the style sheet in the policy, so that no other style is used, not even one that slipped into a text.
func styleHash() string {
	sum := sha256.Sum256([]byte(styleText))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Write writes the page. A block that cannot be shown is an error before anything is written; other errors are w's own.
func (p Page) Write(w io.Writer) error {
	if err := p.check(); err != nil {
		return err
	}
	buffered := bufio.NewWriter(w)
	out := &writer{out: &visibleWriter{out: buffered}}
	if err := p.write(out); err != nil {
		return err
	}
	return buffered.Flush()
}

func (p Page) check() error {
	for _, s := range p.Sections {
		if err := checkAll(s.Blocks); err != nil {
			return fmt.Errorf("report %q, section %q: %w", p.Title, s.Title, err)
		}
	}
	return nil
}

func checkAll(blocks []Block) error {
	for i, b := range blocks {
		err := errors.New("is nil")
		if b != nil {
			err = b.check()
		}
		if err != nil {
			return fmt.Errorf("block %d: %w", i+1, err)
		}
	}
	return nil
}

func (p Page) write(w *writer) error {
	head := struct {
		Page
		Policy string
		Style  template.CSS
	}{p, policy, template.CSS(styleText)}
	if err := w.execute("head", head); err != nil {
		return err
	}
	for i, s := range p.Sections {
		if err := s.write(w, i); err != nil {
			return err
		}
	}
	return w.execute("foot", p)
}

func (s Section) write(w *writer, number int) error {
	view := struct {
		Section
		Number int
	}{s, number}
	if err := w.execute("section", view); err != nil {
		return err
	}
	if err := writeAll(w, s.Blocks); err != nil {
		return err
	}
	return w.execute("section end", view)
}

func writeAll(w *writer, blocks []Block) error {
	for _, b := range blocks {
		if err := b.write(w); err != nil {
			return err
		}
	}
	return nil
}

// writer executes templates one after the other, so that a page need not be in memory.
type writer struct {
	out io.Writer
}

func (w *writer) execute(name string, data any) error {
	return templates.ExecuteTemplate(w.out, name, data)
}

// paragraphs parts a text at its empty lines.
func paragraphs(text string) (parts []string) {
	for part := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
