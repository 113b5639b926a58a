package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/train/check"
)

// planted is a row with a fault, and what check must say about it.
type planted struct{ name, row, reason string }

// plantedRows are row faults that occur in real data sets.
func plantedRows(picture string) []planted {
	q := "<image>\nwhat"
	long := strings.Repeat("what is red and ", 300)
	raw := func(conversations string) string { return `{"id": "odd", "conversations": ` + conversations + `}` }
	turn := func(body string) string { return raw(`[{"from": "human", "value": "what"}, {` + body + `}]`) }
	pictures := func(image string) string {
		return `{"id": "odd", "image": ` + image +
			`, "conversations": [{"from": "human", "value": "<image>\nwhat"}, {"from": "gpt", "value": "a"}]}`
	}
	return []planted{
		{"list for a row", `["a"]`, "it is a list; it must be an object"},
		{"string for a row", `"a"`, "it is a string"},
		{"number for a row", `17`, "it is a number"},
		{"null for a row", `null`, "it is null"},
		{"true for a row", `true`, "it is true or false"},
		{"empty object", `{}`, "conversations (or messages) is missing"},
		{"only an id", `{"id": "odd"}`, "conversations (or messages) is missing"},
		{"other name for conversations", `{"id": "odd", "dialogue": []}`, "conversations (or messages) is missing"},
		{"no message", `{"id": "odd", "messages": []}`, "row has no human turn"},
		{"id is null", `{"id": null, "conversations": []}`, "row has no human turn"},
		{"id is a list", `{"id": [1], "conversations": []}`, "row has no human turn"},
		{"id is an object", `{"id": {}, "conversations": []}`, "row has no human turn"},
		{"id is true", `{"id": true, "conversations": []}`, "row has no human turn"},
		{"id twice", `{"id": 1, "id": 2, "conversations": []}`, `"id" appears twice`},
		{"conversations twice", `{"conversations": [], "conversations": []}`, `"conversations" appears twice`},
		{"image twice", `{"image": "a", "image": "b", "conversations": []}`, `"image" appears twice`},
		{"conversations is null", raw("null"), "conversations (or messages) is missing"},
		{"conversations is a string", raw(`"hi"`), "conversations is a string"},
		{"conversations is an object", raw(`{}`), "conversations is an object"},
		{"conversations is empty", raw(`[]`), "row has no human turn"},
		{"turn is a string", raw(`["hi"]`), "conversations[0] is a string; it must be an object"},
		{"turn is null", raw(`[null]`), "conversations[0] is null"},
		{"turn without from", turn(`"value": "a"`), "conversations[1].from is missing"},
		{"turn without value", turn(`"from": "gpt"`), "conversations[1].value is missing"},
		{"turn of nothing", turn(``), "conversations[1].from is missing"},
		{"from is a number", turn(`"from": 1, "value": "a"`), "conversations[1].from is a number; it must be a string"},
		{"from is null", turn(`"from": null, "value": "a"`), "conversations[1].from is missing or null"},
		{"value is null", turn(`"from": "gpt", "value": null`), "conversations[1].value is missing or null"},
		{"value is a number", turn(`"from": "gpt", "value": 3`), "conversations[1].value is a number"},
		{"value is an object", turn(`"from": "gpt", "value": {}`), "conversations[1].value is an object"},
		{"from twice", turn(`"from": "gpt", "from": "gpt", "value": "a"`), `"from" appears twice`},
		{"value twice", turn(`"from": "gpt", "value": "a", "value": "b"`), `"value" appears twice`},
		{"role bot", turnsRow(picture, "human", q, "bot", "a"),
			`conversations[1].from is "bot"; it must be human or user, gpt or assistant, or system`},
		{"role tool", turnsRow(picture, "human", q, "gpt", "a", "tool", "b"), `conversations[2].from is "tool"`},
		{"system after the question", turnsRow("", "human", "what", "system", "be good", "gpt", "a"),
			`turn 2 is from "system"`},
		{"empty system", turnsRow("", "system", "", "human", "what", "gpt", "a"),
			"turn 1 (system) is empty: fill it or remove it"},
		{"image in system", turnsRow(picture, "system", "<image>", "human", "what", "gpt", "a"),
			"turn 1 (system) holds <image>: an image belongs to a human turn"},
		{"role in capitals", turnsRow("", "Human", "what", "gpt", "a"), `from is "Human"`},
		{"role empty", turnsRow("", "", "what", "gpt", "a"), `from is ""`},
		{"role with a blank", turnsRow("", "human ", "what", "gpt", "a"), `from is "human "`},
		{"human twice", turnsRow("", "human", "what", "human", "a"), `turn 2 is from "human" where "gpt" is expected`},
		{"gpt twice", turnsRow("", "human", "what", "gpt", "a", "gpt", "b"),
			`turn 3 is from "gpt" where "human" is expected`},
		{"only gpt", turnsRow("", "gpt", "a"), "row has no human turn"},
		{"no answer", turnsRow("", "human", "what"),
			"row ends with turn 1, from human: add the answer or remove the turn"},
		{"no last answer", turnsRow("", "human", "what", "gpt", "a", "human", "and"), "row ends with turn 3"},
		{"empty answer", turnsRow(picture, "human", q, "gpt", ""), "turn 2 (gpt) is empty: fill it or remove it"},
		{"empty question", turnsRow("", "human", "", "gpt", "a"), "turn 1 (human) is empty"},
		{"empty later answer", turnsRow("", "human", "what", "gpt", "a", "human", "b", "gpt", ""),
			"turn 4 (gpt) is empty"},
		{"placeholder without image", turnsRow("", "human", q, "gpt", "a"),
			"turn 1 holds <image> but the row has no image: add the image or remove the placeholder"},
		{"placeholder in an answer without image", turnsRow("", "human", "what", "gpt", "<image>"),
			"turn 2 holds <image> but the row has no image"},
		{"image without placeholder", turnsRow(picture, "human", "what", "gpt", "a"),
			"row has 1 image(s) but 0 <image>: put one"},
		{"two placeholders in a turn", turnsRow(picture, "human", "<image><image>\nwhat", "gpt", "a"),
			"row has 1 image(s) but 2 <image>: put one"},
		{"100 placeholders", turnsRow(picture, "human", strings.Repeat("<image>", 100), "gpt", "a"),
			"row has 1 image(s) but 100 <image>"},
		{"two placeholders for one image", turnsRow(picture, "human", q, "gpt", "a", "human", q, "gpt", "a"),
			"row has 1 image(s) but 2 <image>"},
		{"one placeholder for two images", pictures(fmt.Sprintf(`[%q, %q]`, picture, picture)),
			"row has 2 image(s) but 1 <image>"},
		{"no image in the list", pictures(`[]`), "turn 1 holds <image> but the row has no image"},
		{"image is null", pictures(`null`), "turn 1 holds <image> but the row has no image"},
		{"image is a number", pictures(`7`), "image is a number"},
		{"image is an object", pictures(`{"url": "a"}`), "image has no path"},
		{"image in the list is null", pictures(`["a.png", null]`), "image[1] is null; it must be a string"},
		{"image in the list is a list", pictures(`[["a"]]`), "image[0] is a list"},
		{"image path is absolute", pictures(`"/etc/passwd"`),
			"path is absolute and not in the image folder"},
		{"image path leads out", pictures(`"../../world.yaml"`), "it must be a path within the image folder"},
		{"image path leads out in the middle", pictures(`"a/../../b.png"`),
			"it must be a path within the image folder"},
		{"image path is empty", pictures(`""`), "turn 1 holds <image> but the row has no image"},
		{"control token", turnsRow("", "human", "what", "gpt", "a</s>b"),
			`turn 2 (gpt) holds "</s>", which the tokenizer reads as a control token: remove or respell it`},
		{"header of an answer", turnsRow("", "human", "a ASSISTANT: b", "gpt", "a"),
			`which template "vicuna_v1" uses to start an answer`},
		{"question of any length", turnsRow(picture, "human", "<image>\n"+long, "gpt", "a"),
			"the first 256 (max_length) hold no supervised token: shorten the question"},
		{"image after max_length", turnsRow(picture, "human", long, "gpt", "a", "human", "<image>", "gpt", "b"),
			"image does not fit within 256 positions (max_length): shorten the text before it"},
		{"1 MB of text", turnsRow("", "human", strings.Repeat("what is ", 1<<17), "gpt", "a"),
			"hold no supervised token"},
		{"not UTF-8", "{\"id\": \"odd\", \"conversations\": [{\"from\": \"human\", \"value\": \"\xff\xfe\"}]}",
			"text is not UTF-8"},
		{"bad escape", `{"id": "\q", "conversations": []}`, "invalid character 'q' in string escape"},
		{"bad number", `{"id": 01, "conversations": []}`, "invalid character"},
		{"comma too many", `{"id": "odd",, "conversations": []}`, "invalid character ','"},
		{"colon missing", `{"id" "odd"}`, "after object key"},
		{"single quotes", `{'id': 1}`, `invalid character '\''`},
		{"control character in a string", "{\"id\": \"a\x01\", \"conversations\": []}", "in string literal"},
	}
}

