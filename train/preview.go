package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/recipes"
)

// PreviewOptions says which row is shown. Exactly one of Row, ID and Random is given.
type PreviewOptions struct {
	Stage  string
	Row    string // ROW, or DATA:ROW with the number of the data set
	ID     string
	Random bool
	Report Report
}

// Preview is one sample as a model will see it.
type Preview struct {
	Stage, Path string
	Source, Row int
	Sample      data.Sample
	Stretches   []data.Stretch
	Images      []string // paths, as the row has them
	Side        int      // of the prepared pictures
	Tokenizer   *data.Tokenizer
	Skipped     error // why a run would leave the row out; nil when it would not
	Record      data.Record
}

// OpenPreview prepares one row of a recipe's stage as a run does.
func OpenPreview(r *recipes.Recipe, o PreviewOptions) (Preview, error) {
	stage, err := r.Stage(o.Stage)
	if err != nil {
		return Preview{}, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	reading, err := OpenReading(r.Model)
	if err != nil {
		return Preview{}, err
	}
	d, err := openRows(r, stage, reading, o.Report)
	if err != nil {
		return Preview{}, err
	}
	defer d.close()
	source, row, err := d.find(o)
	if err != nil {
		return Preview{}, err
	}
	return d.preview(o.Stage, source, row)
}

func (d *dataset) preview(stage string, source, row int) (Preview, error) {
	p := Preview{Stage: stage, Path: cmp.Or(d.stage.Data[source].Path, d.stage.Data[source].Shards), Source: source, Row: row, Side: d.Processor.Size, Tokenizer: d.Tokenizer}
	var err error
	if p.Record, err = d.sources[source].Record(row); err == nil {
		for _, image := range p.Record.Images {
			p.Images = append(p.Images, image.Path)
		}
		p.Sample, err = d.prepare(context.Background(), source, row)
	}
	switch {
	case errors.Is(err, data.ErrRow):
		p.Skipped = err
		return p, nil
	case err != nil:
		return p, err
	}
	p.Stretches = data.Stretches(d.Tokenizer, p.Sample, int(d.Tower.Tokens))
	return p, nil
}

// find is the row that was asked for.
func (d *dataset) find(o PreviewOptions) (source, row int, err error) {
	switch {
	case o.Random:
		n := rand.IntN(d.mixture.Rows())
		for source = range d.sources {
			if n < d.sources[source].Len() {
				return source, n, nil
			}
			n -= d.sources[source].Len()
		}
	case o.Row != "":
		return d.parseRow(o.Row)
	}
	for source, rows := range d.sources {
		for row := range rows.Len() {
			if record, err := rows.Record(row); err == nil && record.ID == o.ID {
				return source, row, nil
			}
			if row%checkBlock == 0 {
				o.Report.Progress("looking for the row", int64(row), int64(rows.Len()))
			}
		}
	}
	return 0, 0, fmt.Errorf("%w: no row has the id %q", ErrUsage, o.ID)
}

func (d *dataset) parseRow(text string) (source, row int, err error) {
	number, second, both := strings.Cut(text, ":")
	if !both {
		number, second = "0", text
	}
	source, sourceErr := strconv.Atoi(number)
	row, rowErr := strconv.Atoi(second)
	switch {
	case sourceErr != nil || rowErr != nil:
		return 0, 0, fmt.Errorf("%w: --row %q: give ROW, or DATA:ROW with the number of the data set, both from 0", ErrUsage, text)
	case source < 0 || source >= len(d.sources):
		return 0, 0, fmt.Errorf("%w: --row %q: the stage has data[0] to data[%d]", ErrUsage, text, len(d.sources)-1)
	case row < 0 || row >= d.sources[source].Len():
		return 0, 0, fmt.Errorf("%w: --row %q: data[%d] has rows 0 to %d", ErrUsage, text, source, d.sources[source].Len()-1)
	}
	return source, row, nil
}
