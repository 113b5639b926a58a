package picture

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePinpoints(t *testing.T) {
	for text, want := range map[string][]Pinpoint{
		"(1x1),...,(2x3)":             {{10, 10}, {10, 20}, {10, 30}, {20, 10}, {20, 20}, {20, 30}},
		"(2x1),...,(3x1)":             {{20, 10}, {30, 10}},
		"(2x2),...,(2x2)":             {{20, 20}},
		"(1x1),(2x2)":                 {{10, 10}, {20, 20}},
		" (1x2), (3x1) ,(1x2)\n":      {{10, 20}, {30, 10}, {10, 20}},
		"(100x1)":                     {{1000, 10}},
		"[(10, 20), (30, 10)]":        {{10, 20}, {30, 10}},
		"[[10,20],[30,10],]":          {{10, 20}, {30, 10}},
		" [ ( 10 , 20 ) ] ":           {{10, 20}},
		"( 1 x 1 ) , ... , ( 1 x 2 )": {{10, 10}, {10, 20}},
		"[(0010, 20)]":                {{10, 20}},
		"(10x10),...,(10x10)":         {{100, 100}},
		"[(1000, 10), (10, 1000)]":    {{1000, 10}, {10, 1000}},
	} {
		got, err := ParsePinpoints(text, 10)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestParsePinpointsRefuses(t *testing.T) {
	for _, text := range []string{
		"", "[]", "anyres", "(1x1),...", "...,(6x6)", "(1x1),...(6x6)", "(1x1),(1x2),...,(6x6)", "(1x1)(2x2)", "(1x1),",
		"(1 1x1)", "(-1x1)", "(1x1.5)", "(1×1)", "336x672", "[336, 672]", "[(336, 672, 3)]", "[(336, 672), 5]",
		"[(3 36, 672)]", "(336, 672)",
	} {
		refusePinpoints(t, text, `write "(1x1),...,(6x6)" for every grid of tiles up to 6 × 6, `+
			`"(1x2),(2x1)" for some, or "[(336, 672), (672, 336)]" in pixels`)
	}
	for _, test := range [][2]string{
		{"(0x0),...,(2x2)", "the range from 0x0 to 2x2 is empty or begins below 1x1"},
		{"(2x2),...,(1x1)", "the range from 2x2 to 1x1 is empty or begins below 1x1: the last grid must be at least"},
		{"(1x3),...,(3x1)", "the range from 1x3 to 3x1 is empty"},
		{"(1x1),...,(11x11)", "grid 11x11 has 11 × 11 tiles, more than the limit of 100: use a smaller one"},
		{"(0x1)", "pinpoint 0x336 must have positive sides: use multiples of the tower's 336 pixels"},
		{"(1x1),(101x1)", "pinpoint 33936x336 has 101 × 1 tiles, more than the limit of 100"},
		{"[(500, 336)]", "pinpoint 500x336 is not a multiple of the tower's 336 pixels: use multiples such as 672x336"},
		{"[(672, 7)]", "pinpoint 672x7 is not a multiple of the tower's 336 pixels: use multiples such as 672x336"},
		{"[(0, 336)]", "pinpoint 0x336 must have positive sides: use multiples of the tower's 336 pixels such as"},
		{"(99999999999999999999x1)", "number 99999999999999999999 is too large: a pinpoint has at most 100 tiles"},
		{"(1x1),...,(1x4611686018427387904)", "number 4611686018427387904 is too large"},
		{"[(4611686018427387904, 4)]", "number 4611686018427387904 is too large"},
	} {
		refusePinpoints(t, test[0], test[1])
	}
}

// refusePinpoints checks that a text is refused for a tower of 336 pixels, by an error that repeats it.
func refusePinpoints(t *testing.T, text, problem string) {
	t.Helper()
	_, err := ParsePinpoints(text, 336)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("pinpoints %q: ", text)) ||
		!strings.Contains(err.Error(), problem) {
		t.Errorf("%q: error %v, want %q and the text", text, err, problem)
	}
}

func TestPairPinpoints(t *testing.T) {
	list, err := PairPinpoints([][]int{{336, 672}, {672, 336}, {336, 672}}, 336)
	if diff := cmp.Diff([]Pinpoint{{336, 672}, {672, 336}, {336, 672}}, list); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]Pinpoint{{672, 336}, {336, 672}, {672, 336}}, swapPinpoints(list)); diff != "" {
		t.Errorf("swapped (-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		pairs   [][]int
		problem string
	}{
		{nil, `the list of pinpoints is empty: give at least one, such as "(1x1),...,(2x2)"`},
		{[][]int{{336, 336}, {336}}, "pinpoint 2 of the list has 1 numbers: it must have 2, such as [336, 672]"},
		{[][]int{{336, 336, 3}}, "pinpoint 1 of the list has 3 numbers"},
		{[][]int{{-336, 336}}, "pinpoint -336x336 must have positive sides"},
		{[][]int{{336, 0}}, "pinpoint 336x0 must have positive sides"},
		{[][]int{{337, 336}}, "pinpoint 337x336 is not a multiple of the tower's 336 pixels: use multiples such as"},
		{[][]int{{336 << 50, 336 << 50}}, "tiles, more than the limit of 100"},
	} {
		if _, err := PairPinpoints(test.pairs, 336); err == nil || !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%v: error %v, want %q", test.pairs, err, test.problem)
		}
	}
}

// FuzzParsePinpoints: no text makes the reader fail otherwise than by an error, and what it reads is a list that passes
// the check and is read again from the list's own numbers.
func FuzzParsePinpoints(f *testing.F) {
	for _, text := range []string{"(1x1),...,(6x6)", "(1x2),(2x1)", "[(336, 672), (672, 336)]", "[[336,672],]"} {
		f.Add(text, uint16(336))
	}
	f.Fuzz(func(t *testing.T, text string, size uint16) {
		edge := 1 + int(size)%maxImageSize
		list, err := ParsePinpoints(text, edge)
		if err != nil {
			return
		}
		if err := CheckPinpoints(list, edge); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		pairs := make([]string, len(list))
		for i, p := range list {
			pairs[i] = fmt.Sprintf("(%d, %d)", p.Width, p.Height)
		}
		again, err := ParsePinpoints("["+strings.Join(pairs, ", ")+"]", edge)
		if diff := cmp.Diff(list, again); err != nil || diff != "" {
			t.Fatalf("%q: error %v (-want +got):\n%s", text, err, diff)
		}
	})
}
