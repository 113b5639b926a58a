package checkpoints

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

func requireStorage(t *testing.T, what string, err error) {
	t.Helper()
	if !failure.IsStorage(err) || errors.Is(err, failure.ErrInput) {
		t.Errorf("%s: error is %v, want one of the disk", what, err)
	}
}

// A disk that fails while the header of a weight file is read, or after it.
func TestWeightsOnAFailingDisk(t *testing.T) {
	defer noFault()
	path := filepath.Join(t.TempDir(), "w")
	big := tensor("a", F32, 1<<16)
	must(t, WriteSafetensors(path, nil, []Tensor{big}))
	failing := func(err func(path string) error) {
		fault = func(operation, path string) error {
			if operation == "read" {
				return err(path)
			}
			return nil
		}
	}
	failing(func(path string) error { return os.Truncate(path, 0) }) // its pages cannot be brought any more
	_, err := Open(path)
	requireStorage(t, "the header", err)

	must(t, WriteSafetensors(path, nil, []Tensor{big}))
	failing(func(string) error { return syscall.EIO })
	_, err = Open(path)
	requireStorage(t, "the mapping", err)

	noFault()
	must(t, WriteSafetensors(path, nil, []Tensor{big}))
	w := open(t, path)
	loaded, err := w.Load("a")
	must(t, err)
	wantEqual(t, loaded, big)
	v := w.views["a"]
	v.strides = []int64{1}
	w.views["copied"] = v
	must(t, os.Truncate(path, int64(os.Getpagesize())))
	_, err = w.Load("a")
	requireStorage(t, "values", err)
	_, err = w.Tensor("copied")
	requireStorage(t, "values in another order", err)
}

func TestCheckpointOnAFailingDisk(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{StateFile, manifestName} {
		must(t, os.Symlink(datatest.Unreadable, filepath.Join(dir, name)))
	}
	_, err := ReadState(dir)
	requireStorage(t, "ReadState", err)
	requireStorage(t, "Verify", Verify(dir))
}

// What is wrong with the files is the user's.
func TestRefusalsAreTheUsers(t *testing.T) {
	dir := t.TempDir()
	_, missing := Open(filepath.Join(dir, "none"))
	_, empty := Open(dir)
	_, noWeights := Open(write(t, filepath.Join(dir, "w"), []byte("not this")))
	_, noState := ReadState(dir)
	write(t, filepath.Join(dir, StateFile), []byte("{"))
	_, badState := ReadState(dir)
	path := filepath.Join(dir, "good")
	must(t, WriteSafetensors(path, nil, []Tensor{tensor("a", F32, 2)}))
	_, noTensor := open(t, path).Tensor("b")
	for what, err := range map[string]error{
		"no file": missing, "an empty folder": empty, "no weights": noWeights, "no state": noState,
		"a bad state": badState, "no tensor": noTensor,
	} {
		if !errors.Is(err, failure.ErrInput) || failure.IsStorage(err) {
			t.Errorf("%s: error is %v, want one of the user's", what, err)
		}
	}
}
