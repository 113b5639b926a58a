package check

import (
	"fmt"
	"strings"

	"github.com/llavatrain/llavatrain/data/alike"
)

// AlikeChecked is what a stage's data sets hold twice. Rows that a run leaves out are not compared.
type AlikeChecked struct {
	Pictures int `json:"pictures"` // different files that were compared
	Plain    int `json:"plain"`    // of them, those so plain that only the same pixels count as alike
	Unread   int `json:"unread"`   // files that cannot be decoded: not compared
	Prepared int `json:"prepared"` // images that shards hold as pixels: not compared

	Near     Likeness `json:"near_pictures"` // rows with a picture like an earlier row's, in another file
	Captions Likeness `json:"captions"`      // rows with the caption of an earlier row
}

// AgainstChecked is what a stage's data sets share with one file of --against.
type AgainstChecked struct {
	Path      string `json:"path"`
	Pictures  int    `json:"pictures"`        // different paths in the file
	Numbered  int    `json:"coco_numbers"`    // different COCO numbers in their names
	Hashed    int    `json:"hashed"`          // pictures that were found and decoded; 0 without --alike
	Questions int    `json:"questions"`       // different texts
	Unread    int    `json:"unread"`          // lines or rows that cannot be read
	Fault     string `json:"fault,omitempty"` // why not the first of them

	ByNumber   Likeness `json:"by_number"`   // rows with a picture of the same COCO number
	ByName     Likeness `json:"by_name"`     // others with a picture whose path ends with a path of the file
	ByHash     Likeness `json:"by_hash"`     // others with a picture whose hash is near
	ByQuestion Likeness `json:"by_question"` // rows with the text of one of its questions
}

// Likeness is a kind of rows that are like something else.
type Likeness struct {
	Count  int    `json:"count"`            // rows
	Files  int    `json:"files,omitempty"`  // different pictures of them that are like another
	Across int    `json:"across,omitempty"` // rows that are like one of another data set
	Rows   []Like `json:"rows"`             // the first 1000
}

// Like is one row that is like something else.
type Like struct {
	Data     int    `json:"data"` // the data set, from 0
	Row      int    `json:"row"`
	ID       string `json:"id,omitempty"`
	Image    string `json:"image,omitempty"` // which of its pictures, for one that is in a file
	Of       Origin `json:"of"`
	Distance *int   `json:"distance,omitempty"` // of the pictures' hashes
}

// Origin is what a row is like: a row of the stage's data, or a line or row of the file of --against.
type Origin struct {
	Data  *int   `json:"data,omitempty"` // nil for a place in a file
	Row   *int   `json:"row,omitempty"`
	Line  int    `json:"line,omitempty"` // from 1
	Image string `json:"image,omitempty"`
}

// origin is a place in a benchmark.
func origin(b *alike.Benchmark, p alike.Place) Origin {
	if b.Lines {
		return Origin{Line: p.At, Image: p.Picture}
	}
	return Origin{Row: &p.At, Image: p.Picture}
}

func (l *Likeness) add(one Like) {
	l.Count++
	if one.Of.Data != nil && *one.Of.Data != one.Data {
		l.Across++
	}
	if len(l.Rows) < listed {
		l.Rows = append(l.Rows, one)
	}
}

// Text is the finding as one line.
func (l Like) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "data[%d] row %d", l.Data, l.Row)
	if l.ID != "" && l.ID != fmt.Sprintf("row %d", l.Row) {
		fmt.Fprintf(&b, " (id %q)", l.ID)
	}
	if l.Image != "" {
		fmt.Fprintf(&b, " %q", l.Image)
	}
	b.WriteString(" is like ")
	switch {
	case l.Of.Data != nil:
		fmt.Fprintf(&b, "data[%d] row %d", *l.Of.Data, *l.Of.Row)
	case l.Of.Row != nil:
		fmt.Fprintf(&b, "row %d", *l.Of.Row)
	default:
		fmt.Fprintf(&b, "line %d", l.Of.Line)
	}
	if l.Of.Image != "" {
		fmt.Fprintf(&b, " %q", l.Of.Image)
	}
	if l.Distance != nil {
		fmt.Fprintf(&b, ", %s apart", plural(*l.Distance, "bit"))
	}
	return b.String()
}
