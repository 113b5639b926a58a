package datatest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Unreadable is a file of this process whose first bytes return EIO when read, like files on a failing disk: nothing is
// mapped at address 0.
const Unreadable = "/proc/self/mem"

// FailReads makes every further read of the file at path return EIO, through any open file of this process.
func FailReads(t testing.TB, path string) {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := os.Open(Unreadable)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, entry := range open {
		if target, _ := os.Readlink(filepath.Join("/proc/self/fd", entry.Name())); target != path {
			continue
		}
		failed++
		if err := unix.Dup3(int(bad.Fd()), number(t, entry.Name()), unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	if failed == 0 {
		t.Fatalf("%s is not open", path)
	}
}

func number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
