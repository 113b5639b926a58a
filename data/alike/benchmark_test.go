package alike

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

func TestCOCONumber(t *testing.T) {
	for name, want := range map[string]int64{
		"000000123456.jpg": 123456, "COCO_val2014_000000123456.jpg": 123456, "COCO_train2014_000000123456.JPG": 123456,
		"coco/train2017/000000123456.jpg": 123456, "/a/COCO_test2015_000000123456.png": 123456, "000000123456": 123456,
		"0000000123456.jpg": 0, "00000123456.jpg": 0, "123456.jpg": 0, "vg/VG_100K/2345.jpg": 0, "000000000000.jpg": 0,
		"x_000000123456.jpg": 0, "000000123456.jpg/a.jpg": 0, "000000123456_2.jpg": 0, "": 0,
	} {
		if number, ok := COCONumber(name); ok != (want > 0) || ok && number != want {
			t.Errorf("%q: %d, %t; want %d", name, number, ok, want)
		}
	}
}

func TestEndings(t *testing.T) {
	for name, want := range map[string]string{
		"a/b/c.jpg": "a/b/c.jpg b/c.jpg c.jpg", "/a/b.jpg": "a/b.jpg b.jpg", "../../a//./b.jpg": "a/b.jpg b.jpg",
		"c.jpg": "c.jpg", "/../c.jpg": "c.jpg",
	} {
		var got []string
		for end := range endings(name) {
			got = append(got, end)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
	}
}

func pngFile(t testing.TB, p *picture.RGB) string {
	t.Helper()
	var file bytes.Buffer
	if err := png.Encode(&file, drawable(p)); err != nil {
		t.Fatal(err)
	}
	return file.String()
}

// benchmark opens a file of the given content in a new folder, which holds an image in images/far.png and near.png.
func benchmark(t *testing.T, content string) (*Benchmark, error) {
	t.Helper()
	t.Setenv("LLAVATRAIN_CACHE", t.TempDir())
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o777); err != nil {
		t.Fatal(err)
	}
	datatest.WriteFile(t, dir, "near.png", pngFile(t, rising(90, 80)))
	datatest.WriteFile(t, filepath.Join(dir, "images"), "far.png", pngFile(t, falling(90, 80)))
	datatest.WriteFile(t, dir, "broken.png", "no picture")
	b, err := OpenBenchmark(datatest.WriteFile(t, dir, "file", strings.ReplaceAll(content, "DIR", dir)))
	if err == nil {
		err = b.Hash(picture.Options{}, func(int64, int64) {})
	}
	return b, err
}

// falling grows darker from left to right.
func falling(w, h int) *picture.RGB {
	p := rising(w, h)
	for i := range p.Pix {
		p.Pix[i] = 255 - p.Pix[i]
	}
	return p
}

// said is a place in words.
func said(b *Benchmark, p Place) string {
	kind := map[bool]string{true: "line", false: "row"}[b.Lines]
	if p.Picture == "" {
		return fmt.Sprintf("%s %d", kind, p.At)
	}
	return fmt.Sprintf("%s %d (%q)", kind, p.At, p.Picture)
}

