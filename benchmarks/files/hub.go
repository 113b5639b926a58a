package files

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Lines of a hub set's columns, without its pictures, may stand in place of its parquet files.
const hubLines = "rows.jsonl"

// Hub is a data set of the Hugging Face hub.
type Hub struct {
	folder *Folder
	tables []*rows.Table // none: its rows are lines
	ends   []int         // rows up to and including each table
}

// OpenHub opens the parquet files that match one of the patterns, such as data/test-*.parquet: in the folder as the
// repository has it, or in the folder of the files themselves; or else rows.jsonl.
func (f *Folder) OpenHub(patterns ...string) (_ *Hub, err error) {
	defer failure.MarkInput(&err)
	h := &Hub{folder: f}
	for _, pattern := range patterns {
		for _, form := range []string{pattern, path.Base(pattern)} {
			found, _ := filepath.Glob(escaped(f.Path) + "/" + form)
			slices.Sort(found)
			for _, name := range found {
				if err := h.open(name); err != nil {
					h.Close()
					return nil, err
				}
			}
			if len(found) > 0 {
				return h, nil
			}
		}
	}
	if f.Has(hubLines) {
		return h, nil
	}
	return nil, fmt.Errorf("%s has no %s", f.Path, strings.Join(append(patterns, hubLines), ", "))
}

func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func (h *Hub) open(name string) error {
	table, err := rows.OpenTable(name)
	if err != nil {
		return err
	}
	before := 0
	if len(h.ends) > 0 {
		before = h.ends[len(h.ends)-1]
	}
	h.tables, h.ends = append(h.tables, table), append(h.ends, before+table.Len())
	below, err := filepath.Rel(h.folder.Path, name)
	h.folder.read = append(h.folder.read, Source{filepath.ToSlash(below), "parquet-" + table.Fingerprint()})
	return err
}

// Close closes the files.
func (h *Hub) Close() error {
	var errs []error
	for _, table := range h.tables {
		errs = append(errs, table.Close())
	}
	return errors.Join(errs...)
}

// EachRow passes the rows on, counted from 0 over all files, with the given columns.
func EachRow[T any](h *Hub, columns []string, visit func(row int, value T) error) error {
	if h.tables == nil {
		row := -1
		return EachLine(h.folder, hubLines, func(value T) error {
			row++
			return visit(row, value)
		})
	}
	for i, table := range h.tables {
		before := h.ends[i] - table.Len()
		err := table.Read(columns, func(row int, text []byte) error {
			var value T
			if err := Decode(text, &value); err != nil {
				return err
			}
			return visit(before+row, value)
		})
		if err != nil {
			return fmt.Errorf("%w: is it the benchmark that was named, and a release that is known?", err)
		}
	}
	return nil
}

// Images are the images in the columns of a row.
func (h *Hub) Images(row int, columns ...string) ([]picture.Image, error) {
	for i, table := range h.tables {
		if row < h.ends[i] {
			return table.Images(row-h.ends[i]+table.Len(), columns...)
		}
	}
	return nil, failure.Inputf("%s has no pictures: they are in the parquet files of the hub's set",
		filepath.Join(h.folder.Path, hubLines))
}
