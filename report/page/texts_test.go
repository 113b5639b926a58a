package page_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/report/page"
)

// withText is a page with the text in every place that takes one.
func withText(t testing.TB, text string, picture page.Picture) page.Page {
	points := []page.Point{{1, 1}, {2, 2}}
	return page.Page{Title: text, Lead: text, Foot: text, Sections: []page.Section{
		{Title: text, Blocks: []page.Block{page.Text(text), page.Notice(text),
			page.Figures{{text, text, text}},
			page.Table{text, text, []page.Column{{text, false}, {text, true}}, [][]string{{text, text}},
				[]string{text, text}},
			page.Bars{text, text, text, text, []page.Bar{{text, 1, text}}},
			page.Histogram{text, text, text, text, []page.Group{{text, []float64{1}}}},
			page.Lines{Title: text, Note: text, X: text, Y: text,
				Series: []page.Series{{text, points}, {text, points}}},
			page.Lines{Title: text, Log: true, X: text, Y: text,
				Series: []page.Series{{text, []page.Point{{1, -1}, {1, 1}}}}},
		}},
		{Title: text, Folded: true, Blocks: []page.Block{page.Columns{page.Samples{{text, []string{text}, picture,
			[]page.Part{{text, text, false}, {text, text, true}}}}}}},
	}}
}

// hides says whether a character acts without being seen.
func hides(r rune) bool {
	if strings.ContainsRune("\n\t\u200c\u200d", r) {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control, unicode.Noncharacter_Code_Point)
}

// Whatever a model answers, the page has the same elements, and shows the text itself.
func FuzzTextsStayTexts(f *testing.F) {
	for _, seed := range []string{"plain", "<script>alert(1)</script>", `"><img src=http://x/ onerror=y>`,
		"' onload='z", "</style><style>*{display:none}", "</title>", "<!-- ", "]]>", "{{.}}", "&lt;&#0;&amp",
		"javascript:x()",
		"\u202egnp.exe\u202c", "\x00\x1b[2J\x7f\u0085\ufffe\U000e0041", "\xff\xc3", "https://example.com/?a=1&b=2",
		"a\u200db\ufe0f\u0600", "`${x}`", "\r\n\t \u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = "((" + strings.ReplaceAll(text, "\n", " ") + "))" // no part is empty, and none becomes two paragraphs
		got := render(t, withText(t, text, thumbnail(t, 3, 2, text)))
		page := readPage(t, got)
		plain := readPage(t, render(t, withText(t, "((plain))", thumbnail(t, 3, 2, "((plain))"))))
		if page.skeleton != plain.skeleton {
			t.Fatalf("the text %q changes the elements of the page:\n%s", text, cmp.Diff(plain.skeleton, page.skeleton))
		}
		if !utf8.Valid(got) {
			t.Errorf("with %q the page is not UTF-8", text)
		}
		for _, r := range string(got) {
			if hides(r) {
				t.Fatalf("with %q the page has %U", text, r)
			}
		}
		shown := page.texts[0] // the title
		for i, want := range plain.texts {
			if want = strings.ReplaceAll(want, "((plain))", shown); page.texts[i] != want && len(text) < 1000 {
				t.Fatalf("with %q, text %d is %q, want %q", text, i, page.texts[i], want)
			}
		}
	})
}

func TestTextsAreShown(t *testing.T) {
	for text, want := range map[string]string{
		`<b>&"'`:                "&lt;b&gt;&amp;&#34;&#39;",
		"a\x1b[31mb\x07":        "a[U+001B][31mb[U+0007]",
		"\u202eabc\u202c":       "[U+202E]abc[U+202C]",
		"\u200e\u061c\u2066":    "[U+200E][U+061C][U+2066]",
		"soft\u00adhyphen":      "soft[U+00AD]hyphen",
		"zero\u200bwidth\ufeff": "zero[U+200B]width[U+FEFF]",
		"tag\U000e0041":         "tag[U+E0041]",
		"selector\U000e0100":    "selector[U+E0100]",
		"line\u2028":            "line[U+2028]",
		"delete\x7f\u0085":      "delete[U+007F][U+0085]",
		"\ufffe":                "[U+FFFE]",
		"return\r\nline\tend":   "return\nline\tend",
		"bad\xffbyte":           "bad\uFFFDbyte",
		"می\u200cخواهم":         "می\u200cخواهم",
		"👩\u200d🚀 ❤\ufe0f":      "👩\u200d🚀 ❤\ufe0f",
		"sign \u0600":           "sign \u0600",
	} {
		got := block(t, page.Samples{{Parts: []page.Part{{Text: "x" + text + "x"}}}})
		if !strings.Contains(got, ">x"+want+"x</p>") {
			t.Errorf("%q is not shown as %q", text, want)
		}
	}
}

func TestLongPartsAreCut(t *testing.T) {
	for _, n := range []int{19_999, 20_000, 20_001, 1_020_000} {
		got := block(t, page.Samples{{Parts: []page.Part{{Text: strings.Repeat("é", n)}}}})
		if shown := strings.Count(got, "é"); shown != min(n, 20_000) {
			t.Errorf("of %d characters %d are shown", n, shown)
		}
		said := strings.Contains(got, "more characters are not shown.")
		if said != (n > 20_000) || n == 1_020_000 && !strings.Contains(got, ">1,000,000 more characters") {
			t.Errorf("of %d characters: says that some are left out: %t", n, said)
		}
	}
}
