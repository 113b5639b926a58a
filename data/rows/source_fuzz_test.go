package rows

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// FuzzSources: no content of a data set file may do more than be refused, or give rows that are refused.
func FuzzSources(f *testing.F) {
	for _, format := range suiteFormats {
		if content, err := os.ReadFile(format.write(f, f.TempDir(), format.rows())); err == nil {
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := Open(datatest.WriteFile(t, t.TempDir(), "rows", string(content)), nil)
		if err != nil {
			return
		}
		defer s.Close()
		for row := range min(s.Len(), 10) {
			s.Record(row)
			outline(s, row)
		}
		s.Fingerprint()
	})
}

// TestFlippedBytes is the fuzzing that every test run does: each file of the suite, with one byte of it changed.
func TestFlippedBytes(t *testing.T) {
	for _, format := range suiteFormats {
		dir := t.TempDir()
		content, err := os.ReadFile(format.write(t, dir, format.rows()))
		if err != nil {
			continue // several files
		}
		path := filepath.Join(dir, "flipped")
		for at := 0; at < len(content); at += 1 + len(content)/120 {
			content[at] ^= 0x5a
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
			content[at] ^= 0x5a
			s, err := Open(path, nil)
			if err != nil {
				continue
			}
			for row := range min(s.Len(), 10) {
				s.Record(row)
				outline(s, row)
			}
			s.Close()
		}
	}
}

// FuzzRow: whatever is read has paths within the folder and known roles.
func FuzzRow(f *testing.F) {
	for _, spell := range []func(Record) any{llavaRow, messageRow, partRow} {
		for _, text := range jsonRows(suiteRows(), spell) {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecord(text)
		if err != nil {
			return
		}
		for _, image := range r.Images {
			if image.File == nil && !filepath.IsAbs(image.Path) && !filepath.IsLocal(image.Path) {
				t.Errorf("%q: path %q leads out of the folder", text, image.Path)
			}
		}
		for _, turn := range r.Turns {
			if roles[turn.Role] != turn.Role {
				t.Errorf("%q: role %q", text, turn.Role)
			}
		}
	})
}
