package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/draw"

	"image"

	"github.com/llavatrain/llavatrain/train/check"
)

// smaller is a photo of half the size, compressed again.
func smaller(t *testing.T, file []byte) []byte {
	t.Helper()
	photo, err := jpeg.Decode(bytes.NewReader(file))
	must(t, err)
	half := image.NewRGBA(image.Rect(0, 0, photo.Bounds().Dx()/2, photo.Bounds().Dy()/2))
	draw.CatmullRom.Scale(half, half.Rect, photo, photo.Bounds(), draw.Src, nil)
	var b bytes.Buffer
	must(t, jpeg.Encode(&b, half, &jpeg.Options{Quality: 60}))
	return b.Bytes()
}

// copiesRecipe has photos in one data set, and smaller copies of them in another.
const copiesRecipe = `
model:
  vision: {config: base/tower.json, select_layer: -1}
  language: {config: base/language.json, tokenizer: {path: base}, max_length: 256}
finetune:
  data: [{path: photos.json, images: photos}, {path: copies.json, images: copies}]
  template: vicuna_v1
  train: {projector: {lr: 1e-3}}
  batch: {global: 2}
  steps: 1
`

// copies makes a world with the photos of the shared set, their smaller copies, half of these in the rows themselves,
// and at the end of the photos a picture that is damaged behind its header. It returns the recipe and the photos.
func copies(t *testing.T) (recipe string, photos []string) {
	t.Helper()
	dir := world(t)
	photos, err := filepath.Glob(filepath.Join(shared(t, "coco-mini", "images"), "*.jpg"))
	if must(t, err); len(photos) < 10 {
		t.Fatalf("%d photos", len(photos))
	}
	for _, folder := range []string{"photos", "copies"} {
		must(t, os.Mkdir(filepath.Join(dir, folder), 0o777))
	}
	var first, second []string
	for i, path := range photos {
		name, file := filepath.Base(path), read(t, path)
		write(t, filepath.Join(dir, "photos", name), string(file))
		first = append(first, pictureRow(name), pictureRow(name)) // two rows, one picture
		small := smaller(t, file)
		if i%2 == 0 {
			second = append(second, pictureRow("data:image/jpeg;base64,"+base64.StdEncoding.EncodeToString(small)))
			continue
		}
		write(t, filepath.Join(dir, "copies", name), string(small))
		second = append(second, pictureRow(name))
	}
	noScan := []byte{0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0, 0xff, 0xd9}
	write(t, filepath.Join(dir, "photos", "broken.jpg"), string(noScan))
	first = append(first, pictureRow("broken.jpg"))
	write(t, filepath.Join(dir, "photos.json"), "["+strings.Join(first, ",\n")+"]")
	write(t, filepath.Join(dir, "copies.json"), "["+strings.Join(second, ",\n")+"]")
	recipe = filepath.Join(dir, "copies.yaml")
	write(t, recipe, copiesRecipe)
	return recipe, photos
}

func alikeChecked(t *testing.T, args ...string) check.StageChecked {
	t.Helper()
	var out, messages bytes.Buffer
	if code := run(append([]string{"check", "--json"}, args...), &out, &messages); code != 0 {
		t.Fatalf("check %v: exit code %d\n%s%s", args, code, out.String(), messages.String())
	}
	var c check.Checked
	must(t, json.Unmarshal(out.Bytes(), &c))
	return c.Stages[0]
}

// Smaller copies of photos are found across data sets, in files and in rows, each with its own photo; a benchmark of
// the same photos under COCO's older names finds all of them by their numbers, or by their looks where there are none.
func TestCheckFindsCopies(t *testing.T) {
	t.Setenv("LLAVATRAIN_CACHE", t.TempDir())
	recipe, photos := copies(t)
	n := len(photos)
	for _, flags := range [][]string{{}, {}, {"--decode"}} { // decoded, from the cache, and decoded for two reasons
		found := alikeChecked(t, append(flags, recipe, "--alike")...).Alike
		if unread := 1 - len(flags); found.Pictures != 2*n || found.Unread != unread || found.Plain != 0 {
			t.Errorf("%v: %d pictures, %d plain, %d not read", flags, found.Pictures, found.Plain, found.Unread)
		}
		if near := found.Near; near.Count != n || near.Files != n || near.Across != n {
			t.Errorf("%v: %d rows, %d files, %d across; want %d", flags, near.Count, near.Files, near.Across, n)
		}
		for _, l := range found.Near.Rows {
			if *l.Of.Row != 2*l.Row || l.Of.Image != filepath.Base(photos[l.Row]) || *l.Distance > 4 {
				t.Errorf("%v: %s", flags, l.Text())
			}
		}
	}
	var questions strings.Builder
	for _, path := range photos {
		fmt.Fprintf(&questions, "{\"question_id\": 1, \"image\": \"COCO_val2014_%s\", \"text\": \"\"}\n",
			filepath.Base(path))
	}
	numbers, list := filepath.Join(t.TempDir(), "questions.jsonl"), filepath.Join(t.TempDir(), "list.txt")
	write(t, numbers, questions.String())
	write(t, list, strings.Join(renamed(t, photos), "\n"))
	against := alikeChecked(t, recipe, "--alike", "--against", numbers, "--against", list).Against
	if a := against[0]; a.ByNumber.Count != 2*n+n/2 || a.ByNumber.Files != n+n/2 || a.ByHash.Count != 0 {
		t.Errorf("by numbers: %d rows, %d files, %d by looks", a.ByNumber.Count, a.ByNumber.Files, a.ByHash.Count)
	}
	if a := against[1]; a.Hashed != n || a.ByHash.Count != 3*n || a.ByHash.Files != 2*n || a.ByNumber.Count != 0 {
		t.Errorf("by looks: %d hashed, %d rows, %d files, %d by numbers", a.Hashed, a.ByHash.Count, a.ByHash.Files,
			a.ByNumber.Count)
	}
	clean := filepath.Join(t.TempDir(), "clean.json")
	alikeChecked(t, recipe, "--alike", "--against", list, "--drop", "against", "--write-clean", clean)
	left := read(t, strings.Replace(clean, ".json", "-0.json", 1))
	if rows := []json.RawMessage{}; json.Unmarshal(left, &rows) != nil || len(rows) != 1 {
		t.Errorf("%d rows are left of the photos", len(rows))
	}
}

// renamed links to files under names that say nothing, and returns their paths.
func renamed(t *testing.T, files []string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for i, file := range slices.Backward(files) {
		path := filepath.Join(dir, fmt.Sprintf("%d.jpg", i))
		must(t, os.Symlink(file, path))
		paths = append(paths, path)
	}
	return paths
}
