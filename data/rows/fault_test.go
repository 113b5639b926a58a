package rows

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// requireStorage requires an error of the disk that is not blamed on a row: the row would be skipped silently.
func requireStorage(t *testing.T, what string, err error) {
	t.Helper()
	if !failure.IsStorage(err) || errors.Is(err, failure.ErrInput) {
		t.Errorf("%s: error is %v, want one of the disk", what, err)
	}
}

// A disk that fails under an open data set.
func TestSourcesOnAFailingDisk(t *testing.T) {
	for _, format := range suiteFormats {
		t.Run(format.name, func(t *testing.T) {
			path := format.write(t, t.TempDir(), format.rows())
			s := openSource(t, path)
			files, err := filepath.Glob(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if strings.HasPrefix(format.name, "arrow") { // mapped: no page is left to read
					err = os.Truncate(file, 0)
				} else {
					datatest.FailReads(t, file)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Record(0)
			requireStorage(t, "Record", err)
			_, err = Lengths(s)
			requireStorage(t, "Lengths", err)
		})
	}
}

func TestShardsOnAFailingDisk(t *testing.T) {
	dir := t.TempDir()
	o := smallShards(t, dir)
	s := openShards(t, dir)
	datatest.FailReads(t, filepath.Join(shardName(dir, 0), shardRows))
	_, err := s.Record(0)
	requireStorage(t, "Record", err)

	// A shard that cannot be read is not written again over what may be whole.
	index := filepath.Join(shardName(dir, 0), shardIndex)
	if err := errors.Join(os.Remove(index), os.Symlink(datatest.Unreadable, index)); err != nil {
		t.Fatal(err)
	}
	_, err = OpenShards(dir)
	requireStorage(t, "OpenShards", err)
	manifest := filepath.Join(shardName(dir, 0), "manifest.json")
	if err := errors.Join(os.Remove(manifest), os.Symlink(datatest.Unreadable, manifest)); err != nil {
		t.Fatal(err)
	}
	_, _, _, err = FinishedShards(o)
	requireStorage(t, "FinishedShards", err)
}

func TestOpenOnAFailingDisk(t *testing.T) {
	_, err := Open(datatest.Unreadable, nil)
	requireStorage(t, "Open", err)

	path := writeArrow(t, t.TempDir(), conversationsTable(held(suiteRows())), false)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapping)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	requireStorage(t, "index", (&arrowFile{file: file, mapping: mapping}).index(func(int64, int64) {}))
}

// What is wrong with the files is the user's.
func TestRefusalsAreTheUsers(t *testing.T) {
	dir := t.TempDir()
	changed := datatest.WriteFile(t, dir, "changed.json", `[{"id": "a"}]`)
	s := openSource(t, changed)
	if err := os.Truncate(changed, 5); err != nil {
		t.Fatal(err)
	}
	_, cut := s.Record(0)
	shards := t.TempDir()
	o := smallShards(t, shards)
	o.Origin = "others"
	_, _, _, others := FinishedShards(o)
	damaged := openShards(t, shards)
	if err := rewrite(filepath.Join(shardName(shards, 0), shardRows), "What", "That"); err != nil {
		t.Fatal(err)
	}
	_, sum := damaged.Record(0)
	_, missing := Open(filepath.Join(dir, "none.json"), nil)
	_, empty := Open(datatest.WriteFile(t, dir, "empty.json", ""), nil)
	_, folder := Open(dir, nil)
	_, none := OpenShards(dir)
	_, unmatched := Open(filepath.Join(dir, "*.parquet"), nil)
	for what, err := range map[string]error{
		"a file that was cut": cut, "a row that was changed": sum, "shards of other data": others, "no file": missing,
		"an empty file": empty,
		"a folder":      folder, "no shards": none, "a pattern that matches nothing": unmatched,
		"a bad row": picture.BadRow("a"),
	} {
		if !errors.Is(err, failure.ErrInput) || failure.IsStorage(err) {
			t.Errorf("%s: error is %v, want one of the user's", what, err)
		}
	}
}
