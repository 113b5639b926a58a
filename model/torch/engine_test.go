package torch

import (
	"os"
	"strings"
	"testing"
)

func TestTheEngineIsTheOneThatTheBinaryWasBuiltAgainst(t *testing.T) {
	e, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Open(); again != e {
		t.Errorf("a second Open found %+v after %+v", again, e)
	}
	if minor(e.Version) != minor(e.BuiltAgainst) || !strings.Contains(e.Config, e.Version) {
		t.Errorf("version %s, built against %s; its own words: %s", e.Version, e.BuiltAgainst, e.Config)
	}
	if info, err := os.Stat(e.Path); err != nil || info.IsDir() {
		t.Errorf("the library's path %q is no file: %v", e.Path, err)
	}
	if (e.CUDADevices == 0) == (e.WhyNoCUDA == "") {
		t.Errorf("%d cards, and why there are none: %q", e.CUDADevices, e.WhyNoCUDA)
	}
}

func TestVersionsAreComparedByTheirFirstTwoNumbers(t *testing.T) {
	for version, want := range map[string]string{"2.11.0": "2.11", "2.11.1+cpu": "2.11", "2.11": "2.11", "3": "3",
		"unknown": "unknown"} {
		if got := minor(version); got != want {
			t.Errorf("minor(%q) = %q, want %q", version, got, want)
		}
	}
	if got := versionIn("built with X, TORCH_VERSION=2.11.0, USE_CUDA=1"); got != "2.11.0" {
		t.Errorf("version %q", got)
	}
	if got := versionIn("nothing of the kind"); got != "unknown" {
		t.Errorf("version %q", got)
	}
}

func TestAMessageLosesTheEngineStack(t *testing.T) {
	text := "sizes differ\nException raised from f at g.cpp:1 (most recent call first):\nframe #0"
	if got := firstLine(text); got != "sizes differ" {
		t.Errorf("%q", got)
	}
	if got := firstLine("one line\n"); got != "one line" {
		t.Errorf("%q", got)
	}
}