// plantedImage is a file in the place of an image; make writes it.
type plantedImage struct {
	name, reason string
	decode       bool // found only if images are decoded
	make         func(t *testing.T, path string)
}

func content(text []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) { write(t, path, string(text)) }
}

func plantedImages(t *testing.T) []plantedImage {
	files := pictureFiles(t)
	of := func(name string, n int) func(*testing.T, string) { return content(files[name][:n]) }
	size := func(name string) int { return len(files[name]) }
	damaged := func(name string, at int) func(*testing.T, string) {
		file := bytes.Clone(files[name])
		file[at] ^= 0x55
		return content(file)
	}
	frame := func(marker byte, w, h uint16) func(*testing.T, string) {
		file := []byte{0xff, 0xd8, 0xff, marker, 0, 11, 8, byte(h >> 8), byte(h), byte(w >> 8), byte(w), 1, 1, 0x11, 0,
			0xff, 0xd9}
		return content(file)
	}
	return []plantedImage{
		{"gone.png", "no such file in the image folder", false, func(*testing.T, string) {}},
		{"empty.png", "file is empty", false, content(nil)},
		{"zeros.jpg", "file contains only zero bytes", false, content(make([]byte, 4096))},
		{"page.jpg", "file is an HTML page, not an image", false, content([]byte("<!DOCTYPE html><html>404</html>"))},
		{"page2.jpg", "file is an HTML page", false, content([]byte("\n <HTML>"))},
		{"feed.png", "file is an XML or SVG file", false, content([]byte(`<?xml version="1.0"?>`))},
		{"drawing.png", "file is an SVG file", false, content([]byte(`<svg xmlns="x"/>`))},
		{"paper.png", "file is a PDF file", false, content([]byte("%PDF-1.7"))},
		{"pointer.png", "git lfs pull", false, content([]byte("version https://git-lfs.github.com/spec/v1"))},
		{"new.avif", "AVIF image (convert it", false, content([]byte("\x00\x00\x00\x1cftypavif\x00\x00"))},
		{"phone.heic", "HEIC image (convert it", false, content([]byte("\x00\x00\x00\x1cftypheic\x00\x00"))},
		{"clip.mp4", "file is a video", false, content([]byte("\x00\x00\x00\x1cftypisom\x00\x00"))},
		{"many.zip", "file is a ZIP archive", false, content([]byte("PK\x03\x04abcdef"))},
		{"error.json", "file is JSON text", false, content([]byte(`{"error": 1}`))},
		{"note.png", `file begins with "hello"`, false, content([]byte("hello"))},
		{"folder.png", "not a regular file", false, func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o777)) }},
		{"pipe.png", "not a regular file", false,
			func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o666)) }},
		{"outside.png", "file begins with", false, func(t *testing.T, path string) {
			must(t, os.Symlink(datatest.WriteFile(t, t.TempDir(), "x", "hello"), path))
		}},
		{"dangling.png", "no such file", false,
			func(t *testing.T, path string) { must(t, os.Symlink("nowhere.png", path)) }},
		{"loop.png", "loop.png", false, func(t *testing.T, path string) { must(t, os.Symlink("loop.png", path)) }},
		{strings.Repeat("n", 300) + ".png", "file name too long", false, func(*testing.T, string) {}},
		{"note.png/inner.png", "no such file", false, func(*testing.T, string) {}},
		{"huge.png", "PNG of 30000x30000 is over the limit of 50 million pixels", false, content(hugePNG())},
		{"wide.png", "PNG of 70000x1 is over the limit of 65535 pixels per side", false, content(pngOf(70000, 1))},
		{"none.png", "PNG", false, content(pngOf(0, 5))},
		{"huge.jpg", "JPEG of 65500x65500 is over the limit", false, frame(0xc0, 65500, 65500)},
		{"none.jpg", "JPEG", false, frame(0xc0, 0, 8)},
		{"arithmetic.jpg", "arithmetic coding", false, frame(0xc9, 8, 8)},
		{"lossless.jpg", "lossless", false, frame(0xc3, 8, 8)},
		{"hierarchical.jpg", "differential", false, frame(0xc5, 8, 8)},
		{"huge.gif", "GIF of 65535x65535 is over the limit", false,
			content([]byte("GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x00;"))},
		{"zstd.tiff", "Zstandard compression is not supported; save it as PNG", false,
			content(read(t, "../../data/picture/testdata/image_zstd.tiff"))},
		{"heavy.png", "is over the limit of 67108864", false, func(t *testing.T, path string) {
			write(t, path, string(files["PNG"]))
			must(t, os.Truncate(path, 65<<20))
		}},
		{"signature.png", "PNG cannot be decoded: file is truncated", false, of("PNG", 8)},
		{"header.png", "PNG cannot be decoded: file is truncated", false, of("PNG", 33)},
		{"half.png", "PNG cannot be decoded", false, of("PNG", size("PNG")/2)},
		{"start.jpg", "JPEG cannot be decoded: file is truncated", false, of("JPEG", 4)},
		{"tables.jpg", "JPEG cannot be decoded: file is truncated", false, of("JPEG", 60)},
		{"half.jpg", "JPEG cannot be decoded: file is truncated", false, of("JPEG", size("JPEG")*3/4)},
		{"last.jpg", "JPEG cannot be decoded: file is truncated", false, of("JPEG", size("JPEG")-1)},
		{"header.gif", "GIF cannot be decoded", false, of("GIF", 9)},
		{"half.gif", "GIF cannot be decoded", false, of("GIF", size("GIF")/2)},
		{"half.webp", "WebP cannot be decoded: file is truncated", false, of("WebP", size("WebP")/2)},
		{"half.bmp", "BMP cannot be decoded: file is truncated", false, of("BMP", size("BMP")/2)},
		{"half.tiff", "TIFF cannot be decoded", false, of("TIFF", size("TIFF")/2)},
		{"header-bit.png", "PNG cannot be decoded: invalid format: invalid checksum", false, damaged("PNG", 18)},
		{"data-bit.png", "PNG cannot be decoded", true, damaged("PNG", size("PNG")/2)},
		{"noscan.jpg", "it ends without an image", true, frame(0xc0, 8, 8)},
	}
}