// The three kinds of files, what is counted of them, and what they recognise.
func TestBenchmarks(t *testing.T) {
	rise, fall := HashOf(rising(45, 80)), HashOf(falling(45, 80))
	inside := "data:image/png;base64," + base64.StdEncoding.EncodeToString([]byte(pngFile(t, falling(90, 80))))
	const number, name, hash, none = "COCO_val2014_000000000007.jpg", "pope/b.jpg", "", "x"
	for _, test := range []struct {
		kind, content                                 string
		pictures, numbered, hashed, questions, unread int
		found                                         string // of each picture asked for: its place and way
		asked                                         string // of the question
	}{
		{"questions", `{"question_id": 1, "image": "000000000007.jpg", "text": "Is there a dog?"}

{"question_id": 2, "image": "near.png", "text": "Is there a cat?"}
{"question_id": 3, "image": ["far.png", "near.png", "pope/b.jpg", "broken.png"], "text": "is there a DOG"}
{"question_id": 4, "image": 4, "text": "Is there a cow?"}
{"question_id": 5, "image": "gone.png", "text": ""}`, 6, 1, 2, 2, 1,
			`number: line 1 ("000000000007.jpg"); name: line 4 ("pope/b.jpg"); rise: line 3 ("near.png"); ` +
				`fall: line 4 ("far.png"); `, "line 1"},
		{"a picture in the file", "\ufeff" + `{"question_id": 1, "image": "` + inside + `", "text": ""}`, 1, 0, 1, 0, 0,
			`fall: line 1; `, ""},
		{"rows", `[{"image": "x/COCO_train2014_000000000007.jpg", "conversations": [
{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."},
{"from": "human", "value": "Is there a dog?"}, {"from": "gpt", "value": "No."}]}, 7,
{"image": "far.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a"}]}]`,
			2, 1, 1, 2, 1,
			`number: row 0 ("x/COCO_train2014_000000000007.jpg"); fall: row 2 ("far.png"); `, "row 0"},
		{"lines of rows", `{"image": "near.png", "messages": [{"role": "user", "content": "<image>Is there a dog?"},
`, 0, 0, 0, 0, 0, "its first line is not a complete JSON object", ""},
		{"list", "000000000007\r\nb.jpg\n\n  DIR/near.png\nimages/far.png\nbroken.png\na\tb\n", 5, 1, 2, 0, 1,
			`number: line 1 ("000000000007"); name: line 2 ("b.jpg"); rise: line 4 ("DIR/near.png"); ` +
				`fall: line 5 ("images/far.png"); `, ""},
	} {
		b, err := benchmark(t, test.content)
		if err != nil {
			if !strings.Contains(err.Error(), test.found) || !errors.Is(err, failure.ErrInput) {
				t.Errorf("%s: %v", test.kind, err)
			}
			continue
		}
		counts := [...]int{b.Pictures, b.Numbered, b.Hashed, b.Questions, b.Unread}
		want := [...]int{test.pictures, test.numbered, test.hashed, test.questions, test.unread}
		if counts != want {
			t.Errorf("%s: %v, want %v (%v)", test.kind, counts, want, b.Fault)
		}
		found := ""
		for _, ask := range []struct {
			name, path string
			hash       *Hash
			by         By
		}{
			{"number", number, nil, ByNumber}, {"name", name, nil, ByName}, {"rise", hash, &rise, ByHash},
			{"fall", hash, &fall, ByHash}, {"none", none, nil, 0}, {"bare name", "set/far.png", nil, 0},
		} {
			if m, ok := b.Picture(ask.path, ask.hash); ok && m.By == ask.by {
				found += ask.name + ": " + said(b, m.Place) + "; "
			} else if ok {
				t.Errorf("%s: %s is found by %d", test.kind, ask.name, m.By)
			}
		}
		if found = strings.ReplaceAll(found, filepath.Dir(b.Path), "DIR"); found != test.found {
			t.Errorf("%s: found\n%s, want\n%s", test.kind, found, test.found)
		}
		asked := ""
		if place, ok := b.Question("<image>\nIs there a dog?\nAnswer the question using a single word or phrase."); ok {
			asked = said(b, place)
		}
		if asked != test.asked {
			t.Errorf("%s: the question is found at %q, want %q", test.kind, asked, test.asked)
		}
		if _, ok := b.Question("..."); ok {
			t.Errorf("%s: a question without words is found", test.kind)
		}
	}
}

