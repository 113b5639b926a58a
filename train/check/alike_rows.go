package check

import (
	"errors"
	"path/filepath"

	"github.com/llavatrain/llavatrain/data/alike"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/train/input"
)

// rowSeen is what is compared of one row.
type rowSeen struct {
	at      input.SkippedRow
	id      string
	images  []imageSeen
	caption uint64
	asked   []asked
}

// imageSeen is one image of a row.
type imageSeen struct {
	file     string // what it is; "" if it is not compared
	path     string // as the row has it
	whole    string // the path that names are compared with
	hash     *alike.Hash
	prepared bool
}

// asked is a question that a benchmark has.
type asked struct {
	benchmark int
	place     alike.Place
}

func (r rowSeen) like(image string, of Origin) Like {
	return Like{Data: r.at.Data, Row: r.at.Row, ID: r.id, Image: image, Of: of}
}

// look reads the rows of a block and what is compared of them. It runs in several goroutines.
func (c *likeCheck) look(source, first, end int) (seen []rowSeen, err error) {
	for row := first; row < end; row++ {
		at := input.SkippedRow{Data: source, Row: row}
		if c.skipped[at] {
			continue
		}
		record, err := c.Sources[source].Record(row)
		if input.StorageFault(err) {
			return nil, err
		}
		if err != nil { // it has changed since it was checked
			continue
		}
		r := rowSeen{at: at, id: record.ID}
		for _, image := range record.Images {
			i, err := c.lookAt(source, image)
			if err != nil {
				return nil, err
			}
			r.images = append(r.images, i)
		}
		if c.options.Alike {
			r.caption = alike.Key(alike.Caption(record))
		}
		r.asked = c.ask(record)
		seen = append(seen, r)
	}
	return seen, nil
}

// lookAt says what file an image is, and hashes it if pictures are compared.
func (c *likeCheck) lookAt(source int, image picture.Image) (i imageSeen, err error) {
	i = imageSeen{path: image.Path, whole: image.Path}
	if image.Prepared != nil {
		i.prepared = true
		return i, nil
	}
	if image.File == nil {
		i.whole = filepath.Join(c.roots[source], c.Dataset.Images[source].Local(image.Path))
		i.file = i.whole
	}
	if !c.options.Alike {
		return i, nil
	}
	if image.File != nil {
		i.file = c.hashes[source].Name(image)
	}
	hash, err := c.hashes[source].Of(image)
	if err == nil {
		i.hash = &hash
	}
	if errors.Is(err, picture.ErrRow) {
		err = nil
	}
	return i, err
}

// ask looks for a row's questions in the benchmarks; one of each is enough.
func (c *likeCheck) ask(r rows.Record) (list []asked) {
	for i, b := range c.benchmarks {
		for _, text := range alike.Questions(r) {
			if place, ok := b.Question(text); ok {
				list = append(list, asked{i, place})
				break
			}
		}
	}
	return list
}
