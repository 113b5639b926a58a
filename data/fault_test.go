package data

import (
	"errors"
	"syscall"
	"testing"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/tokenizer"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// What a recipe asks for and cannot have is the user's; lengths that the disk does not give are the disk's.
func TestFaults(t *testing.T) {
	tiny, err := tokenizer.OpenTokenizer("tokenizer/testdata/text_tiny.model", "auto")
	if err != nil {
		t.Fatal(err)
	}
	chatML, err := OpenTemplate("qwen_2")
	if err != nil {
		t.Fatal(err)
	}
	mixture, err := NewMixture(1, []Share{{Rows: 5, Weight: 1}})
	if err != nil {
		t.Fatal(err)
	}
	lengths := func() ([][]int32, error) { return nil, syscall.EIO }
	for what, try := range map[string]func() error{
		"weight":   func() error { _, err := NewMixture(1, []Share{{Rows: 5, Weight: -1}}); return err },
		"template": func() error { _, err := OpenTemplate("none"); return err },
		"tokens":   func() error { _, err := NewEncoder(tiny, chatML, 256, picture.Grid(4)); return err },
		"order":    func() error { _, err := OpenOrder("sorted", mixture, 1, lengths); return err },
	} {
		if err := try(); !errors.Is(err, failure.ErrInput) {
			t.Errorf("%s: error is %v, want one of the user's", what, err)
		}
	}
	if _, err := OpenOrder("grouped", mixture, 1, lengths); !failure.IsStorage(err) ||
		errors.Is(err, failure.ErrInput) {
		t.Errorf("lengths: error is %v, want one of the disk", err)
	}
}
