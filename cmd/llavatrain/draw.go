package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/llavatrain/llavatrain/data"
)

// show prints a picture with its question, the model's answer and whether it is right.
func (e *exam) show(out io.Writer, a answered) {
	path := filepath.Join(e.data, "images", a.Image)
	fmt.Fprintln(out, path)
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		if text, err := os.ReadFile(path); err == nil {
			if picture, err := data.Decode(text); err == nil {
				drawBlocks(out, picture)
			}
		}
	}
	verdict := "right"
	if a.given != a.Answer {
		verdict = fmt.Sprintf("the answer is %q", a.Answer)
	}
	fmt.Fprintf(out, "  %s\n  %s   (%s)\n\n", a.Text, a.given, verdict)
}

// drawBlocks draws a picture 32 characters wide: each upper-half block shows two pixels, one above the other.
func drawBlocks(out io.Writer, p *data.RGB) {
	const width = 32
	scale := max(1, p.W/width)
	pixel := func(x, y int) []uint8 {
		at := 3 * (min(y, p.H-1)*p.W + min(x, p.W-1))
		return p.Pix[at : at+3]
	}
	for y := 0; y < p.H; y += 2 * scale {
		fmt.Fprint(out, "  ")
		for x := 0; x < p.W; x += scale {
			up, down := pixel(x, y), pixel(x, y+scale)
			fmt.Fprintf(out, "\x1b[38;2;%d;%d;%dm\x1b[48;2;%d;%d;%dm▀", up[0], up[1], up[2], down[0], down[1], down[2])
		}
		fmt.Fprint(out, "\x1b[0m\n")
	}
}
