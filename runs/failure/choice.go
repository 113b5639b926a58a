package failure

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// LookUp finds a name in a table. What it says of another name is NotOneOf's.
func LookUp[V any](what, name string, table map[string]V) (V, error) {
	value, ok := table[name]
	if !ok {
		return value, NotOneOf(what, name, slices.Sorted(maps.Keys(table)))
	}
	return value, nil
}

// NotOneOf is the user's error of a name that is not among the valid ones, in the words of a recipe's problems: WHAT
// must be one of VALID, not "NAME".
func NotOneOf(what, name string, valid []string) error {
	const longest = 60 // names come from files, and may be anything
	if text := []rune(name); len(text) > longest {
		name = string(text[:longest]) + "…"
	}
	return Inputf("%s must be one of %s, not %s", what, strings.Join(valid, ", "), strconv.Quote(name))
}
