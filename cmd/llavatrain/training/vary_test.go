package training

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitValues(t *testing.T) {
	for list, want := range map[string][]string{
		"linear,mlp2x_gelu":             {"linear", "mlp2x_gelu"},
		"1e-3":                          {"1e-3"},
		"[0.9,0.95], [0.9,0.999]":       {"[0.9,0.95]", "[0.9,0.999]"},
		"{type: pool, stride: 2},{a,b}": {"{type: pool, stride: 2}", "{a,b}"},
		`"(1x1),...,(6x6)",b`:           {`"(1x1),...,(6x6)"`, "b"},
		"(1x1),...,(6x6)":               {"(1x1)", "...", "(6x6)"},
		"a,":                            {"a", ""},
	} {
		if diff := cmp.Diff(want, splitValues(list)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", list, diff)
		}
	}
}

func TestCombinations(t *testing.T) {
	var names []string
	for _, c := range combinations([]variation{{"a", []string{"1", "x/y"}}, {"b.c", []string{"{k: 2}", "3"}}}) {
		names = append(names, c.name())
	}
	want := []string{"a=1,b.c={k: 2}", "a=1,b.c=3", "a=x-y,b.c={k: 2}", "a=x-y,b.c=3"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVariationsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"seed": "give KEY=VALUE,VALUE", "=1": "give KEY", "seed=": "give KEY", "seed=1,,2": "value 2 is empty",
		"seed=1,2,1": "lists 1 twice",
	} {
		if _, err := parseVariation(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
