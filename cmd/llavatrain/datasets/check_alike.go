package datasets

import (
	"fmt"
	"io"

	"github.com/llavatrain/llavatrain/train/check"
)

// printAlike says what the data sets of a stage hold twice, and what they share with benchmarks.
func printAlike(out io.Writer, s check.StageChecked) {
	if a := s.Alike; a != nil {
		fmt.Fprintf(out, "  alike: different picture files compared: %d", a.Pictures)
		for _, part := range []struct {
			what string
			n    int
		}{
			{"so plain that only the same pixels count", a.Plain},
			{"not compared because they cannot be decoded", a.Unread},
			{"images of shards not compared because only their pixels are there", a.Prepared},
		} {
			if part.n > 0 {
				fmt.Fprintf(out, "; %s: %d", part.what, part.n)
			}
		}
		fmt.Fprintln(out)
		printLikeness(out, "rows with a picture like an earlier row's, in another file", a.Near, true)
		printLikeness(out, "rows with the caption of an earlier row", a.Captions, true)
	}
	for _, a := range s.Against {
		hashed := "not hashed (--alike does)"
		if s.Alike != nil {
			hashed = fmt.Sprintf("found and hashed: %d", a.Hashed)
		}
		fmt.Fprintf(out, "  against %s: pictures: %d, COCO numbers: %d, %s, questions: %d\n", a.Path, a.Pictures,
			a.Numbered, hashed, a.Questions)
		if a.Unread > 0 {
			fmt.Fprintf(out, "    not read: %d; the first is %s\n", a.Unread, a.Fault)
		}
		printLikeness(out, "rows with a picture of the same COCO number", a.ByNumber, true)
		printLikeness(out, "rows with a picture of the same path", a.ByName, false)
		printLikeness(out, "rows with a picture that looks the same", a.ByHash, false)
		printLikeness(out, "rows with the text of a question", a.ByQuestion, true)
	}
}

// printLikeness says how many rows are of a kind, and the first ones. A kind without rows is said only if always.
func printLikeness(out io.Writer, name string, l check.Likeness, always bool) {
	const shown = 3
	if l.Count == 0 && !always {
		return
	}
	fmt.Fprintf(out, "    %s: %d", name, l.Count)
	if l.Files > 0 {
		fmt.Fprintf(out, " (files: %d)", l.Files)
	}
	if l.Across > 0 {
		fmt.Fprintf(out, ", across data sets: %d", l.Across)
	}
	fmt.Fprintln(out)
	for _, row := range l.Rows[:min(len(l.Rows), shown)] {
		fmt.Fprintf(out, "        %s\n", row.Text())
	}
	if l.Count > shown {
		fmt.Fprintf(out, "        … (--json lists more)\n")
	}
}
