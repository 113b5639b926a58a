package page_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/report/page"
)

var update = flag.Bool("update", false, "write the golden page")

func render(t testing.TB, p page.Page) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// block renders one block.
func block(t testing.TB, b page.Block) string {
	return string(render(t, page.Page{Title: "T", Sections: []page.Section{{Title: "S", Blocks: []page.Block{b}}}}))
}

// small has a little of every block, without pictures: their bytes may differ from one release of Go to the next.
func small() page.Page {
	return page.Page{
		Title: "A small report", Lead: "What it is about.", Foot: "Made by a test.",
		Sections: []page.Section{
			{Title: "One", Blocks: []page.Block{
				page.Text("First paragraph.\r\n\r\nSecond & last."),
				page.Notice("Look here."),
				page.Figures{{Label: "Rows", Value: "12", Note: "of 20"}, {Label: "Money", Value: "0.40"}},
				page.Table{Title: "Kinds", Note: "All of them.",
					Columns: []page.Column{{Title: "Kind"}, {"Rows", true}},
					Rows:    [][]string{{"detail", "5"}, {"reasoning", "7"}}, Total: []string{"all", "12"}},
			}},
			{Title: "Two", Folded: true, Blocks: []page.Block{
				page.Columns{
					page.Bars{Title: "Reasons", Label: "Reason", Value: "Answers",
						Bars: []page.Bar{{Label: "refusal", Value: 3}, {"source", 1, "one"}, {Label: "none"}}},
					page.Histogram{Title: "Lengths", X: "words", Y: "answers",
						Groups: []page.Group{{"detail", []float64{31, 35, 35, 60}}, {Name: "reasoning"}}},
				},
				page.Lines{Title: "Loss", Note: "By step.", X: "step", Y: "loss", Smooth: 3, Series: []page.Series{
					{"all", []page.Point{{1, 4}, {2, 2}, {3, 3}, {4, 1}}}, {"text", []page.Point{{1, 3}, {4, 2}}}}},
				page.Samples{{Title: "7-detail", Tags: []string{"detail"}, Parts: []page.Part{
					{Name: "Context", Text: "A cat.", Folded: true}, {Name: "Answer", Text: "A cat\n  sits."}}}},
			}},
		},
	}
}

func TestGoldenPage(t *testing.T) {
	golden := filepath.Join("testdata", "small.html")
	got := render(t, small())
	readPage(t, got)
	if *update {
		if err := os.WriteFile(golden, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the page changed (-want +got); look at it, then run the test with -update:\n%s", diff)
	}
}

func TestSamePageSameBytes(t *testing.T) {
	if !bytes.Equal(render(t, everyBlock(t)), render(t, everyBlock(t))) {
		t.Error("two pages of the same values differ")
	}
}

func TestPolicyAllowsTheStyleAndNothingElse(t *testing.T) {
	text := string(render(t, small()))
	_, rest, _ := strings.Cut(text, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	hash := strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;")
	want := `<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; ` +
		`style-src &#39;sha256-` + hash + `&#39;; img-src data:; base-uri &#39;none&#39;; form-action &#39;none&#39;"/>`
	if !strings.Contains(text, want) {
		t.Errorf("the head lacks %s", want)
	}
	if strings.Index(text, want) > strings.Index(text, "<style>") {
		t.Error("the policy must stand before what it governs")
	}
	for _, loads := range []string{"url(", "@import", "@font-face", "//", "image-set"} {
		if strings.Contains(style, loads) {
			t.Errorf("the style sheet has %q", loads)
		}
	}
}

func TestFaultyBlocksAreErrorsBeforeAnythingIsWritten(t *testing.T) {
	table := func(rows ...[]string) page.Table {
		return page.Table{Title: "X", Columns: []page.Column{{Title: "A"}, {Title: "B"}}, Rows: rows}
	}
	total := table()
	total.Total = []string{"1"}
	for name, test := range map[string]struct {
		block page.Block
		want  string
	}{
		"nil":       {nil, `report "T", section "S": block 1: is nil`},
		"short row": {table([]string{"1", "2"}, []string{"1"}), `block 1: table "X": row 2 has 1 cells for 2 columns`},
		"long row":  {table([]string{"1", "2", "3"}), `row 1 has 3 cells for 2 columns`},
		"total":     {total, `the total has 1 cells for 2 columns`},
		"nested":    {page.Columns{page.Text("a"), total}, `block 1: block 2: table "X"`},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			p := page.Page{Title: "T", Sections: []page.Section{{Title: "S", Blocks: []page.Block{test.block}}}}
			if err := p.Write(&out); err == nil || !strings.Contains(err.Error(), test.want) || out.Len() > 0 {
				t.Errorf("error %v, %d bytes written; want %q", err, out.Len(), test.want)
			}
		})
	}
}

// failing is a disk that is full after some bytes.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestErrorsOfTheWriterAreReturned(t *testing.T) {
	p := everyBlock(t)
	size := len(render(t, p))
	for left := 0; left < size; left += 5000 {
		if err := p.Write(&failing{left}); !errors.Is(err, errFull) {
			t.Errorf("with room for %d of %d bytes: %v", left, size, err)
		}
	}
	if err := p.Write(&failing{size}); err != nil {
		t.Error(err)
	}
	if err := p.Write(iotest.TruncateWriter(&bytes.Buffer{}, 10)); err != nil {
		t.Error(err)
	}
}

func TestLinksLeadToSections(t *testing.T) {
	p := page.Page{Sections: []page.Section{{Title: "A"}, {Title: "B"}, {Title: "C"}}}
	got := string(render(t, p))
	for i, title := range []string{"A", "B", "C"} {
		link, target := fmt.Sprintf(`<a href="#section-%d">%s</a>`, i, title), fmt.Sprintf(`id="section-%d"`, i)
		if strings.Count(got, link) != 1 || strings.Count(got, target) != 1 {
			t.Errorf("section %s has no link or no place", title)
		}
	}
	p.Sections = p.Sections[:1]
	if strings.Contains(string(render(t, p)), "<nav") {
		t.Error("a page with one section has links")
	}
}