// pictureFiles are complete files of every format.
func pictureFiles(t *testing.T) map[string][]byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 64, 48))
	for i := range img.Pix {
		img.Pix[i] = uint8(i*7 + i*i/50)
	}
	files := map[string][]byte{"WebP": read(t, "../../data/picture/testdata/image_odd.webp")}
	for name, encode := range map[string]func(io.Writer) error{
		"JPEG": func(w io.Writer) error { return jpeg.Encode(w, img, nil) },
		"PNG":  func(w io.Writer) error { return png.Encode(w, img) },
		"GIF":  func(w io.Writer) error { return gif.Encode(w, img, nil) },
		"BMP":  func(w io.Writer) error { return bmp.Encode(w, img) },
		"TIFF": func(w io.Writer) error { return tiff.Encode(w, img, nil) },
		"grey": func(w io.Writer) error { return png.Encode(w, image.NewGray16(img.Rect)) },
		"index": func(w io.Writer) error {
			return png.Encode(w, image.NewPaletted(img.Rect, color.Palette{color.Black, color.White}))
		},
		"alone": func(w io.Writer) error { return png.Encode(w, image.NewNRGBA(image.Rect(0, 0, 1, 1))) },
		"strip": func(w io.Writer) error { return png.Encode(w, image.NewNRGBA(image.Rect(0, 0, 1, 10000))) },
	} {
		var b bytes.Buffer
		must(t, encode(&b))
		files[name] = b.Bytes()
	}
	return files
}

