package caption

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Options say what Filter keeps and writes.
type Options struct {
	Rule
	Phrases  string   // a file of them, with {"id": "…", "phrases": ["…", …]} on each line, or Auto
	Requests []string // what the answer is a caption to; a hash of seed and id picks one for each row
}

func (o Options) check(files []string) error {
	switch {
	case len(files) == 0:
		return failure.Inputf("no file of captions is given")
	case o.Phrases == "":
		return failure.Inputf("no phrases are given: name a file of them, or %q", Auto)
	case len(o.Requests) == 0:
		return failure.Inputf("there is no request to put before the captions")
	}
	return o.Rule.check()
}

// Filter reads captions, keeps some by the rule, and writes them as LLaVA's rows: one array, a row on each line, in the
// order of the files. It reads the files twice and holds no captions, only ids and phrases.
//
// Phrases of a file belong to the caption with their id; where several captions have the same, the first line with it
// to the first of them, and so on. Captions without phrases are not kept. Captions that can make no row are counted and
// passed over; a line, row or element that is no caption at all is an error that says where it stands. After an error,
// what was written is not complete.
func Filter(ctx context.Context, paths []string, o Options, out io.Writer) (*Report, error) {
	if err := o.check(paths); err != nil {
		return nil, err
	}
	f := &filter{Options: o, report: &Report{Skipped: map[Reason]int{}}}
	for _, path := range paths {
		opened, err := openFile(path)
		if err != nil {
			return nil, err
		}
		f.files = append(f.files, opened)
	}
	x, err := f.index(ctx)
	if err != nil {
		return nil, err
	}
	kept := x.group().choose(o.Rule)
	if err := f.write(ctx, kept, out); err != nil {
		return nil, err
	}
	f.report.count(kept)
	return f.report, nil
}

type filter struct {
	Options
	files  []*file
	report *Report
}

// each visits the captions of all files that can become rows.
func (f *filter) each(ctx context.Context, visit func(Caption) error, skip func(Reason)) error {
	for _, file := range f.files {
		err := file.each(func(c Caption) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if reason := c.usable(); reason != "" {
				skip(reason)
				return nil
			}
			return visit(c)
		})
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// index is the first reading.
func (f *filter) index(ctx context.Context) (*index, error) {
	x := newIndex()
	captions := func(visit func(Caption) error) error {
		return f.each(ctx, visit, func(reason Reason) { f.report.Skipped[reason]++ })
	}
	if f.Phrases == Auto {
		return x, x.addFound(ctx, captions)
	}
	err := captions(func(c Caption) error {
		x.ids.add(c.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	found, strangers, err := x.addFromFile(ctx, f.Phrases)
	if err != nil {
		return nil, err
	}
	f.report.Unmatched, f.report.Strangers = x.captions()-found, strangers
	if found == 0 && strangers > 0 {
		return nil, failure.Inputf("%s: none of its %d ids is that of a caption; they must be equal, and for COCO's "+
			"files be those of the annotations", f.Phrases, strangers)
	}
	return x, nil
}

var errChanged = failure.Inputf("the captions are not those of the first reading: let nothing write to the files, " +
	"and start again")

// write is the second reading.
func (f *filter) write(ctx context.Context, kept *choice, out io.Writer) error {
	rows := newRows(out)
	number := uint32(0)
	err := f.each(ctx, func(c Caption) error {
		if int(number) >= len(kept.kept) || string(kept.ids.bytes(number)) != c.ID {
			return errChanged
		}
		number++
		if !kept.kept[number-1] {
			return nil
		}
		return rows.add(c, f.request(c.ID))
	}, func(Reason) {})
	if err == nil && int(number) < len(kept.kept) {
		err = errChanged
	}
	if err != nil {
		return err
	}
	return rows.end()
}

// request is the one with the number
//
//	first eight bytes of SHA-256("brief" 0 seed 0 id) mod number of requests
func (f *filter) request(id string) string {
	sum := sha256.Sum256([]byte("brief\x00" + strconv.FormatUint(f.Seed, 10) + "\x00" + id))
	return f.Requests[binary.BigEndian.Uint64(sum[:])%uint64(len(f.Requests))]
}

// rows writes LLaVA's JSON.
type rows struct {
	out  *bufio.Writer
	json *json.Encoder
	some bool
}

func newRows(out io.Writer) *rows {
	buffered := bufio.NewWriterSize(out, 1<<16)
	r := &rows{out: buffered, json: json.NewEncoder(buffered)}
	r.json.SetEscapeHTML(false)
	return r
}

func (r *rows) add(c Caption, request string) error {
	before := "[\n"
	if r.some {
		before = ","
	}
	r.some = true
	if _, err := r.out.WriteString(before); err != nil {
		return writing(err)
	}
	return writing(r.json.Encode(struct { // which ends the line
		ID            string `json:"id"`
		Image         string `json:"image"`
		Conversations []turn `json:"conversations"`
	}{c.ID, c.Image, []turn{{"human", "<image>\n" + request}, {"gpt", c.Text}}}))
}

func (r *rows) end() error {
	if !r.some {
		r.out.WriteString("[\n") // an error of a buffered writer is also that of its Flush
	}
	r.out.WriteString("]\n")
	return writing(r.out.Flush())
}

func writing(err error) error {
	if err != nil {
		err = failure.Storage(fmt.Errorf("writing rows: %w", err))
	}
	return err
}
