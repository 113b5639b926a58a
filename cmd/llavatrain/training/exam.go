package training

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data/picture"
)

// show prints an image with its question, the model's answer and whether it is right.
func (e *exam) show(out io.Writer, a answered) {
	path := filepath.Join(e.data, "images", a.Image)
	fmt.Fprintln(out, path)
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		if text, err := os.ReadFile(path); err == nil {
			if picture, err := picture.Decode(text); err == nil {
				program.DrawBlocks(out, picture)
			}
		}
	}
	verdict := "right"
	if a.given != a.Answer {
		verdict = fmt.Sprintf("the answer is %q", a.Answer)
	}
	fmt.Fprintf(out, "  %s\n  %s   (%s)\n\n", a.Text, a.given, verdict)
}
