package caption

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

func readAll(path string) (all []Caption, err error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	err = f.each(func(c Caption) error {
		all = append(all, c)
		return nil
	})
	return all, err
}

const cocoText = `{"info": {"a": [1, {"b": "]"}]}, "annotations": [
	{"id": 11, "image_id": 2, "caption": " A cat. \n"}, {"id": 12, "image_id": 1, "caption": "A dog"},
	{"id": 13, "image_id": 3, "caption": "A cow"}],
	"images": [{"id": 1, "file_name": "one.jpg"}, {"id": 2, "file_name": "two.jpg", "width": 5}]}`

func TestForms(t *testing.T) {
	two := []Caption{{"1", "a.jpg", "A cat"}, {"x", "b.jpg", "A dog"}}
	coco := []Caption{{"11", "two.jpg", "A cat."}, {"12", "one.jpg", "A dog"}, {"13", "", "A cow"}}
	llava := `{"id": 1, "image": "a.jpg", "conversations": [{"from": "human", "value": "?\n<image>"}, ` +
		`{"from": "gpt", "value": "A cat\n"}, {"from": "human", "value": "?"}, {"from": "gpt", "value": "No"}]}`
	for name, c := range map[string]struct {
		text string
		want []Caption
	}{
		"LLaVA's rows":           {"[" + llava + `,{"id":"x","image":"b.jpg","caption":" A dog"}]`, two},
		"the same, a row a line": {llava + "\n\n" + `  {"id":"x","image":"b.jpg","caption":"A dog"}`, two},
		"with byte order mark":   {"\ufeff[" + llava + "]", two[:1]},
		"lines with it":          {"\ufeff" + llava + "\r\n", two[:1]},
		"empty array":            {" [ ] ", nil},
		"COCO":                   {cocoText, coco},
		"COCO, one line":         {strings.ReplaceAll(cocoText, "\n", ""), coco},
		"COCO, indented":         {strings.ReplaceAll(cocoText, "{", "{\n"), coco},
		"no image, no caption":   {`{"id": "1", "caption": null, "conversations": []}`, []Caption{{ID: "1"}}},
	} {
		got, err := readAll(datatest.WriteFile(t, t.TempDir(), "f", c.text))
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v; -want +got\n%s", name, err, diff)
		}
	}
}

func TestBadFiles(t *testing.T) {
	row := `{"id": 1, "image": "a.jpg", "caption": "A cat"}`
	for name, c := range map[string]struct {
		text string
		want []string // words of the error
	}{
		"empty":                {" \n", []string{"empty", "known forms"}},
		"text":                 {"A cat\n", []string{"invalid character"}},
		"no id":                {row + "\n" + `{"caption": "A cat"}`, []string{"line 2", `"id"`}},
		"id of a wrong type":   {"[" + row + `, {"id": [1]}]`, []string{"row 1", "id"}},
		"no caption":           {"[" + row + `, {"id": 2}]`, []string{"row 1", `"caption"`}},
		"cut array":            {"[" + row + ",", []string{"incomplete"}},
		"cut row":              {"[" + row + "," + row[:20], []string{"row 1", "incomplete"}},
		"more after the array": {"[" + row + "]]", []string{"invalid character"}},
		"two arrays":           {"[" + row + "] []", []string{"follows"}},
		"bad line":             {row + "\n{\n", []string{"line 2"}},
		"two rows on a line":   {row + "\n" + row + row, []string{"line 2"}},
		"wrong type": {row + "\n" + `{"id": 2, "image": ["b"]}`,
			[]string{"line 2", `"image" must be a string, not a JSON list`}},
		"no object": {`["a"]`, []string{"row 0", "must be an object, not a JSON string"}},
		"turns": {`{"id": 1, "conversations": {}}`,
			[]string{`"conversations" must be a list, not a JSON object`}},
		"instances": {`{"images": [], "annotations": [{"id": 1, "bbox": []}]}`,
			[]string{"element 0", "instances"}},
		"no images":              {`{"annotations": []}`, []string{`no "images"`}},
		"no annotations":         {`{"images": []}`, []string{`no "annotations"`}},
		"images of a wrong type": {`{"images": {}}`, []string{`"images"`, "{"}},
		"image without name":     {`{"images": [{"id": 1}]}`, []string{"element 0", "file_name"}},
		"cut COCO":               {`{"images": [], "annotations": [`, []string{"incomplete"}},
		"more after COCO":        {`{"images": [], "annotations": []} {}`, []string{"follows"}},
	} {
		_, err := readAll(datatest.WriteFile(t, t.TempDir(), "captions.json", c.text))
		if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), "captions.json: ") {
			t.Errorf("%s: error %v", name, err)
			continue
		}
		for _, word := range c.want {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: error %q does not say %q", name, err, word)
			}
		}
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := readAll(path); !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

