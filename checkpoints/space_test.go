package checkpoints

import (
	"errors"
	"math"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/runs/failure"
)

func TestFreeSpace(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "not", "yet"), "not/yet"} {
		if n, err := FreeSpace(path); err != nil || n <= 0 {
			t.Errorf("%s: %d, %v", path, n, err)
		}
	}
	for range 1000 { // other programs write to this disk: until it is the same before and after
		var before, after unix.Statfs_t
		must(t, unix.Statfs(dir, &before))
		n, err := FreeSpace(dir)
		must(t, err)
		must(t, unix.Statfs(dir, &after))
		if before.Bavail == after.Bavail {
			wantEqual(t, n, int64(before.Bavail)*before.Bsize)
			break
		}
	}
	if _, err := FreeSpace(filepath.Join(write(t, filepath.Join(dir, "file"), nil), "x")); err == nil {
		t.Error("space below a file")
	}
}

func TestNeedSpace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	must(t, NeedSpace(dir, 1))
	err := NeedSpace(dir, math.MaxInt64)
	want := `^storage: "` + regexp.QuoteMeta(dir) + `" has \d+\.\d MB free, but 9223372036854\.8 MB are needed: ` +
		`free some space, or write to another disk$`
	if !errors.Is(err, failure.ErrStorage) || !regexp.MustCompile(want).MatchString(err.Error()) {
		t.Errorf("%v, want %s", err, want)
	}
	file := write(t, filepath.Join(t.TempDir(), "file"), nil)
	if err := NeedSpace(filepath.Join(file, "below"), 0); !errors.Is(err, failure.ErrStorage) {
		t.Errorf("space below a file: %v", err)
	}
}

func TestMegabytes(t *testing.T) {
	sizes := map[int64]string{0: "0.0 MB", 1_000_000: "1.0 MB", 1 << 20: "1.0 MB", 512_340_000: "512.3 MB"}
	for bytes, want := range sizes {
		if got := Megabytes(bytes); got != want {
			t.Errorf("%d bytes are %s, want %s", bytes, got, want)
		}
	}
}
