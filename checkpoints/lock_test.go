package checkpoints

import (
	"errors"
	"testing"
)

func TestLockIsExclusive(t *testing.T) {
	run := Run{Dir: t.TempDir()}
	release, err := run.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run.Lock(); !errors.Is(err, ErrBusy) {
		t.Fatalf("a second lock gives %v, want ErrBusy", err)
	}
	release()
	again, err := run.Lock()
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	again()
}