// pngOf is a PNG that ends after its header.
func pngOf(w, h uint32) []byte {
	chunk := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("IHDR"), w), h)
	chunk = append(chunk, 8, 2, 0, 0, 0)
	file := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), chunk...)
	return binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(chunk))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checked runs check with JSON and returns what it found in the one data set.
func checked(t *testing.T, want int, args ...string) (check.Checked, check.DataChecked) {
	t.Helper()
	var out, messages bytes.Buffer
	if code := run(append([]string{"check", "--json"}, args...), &out, &messages); code != want {
		t.Fatalf("check %v: exit code %d, want %d\n%s%s", args, code, want, out.String(), messages.String())
	}
	var c check.Checked
	must(t, json.Unmarshal(out.Bytes(), &c))
	if len(c.Stages) != 1 || len(c.Stages[0].Data) != 1 {
		t.Fatalf("%d stages in %s", len(c.Stages), out.String())
	}
	return c, c.Stages[0].Data[0]
}

// skippedRows is the reason that check gives for each row.
func skippedRows(d check.DataChecked) map[int]string {
	reasons := map[int]string{}
	for _, kind := range d.Reasons {
		for _, row := range kind.Rows {
			reasons[row.Row] = row.Reason
		}
	}
	return reasons
}

// Every planted fault is found, with its row and reason, and nothing else is.
func TestCheckFindsPlantedFaults(t *testing.T) {
	t.Setenv("LLAVATRAIN_CACHE", t.TempDir())
	dir := world(t)
	folder := filepath.Join(dir, "data", "images")
	faults := plantedRows("finetune-00000.png")
	deep := map[string]bool{}
	for _, f := range plantedImages(t) {
		f.make(t, filepath.Join(folder, f.name))
		faults = append(faults, planted{f.name, pictureRow(f.name), f.reason})
		deep[f.name] = f.decode
	}
	good := goodRows(t, dir)
	var rows []string
	at := map[int]planted{}
	for i, f := range faults { // each between good rows
		rows = append(rows, string(good[i%len(good)]))
		at[len(rows)] = f
		rows = append(rows, f.row)
	}
	write(t, filepath.Join(dir, "rows.json"), "["+strings.Join(rows, ",\n")+"]")
	recipe := filepath.Join(dir, "rows.yaml")
	write(t, recipe, rowsRecipe)
	for _, flags := range [][]string{{"--decode"}, nil} {
		c, d := checked(t, 2, append(flags, recipe, set("finetune.steps", 100))...)
		if !c.Failed() || !strings.Contains(c.Stages[0].Fails[0], "too many bad samples") {
			t.Errorf("fails: %v", c.Stages[0].Fails)
		}
		for _, kind := range d.Reasons {
			if kind.Advice == "" && !saysWhatToDo.MatchString(kind.Reason) {
				t.Errorf("%q: what is to be done?", kind.Reason)
			}
		}
		reasons := skippedRows(d)
		for row := range rows {
			f, bad := at[row]
			bad = bad && (len(flags) > 0 || !deep[f.name])
			reason, found := reasons[row]
			if found != bad || bad && !strings.Contains(reason, f.reason) {
				t.Errorf("%v: row %d (%s): found %t: %q; want %t: %q", flags, row, f.name, found, reason, bad, f.reason)
			}
		}
	}
	if images := len(deep); len(faults)-images < 60 || images < 40 {
		t.Errorf("%d kinds of rows and %d of images are planted", len(faults)-images, images)
	}
}

