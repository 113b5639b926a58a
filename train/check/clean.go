package check

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

// cleanFile is where the usable rows of a data set are written: the file that the user named, with the number of the
// data set before its ending if there are several.
func cleanFile(file string, source, sources int) string {
	if sources == 1 {
		return file
	}
	ending := filepath.Ext(file)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(file, ending), source, ending)
}

// tryClean says, before any row is read, why the usable rows of the opened data, nil if it cannot be opened, cannot be
// written.
func (s *stageCheck) tryClean(d *input.Dataset) error {
	if s.options.Clean == "" {
		return nil
	}
	if d == nil {
		s.note("--write-clean wrote nothing: the rows can be read when what is missing is there")
		return nil
	}
	if s.options.NoTokens {
		return failure.Inputf("--write-clean needs the lengths of the rows, by which a run leaves some out: " +
			"leave out --no-tokens")
	}
	for i, source := range d.Sources {
		if _, ok := source.(rows.Verbatim); !ok {
			return failure.Inputf("--write-clean: data[%d] is not JSON, and only JSON is written; "+
				"llavatrain shard writes the rows of any form", i)
		}
		file := cleanFile(s.options.Clean, i, len(d.Sources))
		if _, err := os.Lstat(file); err == nil {
			return failure.Inputf("--write-clean: %s exists; remove it, or name another file", file)
		}
		if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
			return failure.Inputf("--write-clean: there is no folder %s; make it, or name another file",
				filepath.Dir(file))
		}
	}
	return nil
}

// writeAllClean writes the rows of each data set that a run can use and that like, which may be nil, does not drop.
func (s *stageCheck) writeAllClean(d *input.Dataset, skipped []input.SkippedRow, like *likeCheck) error {
	if s.options.Clean == "" {
		return nil
	}
	bad := make([]map[int]bool, len(d.Sources))
	for source := range bad {
		bad[source] = map[int]bool{}
	}
	for _, row := range skipped {
		bad[row.Data][row.Row] = true
	}
	if like != nil {
		for row := range like.dropped { // none that a run skips: those are not compared
			bad[row.Data][row.Row] = true
		}
	}
	for i, source := range d.Sources {
		if err := s.writeClean(cleanFile(s.options.Clean, i, len(d.Sources)), source, bad[i], i); err != nil {
			return err
		}
	}
	return nil
}

// writeClean writes the rows of a data set that are not bad, as they stand in its file, as one JSON array.
func (s *stageCheck) writeClean(file string, source rows.Source, bad map[int]bool, at int) error {
	text := source.(rows.Verbatim) // as tryClean has found
	if err := writeWhole(file, func(w *bufio.Writer) error { return copyRows(w, text, bad) }); err != nil {
		return fmt.Errorf("--write-clean: %w", err)
	}
	path, err := filepath.Abs(file) // a path in a recipe starts at the recipe's folder
	if err != nil {
		return err
	}
	set := fmt.Sprintf("%s.data.%d.path=%s", s.found.Stage, at, path)
	if !plainWord.MatchString(set) {
		set = "'" + strings.ReplaceAll(set, "'", `'\''`) + "'"
	}
	s.note("wrote %s: %d of %d rows; to train on them: --set %s", file, source.Len()-len(bad), source.Len(), set)
	return nil
}

// plainWord matches what a shell takes as one word.
var plainWord = regexp.MustCompile(`^[\w./=:@%+,-]+$`)

// copyRows writes the rows that are not bad. A bufio.Writer keeps its first error for Flush.
func copyRows(w *bufio.Writer, source rows.Verbatim, bad map[int]bool) error {
	before, after := "[\n", "[]\n"
	for row := range source.Len() {
		if bad[row] {
			continue
		}
		line, err := source.Verbatim(row)
		if err != nil {
			return err
		}
		w.WriteString(before)
		w.Write(line)
		before, after = ",\n", "\n]\n"
	}
	w.WriteString(after)
	return nil
}

// writeWhole writes a file that appears whole or not at all.
func writeWhole(file string, fill func(w *bufio.Writer) error) error {
	out, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		if path := new(fs.PathError); errors.As(err, &path) {
			err = fmt.Errorf("%s: %w", filepath.Dir(file), path.Err) // not the temporary name
		}
		return failure.Input(err)
	}
	defer os.Remove(out.Name()) // unless it has been renamed
	defer out.Close()
	w := bufio.NewWriterSize(out, 1<<20)
	if err := fill(w); err != nil {
		return err
	}
	if err := cmp.Or(w.Flush(), out.Chmod(0o644), out.Sync(), out.Close()); err != nil {
		return failure.Storage(err)
	}
	return failure.Storage(os.Rename(out.Name(), file))
}
