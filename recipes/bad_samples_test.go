package recipes

import (
	"strings"
	"testing"
)

// A policy, or a section with a limit; in both forms the recipe that is written and the digest say the same.
func TestBadSamples(t *testing.T) {
	for value, want := range map[string]BadSamples{
		"skip":                        {Policy: "skip"},
		"{limit: 355}":                {"skip", "355"},
		"{policy: skip, limit: 0.5%}": {"skip", "0.5%"},
		"{policy: fail}":              {Policy: "fail"},
	} {
		r, err := load("r.yaml", []byte(minimal+"  bad_samples: "+value+"\n"), nil)
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if r.Pretrain.BadSamples != want {
			t.Errorf("%s: %+v", value, r.Pretrain.BadSamples)
		}
		text, err := r.Resolved()
		if err != nil {
			t.Fatal(err)
		}
		again, err := load("r.yaml", text, nil)
		if err != nil || again.Pretrain.BadSamples != want {
			t.Errorf("%s: resolved and read: %v", value, err)
		}
		flat := r.Digest(StagePretrain)
		if flat["pretrain.bad_samples"] != want.Policy || flat["pretrain.bad_samples.limit"] != "" {
			t.Errorf("%s: digest %v", value, flat)
		}
	}
	for value, want := range map[string]string{
		"drop":                     `pretrain.bad_samples: must be one of skip, fail, not "drop"`,
		"{policy: drop}":           `pretrain.bad_samples.policy: must be one of skip, fail, not "drop"`,
		"{limit: many}":            "pretrain.bad_samples.limit: must be a number of rows or a share of them",
		"{limit: 101%}":            "must be a number of rows or a share of them",
		"{limit: -1}":              "must be a number of rows or a share of them",
		"{limit: 1.5}":             "must be a number of rows or a share of them",
		"{policy: fail, limit: 5}": "cannot be combined with the policy fail",
		"{limits: 5}":              `unknown key; did you mean "limit"?`,
		"[skip]":                   "expected a section with keys, found a list",
	} {
		_, err := load("r.yaml", []byte(minimal+"  bad_samples: "+value+"\n"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", value, err, want)
		}
	}
	for limit, want := range map[Limit]int{"355": 355, "0": 0, "0.5%": 5, "0.1%": 1, "100%": 1015, "0.05%": 0} {
		if got := limit.Of(1015); got != want {
			t.Errorf("%s of 1015 rows is %d, want %d", limit, got, want)
		}
	}
}
