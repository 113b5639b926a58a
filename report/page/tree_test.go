package page_test

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// A page is HTML and well-formed XML at once, so that the standard library reads it.

// allowed are the elements of a page and their attributes. No other can appear, so nothing runs, loads or links
// outside.
var allowed = map[string][]string{
	"html": {"lang"}, "head": nil, "meta": {"charset", "http-equiv", "content", "name"}, "link": {"rel", "href"},
	"title": nil, "style": nil, "body": nil, "header": {"class"}, "main": nil, "footer": nil, "nav": {"aria-label"},
	"section": {"id"}, "details": nil, "summary": nil, "article": nil, "h1": nil, "h2": nil, "h3": {"dir"}, "h4": nil,
	"p": {"class", "dir", "aria-hidden"}, "b": nil, "span": nil, "ul": {"class", "aria-hidden"}, "li": nil,
	"a": {"href"}, "dl": {"class"}, "dt": nil, "dd": nil, "figure": {"class"}, "figcaption": nil,
	"div":   {"class", "role", "tabindex", "aria-label"},
	"table": nil, "thead": nil, "tbody": nil, "tfoot": nil, "tr": nil, "th": {"scope", "class", "dir"},
	"td": {"class", "dir"}, "img": {"src", "alt", "width", "height"},
	"svg":  {"class", "role", "aria-label", "aria-hidden", "width", "height", "viewBox", "preserveAspectRatio"},
	"g":    {"class"},
	"path": {"class", "d"}, "line": {"class", "x1", "x2", "y1", "y2"}, "rect": {"x", "y", "width", "height"},
	"text": {"x", "y", "dx", "dy"},
}

// tree is what a page consists of.
type tree struct {
	skeleton string   // elements and attributes, without values
	texts    []string // text nodes, and the values of attributes for people
}

// readPage fails unless the page has only elements and attributes that are allowed, and addresses only itself.
func readPage(t testing.TB, page []byte) (found tree) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(string(page)))
	var skeleton strings.Builder
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			found.skeleton = skeleton.String()
			return found
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			skeleton.WriteString("<" + token.Name.Local)
			attributes, known := allowed[token.Name.Local]
			if !known {
				t.Errorf("element %q", token.Name.Local)
			}
			for _, a := range token.Attr {
				skeleton.WriteString(" " + a.Name.Local)
				if !slices.Contains(attributes, a.Name.Local) {
					t.Errorf("attribute %q of %q", a.Name.Local, token.Name.Local)
				}
				checkAttribute(t, a)
				if slices.Contains([]string{"aria-label", "alt"}, a.Name.Local) {
					found.texts = append(found.texts, a.Value)
				}
			}
		case xml.EndElement:
			skeleton.WriteString(">")
		case xml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" {
				found.texts = append(found.texts, text)
			}
		case xml.Comment, xml.ProcInst:
			t.Errorf("the page has a %T", token)
		}
	}
}

func checkAttribute(t testing.TB, a xml.Attr) {
	t.Helper()
	switch a.Name.Local {
	case "src":
		if !strings.HasPrefix(a.Value, "data:image/jpeg;base64,") {
			t.Errorf("a picture has the address %.80q", a.Value)
		}
	case "href":
		if !strings.HasPrefix(a.Value, "#section-") && a.Value != "data:," {
			t.Errorf("a link leads to %.80q", a.Value)
		}
	}
}
