package caption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// world is two files of captions and one of phrases.
func world(t *testing.T) (captions []string, phrases string) {
	dir := t.TempDir()
	write := func(name string, lines ...string) string {
		return datatest.WriteFile(t, dir, name, strings.Join(lines, "\n"))
	}
	return []string{
			write("one.jsonl",
				`{"id": "a", "image": "a.jpg", "caption": "A cat & a <dog>"}`,
				`{"id": "b", "image": "b.jpg", "caption": "A cat"}`,
				`{"id": "x", "image": "x.jpg", "caption": "  "}`,
				`{"id": "y", "caption": "A cat"}`,
				`{"id": "b", "image": "b2.jpg", "caption": "A dog"}`),
			write("two.json", `[{"id": 3, "image": "c.jpg", "conversations": [{"from": "gpt", "value": "Two cats"}]},`,
				`{"id": "none", "image": "d.jpg", "caption": "A cow"}]`),
		}, write("phrases.jsonl", `{"id": "b", "phrases": ["The cat."]}`, `{"id": 3, "phrases": ["two cats", "it"]}`,
			`{"id": "b", "phrases": ["a dog"], "more": 1}`, ``, `{"id": "who", "phrases": ["a cat"]}`,
			`{"id": "a", "phrases": ["A cat", "a <dog>", "a cat"]}`, `{"id": "b", "phrases": ["a cow"]}`)
}

func TestFilter(t *testing.T) {
	captions, phrases := world(t)
	var out bytes.Buffer
	report, err := Filter(context.Background(), captions, Options{Rule{Seed: 1, Min: 2, Cap: 5}, phrases,
		[]string{"Describe it."}}, &out)
	if err != nil {
		t.Fatal(err)
	}
	want := `[
{"id":"a","image":"a.jpg","conversations":[{"from":"human","value":"<image>\nDescribe it."},` +
		`{"from":"gpt","value":"A cat & a <dog>"}]}
,{"id":"b","image":"b.jpg","conversations":[{"from":"human","value":"<image>\nDescribe it."},` +
		`{"from":"gpt","value":"A cat"}]}
,{"id":"b","image":"b2.jpg","conversations":[{"from":"human","value":"<image>\nDescribe it."},` +
		`{"from":"gpt","value":"A dog"}]}
]
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	cat, dog := Count{"cat", 2, 2}, Count{"dog", 2, 2}
	wantReport := &Report{Captions: 5, Skipped: map[Reason]int{NoCaption: 1, NoImage: 1}, Unmatched: 1, Strangers: 2,
		Kept: 3, Phrases: 3, Enough: 2, Covered: 2, EnoughCovered: 2, Rarest: []Count{cat, dog},
		Commonest: []Count{dog, cat}}
	if diff := cmp.Diff(wantReport, report); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestFilterKeepsNothing(t *testing.T) {
	captions, phrases := world(t)
	var out bytes.Buffer
	report, err := Filter(context.Background(), captions, Options{Rule{Min: 3, Cap: 5}, phrases, []string{"?"}}, &out)
	if err != nil || report.Kept != 0 || out.String() != "[\n]\n" {
		t.Errorf("%+v, error %v, rows %q", report, err, out.String())
	}
}

func TestRequestIsChosenByHash(t *testing.T) {
	f := &filter{Options: Options{Rule: Rule{Seed: 42}, Requests: strings.Fields("a b c d e f g h i j k l")}}
	uses := map[string]int{}
	for id := range 2400 {
		uses[f.request(fmt.Sprint(id))]++
	}
	for _, request := range f.Requests {
		if n := uses[request]; n < 150 || n > 250 {
			t.Errorf("request %s is used %d times of 2400", request, n)
		}
	}
	// From `printf 'brief\x0042\x00x' | sha256sum`: 894dd622fb188693… mod 12.
	if got := f.request("x"); got != "h" {
		t.Errorf("request %s", got)
	}
}

func TestRefusedOptions(t *testing.T) {
	captions, phrases := world(t)
	good := Options{Rule{Min: 1, Cap: 1}, phrases, []string{"?"}}
	for name, c := range map[string]struct {
		files  []string
		change func(*Options)
		want   string
	}{
		"no files":         {nil, func(*Options) {}, "captions"},
		"no phrases":       {captions, func(o *Options) { o.Phrases = "" }, `"auto"`},
		"no requests":      {captions, func(o *Options) { o.Requests = nil }, "request"},
		"a bad rule":       {captions, func(o *Options) { o.Min = 0 }, "min"},
		"no such file":     {captions, func(o *Options) { o.Phrases = "none.jsonl" }, "none.jsonl"},
		"no such captions": {[]string{"none.json"}, func(*Options) {}, "none.json"},
		"captions for phrases": {captions, func(o *Options) { o.Phrases = captions[0] },
			`one.jsonl: line 1: it has no "id" or`},
		"phrases of other captions": {captions[1:], func(o *Options) {
			o.Phrases = datatest.WriteFile(t, t.TempDir(), "p", `{"id": "9", "phrases": []}`)
		}, "none of its 1 ids"},
	} {
		o := good
		c.change(&o)
		report, err := Filter(context.Background(), c.files, o, new(bytes.Buffer))
		if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), c.want) || report != nil {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestFullDisk(t *testing.T) {
	captions, phrases := world(t)
	_, err := Filter(context.Background(), captions, Options{Rule{Min: 1, Cap: 1}, phrases, []string{"?"}}, full{})
	if !errors.Is(err, failure.ErrStorage) || errors.Is(err, failure.ErrInput) {
		t.Errorf("error %v", err)
	}
}

func TestCancelledFilter(t *testing.T) {
	captions, phrases := world(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, phrases := range []string{phrases, Auto} {
		_, err := Filter(ctx, captions, Options{Rule{Min: 1, Cap: 1}, phrases, []string{"?"}}, new(bytes.Buffer))
		if !errors.Is(err, context.Canceled) || errors.Is(err, failure.ErrInput) {
			t.Errorf("%s: error %v", phrases, err)
		}
	}
}

// Files that change between the two readings would give rows that nobody chose.
func TestChangedCaptions(t *testing.T) {
	for _, change := range []string{
		`[{"id": 4, "image": "c.jpg", "caption": "Two cats"}, {"id": "none", "image": "d.jpg", "caption": "A cow"}]`,
		`[{"id": 3, "image": "c.jpg", "caption": "Two cats"}]`,
		`[{"id": 3, "image": "c", "caption": "A"}, {"id": "none", "image": "d", "caption": "A"}, ` +
			`{"id": "none", "image": "d", "caption": "A"}]`,
	} {
		captions, phrases := world(t)
		f := &filter{Options: Options{Rule{Min: 1, Cap: 1}, phrases, []string{"?"}}, report: &Report{}}
		opened, err := openFile(captions[1])
		if err != nil {
			t.Fatal(err)
		}
		f.files = append(f.files, opened)
		x, err := f.index(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(captions[1], []byte(change), 0o666); err != nil {
			t.Fatal(err)
		}
		err = f.write(context.Background(), x.group().choose(f.Rule), new(bytes.Buffer))
		if !errors.Is(err, errChanged) {
			t.Errorf("%s: error %v", change, err)
		}
	}
}
