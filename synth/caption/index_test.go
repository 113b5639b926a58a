package caption

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTexts(t *testing.T) {
	var list texts
	var want []string
	add := func(text string) {
		if number := list.add(text); int(number) != len(want) {
			t.Fatalf("number %d, want %d", number, len(want))
		}
		want = append(want, text)
	}
	add("")
	for i := range 3000 {
		add(strings.Repeat("x", i))
	}
	add(strings.Repeat("y", 2*textBlock))
	add("z")
	for i, text := range want {
		if got := list.at(uint32(i)); got != text {
			t.Fatalf("text %d has %d bytes, want %d", i, len(got), len(text))
		}
	}
}

func TestPhrasesCountOnceACaption(t *testing.T) {
	x := newIndex()
	x.addPhrases(x.ids.add("1"), []string{"cat", "", "cat", "dog"})
	x.addPhrases(x.ids.add("2"), []string{"dog"})
	if !slices.Equal(x.counts, []uint32{1, 2}) || x.phrases.at(0) != "cat" || x.phrases.at(1) != "dog" {
		t.Errorf("counts %v", x.counts)
	}
}

func TestNumbers(t *testing.T) {
	x := newIndex()
	for range 2 {
		for i := range uint32(5000) {
			if got := x.number(fmt.Sprint("phrase ", i)); got != i {
				t.Fatalf("phrase %d is number %d", i, got)
			}
		}
	}
}

// All texts of a table may have the same hash but for its last bits.
func TestTableIsExact(t *testing.T) {
	var list texts
	small := newTable(3)
	for i, text := range []string{"cat", "dog", "cow"} {
		slot := small.slot(&list, text)
		if *slot != 0 {
			t.Fatalf("%s is in the table as %d", text, *slot)
		}
		*slot = list.add(text) + 1
		if got := small.slot(&list, text); *got != uint32(i+1) {
			t.Errorf("%s is in the table as %d", text, *got)
		}
	}
	if small.room() < 3 {
		t.Errorf("room for %d texts", small.room())
	}
}

func TestFinder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ids texts
		want := map[string][]uint32{}
		for i, id := range rapid.SliceOf(rapid.StringN(0, 2, -1)).Draw(t, "ids") {
			ids.add(id)
			want[id] = append(want[id], uint32(i))
		}
		f := newFinder(&ids)
		for _, id := range rapid.SliceOf(rapid.StringN(0, 2, -1)).Draw(t, "asked") {
			got, ok := f.find(id)
			if ok != (len(want[id]) > 0) || ok && got != want[id][0] {
				t.Fatalf("%q is caption %d (%v), want the first of %v", id, got, ok, want[id])
			}
			if ok {
				want[id] = want[id][1:]
			}
		}
	})
}
