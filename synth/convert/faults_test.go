package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// An entry that would fill the memory is refused before it is read.
func TestLongEntry(t *testing.T) {
	_, err := Convert(&bytes.Buffer{}, "gqa", written(t, `{"1": "`+strings.Repeat("x", maxEntry+1<<16)+`"}`), Options{})
	if !errors.Is(err, errTooLong) {
		t.Errorf("error %v", err)
	}
}

// Pictures that cannot be measured are dropped, each is asked for once, and a failing disk ends it.
func TestSizes(t *testing.T) {
	const ref = `{"ref_id": 1, "image_id": %d, "bbox": [0, 0, 5, 5], "sentences": ["a"]}`
	files := written(t, "["+fmt.Sprintf(ref, 1)+","+fmt.Sprintf(ref, 2)+","+fmt.Sprintf(ref, 2)+","+
		fmt.Sprintf(ref, 3)+"]")
	asked := map[string]int{}
	measure := func(image string) (int, int, error) {
		asked[image]++
		switch image {
		case photo1:
			return 0, 0, fs.ErrNotExist
		case photo2:
			return 10, 10, nil
		}
		return 0, 10, nil
	}
	rows, report := converted(t, "refcoco", files, Options{Size: measure})
	if len(rows) != 1 || report.Dropped.String() != "2 "+noSize {
		t.Errorf("rows %v, dropped %v", brief(rows), report.Dropped)
	}
	if len(asked) != 3 || asked[photo2] != 1 {
		t.Errorf("asked for %v", asked)
	}
	_, err := Convert(&bytes.Buffer{}, "refcoco", files, Options{Size: func(string) (int, int, error) {
		return 0, 0, &fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}
	}})
	if !failure.IsStorage(err) || !strings.Contains(err.Error(), "size of "+photo1+": read x: ") {
		t.Errorf("error %v", err)
	}
	genome := written(t, `[{"id": 1, "regions": []}]`, `[{"image_id": 1, "folder": "a"}]`)
	_, err = Convert(&bytes.Buffer{}, "visual-genome", genome, Options{Size: measure})
	if err == nil || !strings.HasSuffix(err.Error(), "dropped 1 "+noSize) {
		t.Errorf("error %v", err)
	}
}

// Sizes that no picture has are as good as none.
func TestKnownSizes(t *testing.T) {
	for s, want := range map[size]bool{{1, 1}: true, {largest, largest}: true, {0, 1}: false, {1, 0}: false,
		{-1, 1}: false, {1, -1}: false, {largest + 1, 1}: false, {1, largest + 1}: false} {
		if s.known() != want {
			t.Errorf("size %v is known: %v", s, s.known())
		}
	}
}

// fullDisk fails after some bytes.
type fullDisk struct{ left int }

func (f *fullDisk) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return f.left, syscall.ENOSPC
	}
	f.left -= len(p)
	return len(p), nil
}

// A full disk is the storage's fault, at once or at the end.
func TestFullDisk(t *testing.T) {
	var questions []map[string]any
	for i := range 2000 {
		questions = append(questions, map[string]any{"image_id": i, "question": "What is it?",
			"choices": []string{"a", "b"}, "correct_choice_idx": 0})
	}
	text, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	files := written(t, string(text))
	var whole bytes.Buffer
	if _, err := Convert(&whole, "aokvqa", files, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, left := range []int{0, 1 << 17, whole.Len() - 1} {
		if _, err := Convert(&fullDisk{left}, "aokvqa", files, Options{}); !failure.IsStorage(err) {
			t.Errorf("%d bytes: error %v", left, err)
		}
	}
}
