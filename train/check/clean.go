package check

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/runs/failure"
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

// writeClean writes the rows of a data set that a run can use, as they stand in its file, as one JSON array. Nothing is
// overwritten.
func (s *stageCheck) writeClean(file string, source rows.Source, skipped []int, at int) error {
	text, ok := source.(rows.Verbatim)
	if !ok {
		return failure.Inputf("--write-clean: data[%d] is not JSON; llavatrain shard writes the rows of any form", at)
	}
	if checkpoints.Exists(file) {
		return failure.Inputf("--write-clean: %s exists; remove it, or name another file", file)
	}
	bad := map[int]bool{}
	for _, row := range skipped {
		bad[row] = true
	}
	if err := writeWhole(file, func(w *bufio.Writer) error { return copyRows(w, text, bad) }); err != nil {
		return err
	}
	s.note("wrote %s: %d of %d rows; to train on them: --set %s.data.%d.path=%s", file, source.Len()-len(skipped),
		source.Len(), s.found.Stage, at, file)
	return nil
}

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
		return failure.Input(err) // the folder that was named
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
