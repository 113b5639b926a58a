package answer

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Items about the same images follow the first of them; those about none, or about images that no other has, stay.
func TestItemsAboutTheSameFollowEachOther(t *testing.T) {
	var items []Item
	for _, about := range []string{"a", "", "b", "a", "", "c", "b", "a"} {
		items = append(items, Item{About: about})
	}
	if diff := cmp.Diff([]int{0, 3, 7, 1, 2, 6, 4, 5}, byImages(items)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// Whatever the order is in which replies come, they are written in that of the items, and nothing after a fault.
func TestRepliesAreWrittenInOrder(t *testing.T) {
	var written []int
	fault := errors.New("full")
	o := newInOrder(5, func(i int, s settled) error {
		if i == 3 {
			return fault
		}
		written = append(written, i)
		return nil
	})
	for _, step := range []struct {
		put  int
		want []int
	}{{2, nil}, {1, nil}, {0, []int{0, 1, 2}}, {4, []int{0, 1, 2}}, {3, []int{0, 1, 2}}} {
		if o.put(step.put, settled{}); !slices.Equal(written, step.want) {
			t.Fatalf("after %d: %v are written, want %v", step.put, written, step.want)
		}
	}
	if o.written != 3 || !errors.Is(o.err, fault) {
		t.Errorf("%d written, error %v", o.written, o.err)
	}
}
