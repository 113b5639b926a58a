// Package torchtest helps tests that use the engine.
package torchtest

import (
	"os"
	"runtime"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
)

// NoLeaks opens the engine, locks the test to its OS thread, and checks at the end of the test that all its tensors
// have been freed. Call it before registering any cleanup that frees tensors.
func NoLeaks(t testing.TB) {
	t.Helper()
	if _, err := torch.Open(); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	before := torch.Live()
	t.Cleanup(func() {
		if after := torch.Live(); after != before && !t.Failed() {
			t.Errorf("%d tensors were not freed", after-before)
		}
		runtime.UnlockOSThread()
	})
}

// Shared returns path, a file or folder in the shared data beside the repository. If it is missing, the test is
// skipped, or fails with CI=true.
func Shared(t testing.TB, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed under CI: %v", path, err)
		}
		t.Skipf("%s is absent", path)
	}
	return path
}