// Files that are none of these are refused with a reason.
func TestBenchmarkRefusals(t *testing.T) {
	for content, want := range map[string]string{
		"": "it is empty", " \n\n": "it is empty", "\x1f\x8b\x08": "compressed by gzip",
		"a\tb\tc\n1\t2\t3": "it begins with",
		`{"question_id": 1, "image": 5, "text": "a"}`: "line 1: image is a number",
		`{"question_id": 1, "text": ""}`:              "it has no pictures and no questions",
		`{"questions": [{"question": "What?"}]}`:      "row 0: conversations (or messages) is missing",
		strings.Repeat("a", maxName+1):                "it begins with",
		"a.jpg\n" + strings.Repeat("a", maxName+1):    "line 2 is longer than 4096 bytes",
		"[": "", "PAR1\x15\x00": "",
	} {
		_, err := benchmark(t, content)
		if err == nil || !errors.Is(err, failure.ErrInput) || strings.Count(err.Error(), "/file: ") != 1 {
			t.Errorf("%.20q: %v", content, err)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", content, err, want)
		}
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := OpenBenchmark(path); !errors.Is(err, failure.ErrInput) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A picture is decoded once, and again only when its file has changed.
func TestHashesAreKept(t *testing.T) {
	t.Setenv("LLAVATRAIN_CACHE", t.TempDir())
	dir := t.TempDir()
	inside := picture.Image{Path: "row", File: []byte(pngFile(t, falling(90, 80)))}
	open := func(options picture.Options) *Hashes {
		images, err := picture.OpenImages(dir, options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { images.Close() })
		return OpenHashes(images, dir, options)
	}
	of := func(h *Hashes, image picture.Image) Hash {
		t.Helper()
		hash, err := h.Of(image)
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	file := picture.Image{Path: "a.png"}
	datatest.WriteFile(t, dir, "a.png", pngFile(t, rising(90, 80)))
	h := open(picture.Options{})
	rise, fall := of(h, file), of(h, inside)
	if rise.Bits != 1<<steps-1 || fall.Bits != 0 {
		t.Fatalf("%v, %v", rise, fall)
	}
	h.Keep()
	kept := open(picture.Options{})
	if len(kept.known) != 2 || of(kept, file) != rise || of(kept, inside) != fall || kept.changed {
		t.Errorf("%d hashes are kept, changed: %t", len(kept.known), kept.changed)
	}
	if other := open(picture.Options{Orientation: true}); len(other.known) != 0 {
		t.Error("pictures that are read in another way have the same hashes")
	}
	datatest.WriteFile(t, dir, "a.png", pngFile(t, falling(91, 80)))
	if of(kept, file) != fall {
		t.Error("a changed file keeps its hash")
	}
	if img, err := kept.Decode(file); err != nil || img.W != 91 {
		t.Errorf("decoded: %v", err)
	}
	if err := os.WriteFile(kept.file, []byte("damaged"), 0o666); err != nil {
		t.Fatal(err)
	}
	if h := open(picture.Options{}); len(h.known) != 0 || of(h, file) != fall {
		t.Error("a damaged cache is read")
	}
	if _, err := kept.Of(picture.Image{Path: "none.png"}); !errors.Is(err, picture.ErrRow) {
		t.Errorf("a missing file: %v", err)
	}
}

// Whatever a file contains, it is read or refused.
func FuzzBenchmark(f *testing.F) {
	for _, content := range []string{
		"000000000007.jpg\nb.jpg", `{"question_id": 1, "image": "a.jpg", "text": "What?"}`, `{"conversations": []}`,
		`[{"image": "a.jpg", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]`,
	} {
		f.Add([]byte(content))
	}
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		b, err := OpenBenchmark(path)
		if err != nil {
			if !errors.Is(err, failure.ErrInput) {
				t.Fatal(err)
			}
			return
		}
		if b.Pictures+b.Questions == 0 || (b.Unread > 0) != (b.Fault != nil) {
			t.Fatal(fmt.Sprint(b))
		}
		b.Picture(string(content), nil)
		b.Question(string(content))
	})
}
