package checkpoints

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	run := Run{filepath.Join(t.TempDir(), "new", "pretrain")}
	must(t, run.Busy())
	if _, err := os.Stat(run.Dir); err == nil {
		t.Error("Busy made the folder")
	}
	release, err := run.Lock()
	must(t, err)
	_, second := run.Lock()
	for what, err := range map[string]error{"Lock": second, "Busy": run.Busy()} {
		if !errors.Is(err, ErrBusy) {
			t.Fatalf("%s gives %v, want ErrBusy", what, err)
		}
		wantError(t, err, fmt.Sprintf(
			"run folder is in use: process %d works in %s; wait for it to end, or choose another",
			os.Getpid(), run.Dir))
	}
	release()
	must(t, run.Busy())
	release, err = run.Lock()
	must(t, err)
	release()
}

// Who has the folder is said as far as it is known.
func TestLockSigned(t *testing.T) {
	run := Run{t.TempDir()}
	release, err := run.Lock()
	must(t, err)
	defer release()
	for text, want := range map[string]string{
		"": "another llavatrain works", "?\n": "another llavatrain works", "12": "process 12 works",
		"12 far\n": `process 12 on "far" works`,
	} {
		write(t, run.lockFile(), []byte(text))
		wantError(t, run.Busy(), want)
	}
}
