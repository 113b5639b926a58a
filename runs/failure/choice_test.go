package failure

import (
	"errors"
	"strings"
	"testing"
)

func TestLookUp(t *testing.T) {
	table := map[string]int{"b": 2, "a": 1}
	if value, err := LookUp("order", "b", table); value != 2 || err != nil {
		t.Errorf("%d, %v", value, err)
	}
	for name, want := range map[string]string{
		"c":                     `order must be one of a, b, not "c"`,
		"":                      `order must be one of a, b, not ""`,
		"\x1b[2J":               `order must be one of a, b, not "\x1b[2J"`,
		strings.Repeat("x", 61): `order must be one of a, b, not "` + strings.Repeat("x", 60) + `…"`,
		strings.Repeat("é", 60): `order must be one of a, b, not "` + strings.Repeat("é", 60) + `"`,
	} {
		value, err := LookUp("order", name, table)
		if value != 0 || err == nil || err.Error() != want || !errors.Is(err, ErrInput) {
			t.Errorf("%d, %v, want %s", value, err, want)
		}
	}
}
