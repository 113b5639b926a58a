package main

import (
	"bytes"
	"errors"
	"testing"
)

// An unclassified error asks for a report; an error that the user can fix does not.
func TestReport(t *testing.T) {
	for _, c := range []struct {
		code   int
		asJSON bool
		want   string
	}{
		{1, false, "llavatrain: internal fault: a <image>\nPlease report this with the command that you ran.\n"},
		{2, false, "llavatrain: a <image>\n"},
		{3, false, "llavatrain: a <image>\n"},
		{1, true, `{"error":"internal fault: a <image>","exit_code":1}` + "\n"},
		{2, true, `{"error":"a <image>","exit_code":2}` + "\n"},
	} {
		var stderr bytes.Buffer
		if report(&stderr, c.code, errors.New("a <image>"), c.asJSON); stderr.String() != c.want {
			t.Errorf("code %d, JSON %t: %q, want %q", c.code, c.asJSON, stderr.String(), c.want)
		}
	}
}

func TestWantsJSON(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
	}{
		{nil, false},
		{[]string{"check", "a.yaml"}, false},
		{[]string{"check", "--json"}, true},
		{[]string{"--json=true", "check"}, true},
		{[]string{"--json", "--json=false"}, false},
		{[]string{"--json=perhaps"}, false},
		{[]string{"check", "--", "--json"}, false},
		{[]string{"check", "--set=a=--json"}, false},
	} {
		if got := wantsJSON(c.args); got != c.want {
			t.Errorf("%q: %t", c.args, got)
		}
	}
}
