package program

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Lines reads lines that a person types, with editing and a history where they come from a terminal.
type Lines struct {
	in     *os.File
	out    io.Writer
	editor *term.Terminal // nil where input is no terminal
	plain  *bufio.Reader
}

// NewLines reads from in and shows the prompt on out.
func NewLines(in *os.File, out io.Writer) *Lines {
	l := &Lines{in: in, out: out}
	if term.IsTerminal(int(in.Fd())) {
		l.editor = term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{in, out}, "")
	} else {
		l.plain = bufio.NewReader(in)
	}
	return l
}

// Next reads a line. The error is io.EOF at the end of the input. Between lines the terminal is as usual, so that
// Ctrl-C sends its signal.
func (l *Lines) Next(prompt string) (string, error) {
	if l.editor == nil {
		line, err := l.plain.ReadString('\n')
		if err == io.EOF && line != "" {
			err = nil
		}
		return strings.TrimRight(line, "\r\n"), err
	}
	state, err := term.MakeRaw(int(l.in.Fd()))
	if err != nil {
		return "", err
	}
	defer term.Restore(int(l.in.Fd()), state)
	if width, height, err := term.GetSize(int(l.in.Fd())); err == nil {
		l.editor.SetSize(width, height)
	}
	l.editor.SetPrompt(prompt)
	line, err := l.editor.ReadLine()
	if err == term.ErrPasteIndicator { // a pasted line is a line
		err = nil
	}
	if err == io.EOF {
		fmt.Fprint(l.out, "\r\n")
	}
	return line, err
}

// Printable is text with nothing in it that a terminal would obey: control characters but line breaks and tabs, and
// characters that change the direction of writing, are shown as their numbers.
func Printable(text string) string {
	obeyed := func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
	}
	if !strings.ContainsFunc(text, obeyed) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if obeyed(r) {
			fmt.Fprintf(&b, "<%U>", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
