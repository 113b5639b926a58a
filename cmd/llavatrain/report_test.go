package main

import (
	"bytes"
	"errors"
	"testing"
)

// What nobody has classified asks for a report; what the user can do something about does not.
func TestReport(t *testing.T) {
	for code, want := range map[int]string{
		1: "llavatrain: internal fault: a\nPlease report this with the command that you ran.\n",
		2: "llavatrain: a\n",
		3: "llavatrain: a\n",
	} {
		var stderr bytes.Buffer
		if report(&stderr, code, errors.New("a")); stderr.String() != want {
			t.Errorf("code %d: %q, want %q", code, stderr.String(), want)
		}
	}
}
