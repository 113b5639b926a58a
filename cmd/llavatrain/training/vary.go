package training

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// variation is a key of a recipe and the values that it takes in turn.
type variation struct {
	key    string
	values []string
}

// parseVariation reads KEY=VALUE,VALUE. Commas within brackets, braces and quotes belong to a value.
func parseVariation(text string) (v variation, err error) {
	key, list, ok := strings.Cut(text, "=")
	if !ok || key == "" || list == "" {
		return v, failure.Inputf("--vary %q: give KEY=VALUE,VALUE, such as model.projector.type=linear,mlp2x_gelu",
			text)
	}
	v = variation{key, splitValues(list)}
	for i, value := range v.values {
		if value == "" {
			return v, failure.Inputf("--vary %q: value %d is empty", text, i+1)
		}
		if slices.Contains(v.values[:i], value) {
			return v, failure.Inputf("--vary %q lists %s twice", text, value)
		}
	}
	return v, nil
}

// splitValues splits at commas that are in no brackets, braces or quotes.
func splitValues(list string) (values []string) {
	depth, start := 0, 0
	quote := rune(0)
	for i, r := range list {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case strings.ContainsRune("[{(", r):
			depth++
		case strings.ContainsRune("]})", r):
			depth--
		case r == ',' && depth == 0:
			values = append(values, strings.TrimSpace(list[start:i]))
			start = i + 1
		}
	}
	return append(values, strings.TrimSpace(list[start:]))
}

// setting is one value of a varied key.
type setting struct{ key, value string }

// combination is a value for each varied key, in the order of the keys.
type combination []setting

// combinations lists all of them; the last key varies fastest.
func combinations(variations []variation) []combination {
	list := []combination{nil}
	for _, v := range variations {
		var longer []combination
		for _, c := range list {
			for _, value := range v.values {
				longer = append(longer, append(slices.Clip(c), setting{v.key, value}))
			}
		}
		list = longer
	}
	return list
}

// name is the combination's run folder: KEY=VALUE,… with a slash as a dash.
func (c combination) name() string {
	var parts []string
	for _, s := range c {
		parts = append(parts, s.key+"="+strings.NewReplacer("/", "-", `\`, "-").Replace(s.value))
	}
	return strings.Join(parts, ",")
}

// sets are the --set arguments of the combination.
func (c combination) sets() (args []string) {
	for _, s := range c {
		args = append(args, "--set", fmt.Sprintf("%s=%s", s.key, s.value))
	}
	return args
}
