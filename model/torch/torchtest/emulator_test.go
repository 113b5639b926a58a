package torchtest_test

import (
	"testing"

	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// A GPU would hang or compute nonsense; the emulator says what is wrong.
func TestTheEmulatorSeesMistakes(t *testing.T) {
	for kernel, want := range map[string]string{"part_ways": "lanes of a warp part ways",
		"miss_barrier": "a barrier that not all threads reach"} {
		if got := torchtest.Refusal(kernel); got != want {
			t.Errorf("%s: %q, want %q", kernel, got, want)
		}
	}
}