// saysWhatToDo matches reasons that need no further advice.
var saysWhatToDo = regexp.MustCompile(
	`must be|belongs to|leave one|remove|shorten|convert|git lfs pull|put one|set images to`)

// Unusual but valid rows and images pass.
func TestCheckPassesCleanData(t *testing.T) {
	t.Setenv("LLAVATRAIN_CACHE", t.TempDir())
	dir := world(t)
	var rows []string
	for _, row := range goodRows(t, dir) {
		rows = append(rows, string(row))
	}
	for name, file := range pictureFiles(t) {
		write(t, filepath.Join(dir, "data", "images", name), string(file))
		rows = append(rows, pictureRow(name))
	}
	rows = append(rows,
		`{"id": 7, "conversations": [{"from": "human", "value": "what"}, {"from": "gpt", "value": "a"}], `+
			`"more": {"a": [1, null]}}`,
		`{"conversations": [{"from": "gpt", "value": "hello"}, {"from": "human", "value": "what"}, `+
			`{"from": "gpt", "value": "é ☃ 日本"}]}`,
		turnsRow("finetune-00000.png", "human", "what <image> is it", "gpt", "a"))
	write(t, filepath.Join(dir, "rows.json"), "["+strings.Join(rows, ",\n")+"]")
	recipe := filepath.Join(dir, "rows.yaml")
	write(t, recipe, rowsRecipe)
	for _, flags := range [][]string{{"--decode"}, nil, {"--no-tokens"}} {
		_, d := checked(t, 0, append(flags, recipe)...)
		if d.Skipped != 0 || d.Rows != len(rows) {
			t.Errorf("%v: %d of %d rows: %+v", flags, d.Skipped, d.Rows, d.Reasons)
		}
	}
}