// A quote too few must not read a whole file into memory.
func TestValuesAreBounded(t *testing.T) {
	long := `"` + strings.Repeat("x", longest+1<<20)
	for name, text := range map[string]string{
		"line":    `{"id": 1, "caption": "A cat"}` + "\n" + `{"id": ` + long,
		"row":     `[{"id": ` + long,
		"COCO":    `{"images": [], "x": ` + long,
		"caption": `{"images": [], "annotations": [{"caption": ` + long,
	} {
		_, err := readAll(datatest.WriteFile(t, t.TempDir(), "f", text))
		if err == nil || !strings.Contains(err.Error(), "longer than 16 MB") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestUsable(t *testing.T) {
	for _, c := range []struct {
		caption Caption
		want    Reason
	}{
		{Caption{"1", "a.jpg", "A cat"}, ""},
		{Caption{"1", "", "A cat"}, NoImage},
		{Caption{"1", "a.jpg", ""}, NoCaption},
		{Caption{"1", "a.jpg", "A \ufffd"}, Encoding},
		{Caption{"1", "a.jpg", "A <image>"}, Markup},
	} {
		if got := c.caption.usable(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.caption, got, c.want)
		}
	}
}

func TestVisitorsErrorsComeBackAsTheyAre(t *testing.T) {
	path := datatest.WriteFile(t, t.TempDir(), "f", `{"id": 1, "caption": "A cat"}`)
	f, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := f.each(func(Caption) error { return stop }); err != stop {
		t.Errorf("error %v", err)
	}
	if err := phraseLines(path, func(line) error { return stop }); err != stop {
		t.Errorf("error %v", err)
	}
}

func FuzzCaptions(f *testing.F) {
	for _, seed := range []string{cocoText, `[{"id": 1, "image": "a", "caption": "A cat"}]`,
		`{"id": "x", "image": "a", "conversations": [{"from": "gpt", "value": "A cat"}]}` + "\n", "\ufeff[]",
		`{"images":[`} {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), "captions")
	f.Fuzz(func(t *testing.T, text []byte) {
		path := fmt.Sprint(path, os.Getpid())
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(path)
		if err != nil && !errors.Is(err, failure.ErrInput) {
			t.Fatalf("error %v", err)
		}
		again, _ := readAll(path)
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatalf("the second reading differs\n%s", diff)
		}
		for _, c := range got {
			if c.ID == "" || c.Text != strings.TrimSpace(c.Text) {
				t.Fatalf("%+v", c)
			}
		}
	})
}

func FuzzPhraseLines(f *testing.F) {
	f.Add([]byte(`{"id": 1, "phrases": ["A cat", "It"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		x := newIndex()
		x.ids.add("1")
		path := filepath.Join(t.TempDir(), "phrases")
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
		found, strangers, err := x.addFromFile(context.Background(), path)
		if err != nil && !errors.Is(err, failure.ErrInput) || found > 1 || strangers < 0 {
			t.Fatalf("%d and %d lines, error %v", found, strangers, err)
		}
	})
}
