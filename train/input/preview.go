package input

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// PreviewOptions says which row to show. Exactly one of Row, ID and Random is given.
type PreviewOptions struct {
	Stage  string
	Row    string // ROW, or DATA:ROW with the number of the data set
	ID     string
	Random bool
	Report runs.Observer
}

// Preview is one sample as a model will see it.
type Preview struct {
	Stage, Path string
	Data, Row   int
	Sample      data.Sample
	Stretches   []data.Stretch
	Images      []string // paths, as the row has them
	Sides       []int    // of the prepared images, in pixels, for each tower
	Tokenizer   *tokenizer.Tokenizer
	Skipped     error // why a run would leave the row out; nil if it would not
	Record      rows.Record
}

// OpenPreview prepares one row of a recipe's stage as a run would.
func OpenPreview(r *recipes.Recipe, o PreviewOptions) (Preview, error) {
	stage, err := r.Stage(o.Stage)
	if err != nil {
		return Preview{}, err
	}
	preprocessor, err := OpenPreprocessor(r.Model)
	if err != nil {
		return Preview{}, err
	}
	d, err := OpenRows(r, stage, preprocessor, o.Report)
	if err != nil {
		return Preview{}, err
	}
	defer d.Close()
	source, row, err := d.find(o)
	if err != nil {
		return Preview{}, err
	}
	return d.preview(o.Stage, source, row)
}

func (d *Dataset) preview(stage string, source, row int) (Preview, error) {
	p := Preview{
		Stage: stage, Path: cmp.Or(d.Stage.Data[source].Path, d.Stage.Data[source].Shards),
		Data: source, Row: row, Sides: d.sides(), Tokenizer: d.Tokenizer,
	}
	var err error
	if p.Record, err = d.Sources[source].Record(row); err == nil {
		for _, image := range p.Record.Images {
			p.Images = append(p.Images, image.Path)
		}
		p.Sample, err = d.Prepare(context.Background(), source, row)
	}
	switch {
	case errors.Is(err, picture.ErrRow):
		p.Skipped = err
		return p, nil
	case err != nil:
		return p, err
	}
	p.Stretches = data.Stretches(d.Tokenizer, p.Sample)
	return p, nil
}

// sides are the sizes of each tower's images in pixels.
func (d *Dataset) sides() (list []int) {
	for _, processor := range d.Processors {
		list = append(list, processor.Size)
	}
	return list
}

// find looks up the row that was asked for.
func (d *Dataset) find(o PreviewOptions) (source, row int, err error) {
	switch {
	case o.Random:
		n := rand.IntN(d.Mixture.Rows())
		for source = range d.Sources {
			if n < d.Sources[source].Len() {
				return source, n, nil
			}
			n -= d.Sources[source].Len()
		}
	case o.Row != "":
		return d.parseRow(o.Row)
	}
	for source, rows := range d.Sources {
		for row := range rows.Len() {
			record, err := rows.Record(row)
			if failure.IsStorage(err) {
				return 0, 0, err
			}
			if record.ID == o.ID && (err == nil || o.ID != "") {
				return source, row, nil
			}
			if row%CheckBlock == 0 {
				o.Report.Progress("looking for the row", int64(row), int64(rows.Len()))
			}
		}
	}
	return 0, 0, failure.Inputf("no row has the id %q", o.ID)
}

func (d *Dataset) parseRow(text string) (source, row int, err error) {
	number, second, both := strings.Cut(text, ":")
	if !both {
		number, second = "0", text
	}
	source, sourceErr := strconv.Atoi(number)
	row, rowErr := strconv.Atoi(second)
	switch {
	case sourceErr != nil || rowErr != nil:
		return 0, 0, failure.Inputf("--row %q: give ROW, or DATA:ROW with the number of the data set, both from 0",
			text)
	case source < 0 || source >= len(d.Sources):
		return 0, 0, failure.Inputf("--row %q: the stage has data[0] to data[%d]", text, len(d.Sources)-1)
	case row < 0 || row >= d.Sources[source].Len():
		return 0, 0, failure.Inputf("--row %q: data[%d] has rows 0 to %d", text, source, d.Sources[source].Len()-1)
	}
	return source, row, nil
}