// The cache is used only while rows and images are unchanged.
func TestCheckCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("LLAVATRAIN_CACHE", cache)
	dir := world(t)
	recipe := rowsWorld(t, dir, pictureRow("odd.png"))
	odd := filepath.Join(dir, "data", "images", "odd.png")
	expect := func(when string, skipped, results int) {
		t.Helper()
		_, d := checked(t, 0, recipe)
		kept, err := filepath.Glob(filepath.Join(cache, "check", "*.json"))
		if d.Skipped != skipped || len(kept) != results || err != nil {
			t.Errorf("%s: %d rows skipped, want %d; %d results kept, want %d (%v)", when, d.Skipped, skipped, len(kept),
				results, err)
		}
	}
	expect("without the image", 1, 1)
	write(t, odd, string(pictureFiles(t)["PNG"]))
	expect("with the image", 0, 1)
	must(t, os.Remove(odd))
	expect("without it again", 1, 1)
	rowsWorld(t, dir, turnsRow("", "human", "what", "gpt", "a"))
	expect("with another row", 0, 2)

	// A limit that was changed is not answered by the result for another one.
	rowsWorld(t, dir, pictureRow("odd.png"))
	write(t, odd, string(pictureFiles(t)["PNG"]))
	if _, d := checked(t, 0, recipe); d.Skipped != 0 {
		t.Errorf("%d rows skipped", d.Skipped)
	}
	if _, d := checked(t, 2, recipe, "--set=finetune.max_pixels=1"); d.Skipped != d.Rows {
		t.Errorf("with a limit of one pixel %d rows of %d are skipped", d.Skipped, d.Rows)
	}
	rowsWorld(t, dir, turnsRow("", "human", "what", "gpt", "a"))

	// A result comes from the cache: check reports what is written there.
	kept, _ := filepath.Glob(filepath.Join(cache, "check", "*.json"))
	for _, file := range kept {
		write(t, file, strings.Replace(string(read(t, file)), `"rows":9`, `"rows":1234`, 1))
	}
	if _, d := checked(t, 0, recipe); d.Rows != 1234 {
		t.Errorf("%d rows: the cache was not asked", d.Rows)
	}
}
