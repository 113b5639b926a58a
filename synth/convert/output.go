package convert

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"slices"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// row is one of LLaVA's.
type row struct {
	ID    string `json:"id"`
	Image string `json:"image,omitempty"`
	Turns []turn `json:"conversations"`
}

type turn struct {
	From  string `json:"from"`
	Value string `json:"value"`
}

// candidate is a picture with its rows.
type candidate struct {
	rank  uint64 // those with the smallest stay
	order int    // of arrival, and so in the output
	rows  []row
}

func (a candidate) compare(b candidate) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.order, b.order))
}

// output writes rows as a JSON array, one a line. With a limit it holds back the pictures that may still go.
type output struct {
	limit int // pictures, 0: no limit
	held  []candidate
	order int // of the next picture
	left  int // pictures that did not stay

	pictures, rows, pairs int

	buffer  *bufio.Writer
	line    bytes.Buffer
	encoder *json.Encoder
}

func newOutput(w io.Writer, limit int) *output {
	o := &output{limit: limit, buffer: bufio.NewWriterSize(w, 1<<16)}
	o.encoder = json.NewEncoder(&o.line)
	o.encoder.SetEscapeHTML(false) // <image> stays readable
	return o
}

// add takes a picture that is complete. rank decides whether it stays within the limit.
func (o *output) add(rank uint64, rows []row) error {
	if o.limit == 0 {
		return o.write(rows)
	}
	o.held = append(o.held, candidate{rank, o.order, rows})
	o.order++
	if len(o.held)/2 >= o.limit {
		o.trim()
	}
	return nil
}

// trim lets the pictures beyond the limit go. add calls it only now and then, because it sorts.
func (o *output) trim() {
	slices.SortFunc(o.held, candidate.compare)
	keep := min(o.limit, len(o.held))
	o.left += len(o.held) - keep
	clear(o.held[keep:])
	o.held = o.held[:keep]
}

// write appends the rows of one picture.
func (o *output) write(rows []row) error {
	o.pictures++
	for _, r := range rows {
		start := ",\n"
		if o.rows == 0 {
			start = "[\n"
		}
		o.line.Reset()
		o.line.WriteString(start)
		if err := o.encoder.Encode(r); err != nil {
			return err
		}
		if _, err := o.buffer.Write(bytes.TrimSuffix(o.line.Bytes(), []byte("\n"))); err != nil {
			return failure.Storage(err)
		}
		o.rows++
		o.pairs += len(r.Turns) / 2
	}
	return nil
}

// close writes what was held back, in the order of arrival, and the end of the array.
func (o *output) close() error {
	o.trim()
	slices.SortFunc(o.held, func(a, b candidate) int { return cmp.Compare(a.order, b.order) })
	for _, c := range o.held {
		if err := o.write(c.rows); err != nil {
			return err
		}
	}
	end := "\n]\n"
	if o.rows == 0 {
		end = "[]\n"
	}
	o.buffer.WriteString(end) // Flush repeats its error
	return failure.Storage(o.buffer.Flush())
}
