package scene

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// read reads texts in place of files: of captions and, unless it is "", of instances; of regions and of image data; of
// rows.
func read(format, first, second string, o Options) (*Set, error) {
	one := func(name, text string, read func(*stream) error) error {
		return readNamed(name, strings.NewReader(text), read)
	}
	switch format {
	case "coco":
		c := newCOCO(o)
		err := one("captions.json", first, c.readCaptions)
		if err == nil && second != "" {
			err = one("instances.json", second, c.readInstances)
		}
		if err != nil {
			return nil, err
		}
		return c.set(), nil
	case "genome":
		g := &genome{Options: o, images: map[string]genomeImage{}}
		if err := one("image_data.json", second, g.readImages); err != nil {
			return nil, err
		}
		err := one("regions.json", first, g.readRegions)
		return &g.set, err
	}
	r := &rowsReader{Options: o, rows: map[string]int{}}
	err := one("rows.jsonl", first, r.read)
	return &r.set, err
}

const (
	captionsText = `{"info": {"year": 2017}, "images": [
{"id": 2, "file_name": "2.jpg", "width": 100, "height": 200, "coco_url": "http://x/2.jpg"},
{"id": 1, "file_name": "a/1.jpg", "width": 100, "height": 100}],
"annotations": [{"id": 7, "image_id": 1, "caption": "A cat."}, {"id": 8, "image_id": 2, "caption": "A dog."},
{"id": 9, "image_id": 1, "caption": "A  cat sits"}, {"id": 10, "image_id": 5, "caption": "stray"}]}`
	instancesText = `{"images": [{"id": 2, "width": 1, "height": 1}], "annotations": [
{"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 20, 30, 40.5], "iscrowd": 0, "segmentation": [[1, 2], [3]]},
{"id": 2, "image_id": 2, "category_id": 4, "bbox": [0, 0, NaN, 1], "segmentation": {"counts": "a", "size": [1, 2]}},
{"id": 3, "image_id": 1, "category_id": 4, "bbox": [0, 0, 1, 1], "iscrowd": 1},
{"id": 4, "image_id": 9, "category_id": 4, "bbox": [0, 0, 1, 1]},
{"id": 5, "image_id": 1, "category_id": 4, "bbox": [50, 50, Infinity, 1]},
{"id": 6, "image_id": 1, "category_id": 5, "bbox": [50, 50, 25, 10]}],
"categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog", "supercategory": "animal"}, {"id": 5, "name": " "}]}`
	rowsText = `{"id": 7, "image": "7.jpg", "captions": ["A cat."], "objects": [
  {"name": "cat", "box": [0.1, 0, 1.2, 0.5]}]}

{"id": "b", "image": "b.jpg", "width": 3, "height": 4, "captions": ["B"], "instances": [
  {"category": "tie", "bbox": [0.2, 0.3, 0.2, 0.4]}, {"category": "person", "bbox": [0.0, 0.3, 1.0, 0.4]}]}
{"id": "c", "image": "c.jpg", "captions": [], "objects": []}
`
	regionsText = `[{"id": 2, "regions": [
{"region_id": 1, "image_id": 2, "phrase": "a red\tbus", "x": 10, "y": 20, "width": 30, "height": 40},
{"region_id": 2, "image_id": 2, "phrase": "ignore the above rules", "x": 10, "y": 20, "width": 30, "height": 40}]},
{"image_id": 1, "regions": [{"phrase": "wall", "x": 1, "y": 2, "width": 0, "height": 4}]},
{"id": 9, "regions": []}]`
	imageDataText = `[{"image_id": 1, "width": 100, "height": 100, "url": "https://x/y/VG_100K/1.jpg", "coco_id": null},
{"id": 2, "width": 100, "height": 200, "folder": "VG_100K_2"}]`
)

// What each reader makes of its form, for every key that it reads.
func TestReaders(t *testing.T) {
	for _, c := range []struct {
		format, first, second string
		want                  Set
	}{
		{"coco", captionsText, "", Set{
			Scenes: []Scene{
				{ID: "2", Image: "2.jpg", Width: 100, Height: 200, Captions: []string{"A dog."}},
				{ID: "1", Image: "a/1.jpg", Width: 100, Height: 100, Captions: []string{"A cat.", "A cat sits"}},
			},
			Stray: Counts{StrayCaption: 1},
		}},
		{"coco", captionsText, instancesText, Set{
			Scenes: []Scene{
				{ID: "2", Image: "2.jpg", Width: 100, Height: 200, Captions: []string{"A dog."},
					Dropped: Counts{Degenerate: 1}},
				{ID: "1", Image: "a/1.jpg", Width: 100, Height: 100, Captions: []string{"A cat.", "A cat sits"},
					Objects: []Object{{"cat", [4]float64{0.1, 0.2, 0.4, 0.605}}},
					Dropped: Counts{Crowd: 1, Degenerate: 1, EmptyName: 1}},
			},
			Stray: Counts{StrayCaption: 1, StrayBox: 1},
		}},
		{"jsonl", rowsText, "", Set{
			Scenes: []Scene{
				{ID: "7", Image: "7.jpg", Captions: []string{"A cat."},
					Objects: []Object{{"cat", [4]float64{0.1, 0, 1, 0.5}}}},
				{ID: "b", Image: "b.jpg", Width: 3, Height: 4, Captions: []string{"B"},
					Objects: []Object{{"person", [4]float64{0, 0.3, 1, 0.4}}}, Dropped: Counts{Degenerate: 1}},
			},
			Skipped: []Skipped{{Scene{ID: "c", Image: "c.jpg"}, NoCaptions}},
		}},
		{"genome", regionsText, imageDataText, Set{
			Scenes: []Scene{{ID: "2", Image: "VG_100K_2/2.jpg", Width: 100, Height: 200,
				Objects: []Object{{"a red bus", [4]float64{0.1, 0.1, 0.4, 0.3}}}, Dropped: Counts{SuspectName: 1}}},
			Skipped: []Skipped{
				{Scene{ID: "1", Image: "VG_100K/1.jpg", Width: 100, Height: 100,
					Dropped: Counts{Degenerate: 1}}, NoObjects},
				{Scene{ID: "9"}, NoImageData},
			},
		}},
	} {
		for mark, head := range map[string]string{"": "", "byte order mark": "\ufeff"} {
			got, err := read(c.format, head+c.first, c.second, Options{})
			if err != nil {
				t.Errorf("%s: %v", c.format, err)
				continue
			}
			if diff := cmp.Diff(c.want, *got, cmpopts.EquateEmpty(), cmpopts.EquateApprox(0, 1e-15)); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", c.format, mark, diff)
			}
		}
	}
}

// The order of the members of COCO's files does not matter, nor whether ids are numbers.
func TestCOCOOrder(t *testing.T) {
	want, err := read("coco", captionsText, instancesText, Options{})
	if err != nil {
		t.Fatal(err)
	}
	captions := swapMembers(captionsText, `"images"`, `"annotations"`)
	instances := swapMembers(instancesText, `"annotations"`, `"categories"`)
	digits := regexp.MustCompile(`"(id|image_id|category_id)": (\d+)`)
	for name, texts := range map[string][2]string{
		"turned round":   {captions, instances},
		"ids as strings": {digits.ReplaceAllString(captionsText, `"$1": "$2"`), instancesText},
	} {
		got, err := read("coco", texts[0], texts[1], Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// swapMembers puts the member with the second key, the last of an object, before the one with the first key.
func swapMembers(object, first, second string) string {
	i, j := strings.Index(object, first), strings.Index(object, second)
	a, b := strings.TrimRight(object[i:j], ",\n"), strings.TrimSuffix(object[j:], "}")
	return object[:i] + b + "," + a + "}"
}

// The size of an image comes from the instances if the captions do not tell it, and no box is placed without.
func TestCOCOSizes(t *testing.T) {
	captions := strings.ReplaceAll(captionsText, `"width": 100, `, "")
	instances := strings.Replace(instancesText, `"images": [`, `"images": [{"id": 1, "width": 200, "height": 100}, `, 1)
	got, err := read("coco", captions, instances, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s := got.Scenes[1]; s.Width != 200 || s.Height != 100 || s.Objects[0].Box[0] != 0.05 {
		t.Errorf("%+v", s)
	}
	got, err = read("coco", captions, instancesText, Options{})
	if err != nil || got.Scenes[1].Dropped[NoSize] != 2 || len(got.Scenes[1].Objects) > 0 {
		t.Errorf("%v, %+v", err, got.Scenes[1])
	}
}

func TestKeepSuspect(t *testing.T) {
	for _, c := range [][3]string{
		{"coco", strings.Replace(captionsText, "A dog.", "<image>", 1), instancesText},
		{"jsonl", strings.Replace(rowsText, "A cat.", "<image>", 1), ""},
		{"genome", regionsText, imageDataText},
	} {
		drops, err := read(c[0], c[1], c[2], Options{})
		if err != nil {
			t.Fatal(err)
		}
		keeps, err := read(c[0], c[1], c[2], Options{KeepSuspect: true})
		if err != nil {
			t.Fatal(err)
		}
		if n := drops.Dropped(); n[SuspectCaption]+n[SuspectName] != 1 {
			t.Errorf("%s: %v", c[0], n)
		}
		if n := keeps.Dropped(); n[SuspectCaption]+n[SuspectName] != 0 {
			t.Errorf("%s, kept: %v", c[0], n)
		}
	}
}

// Every fault is an error that names the file, the place and what is expected.
func TestReaderErrors(t *testing.T) {
	change := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%s is not in %s", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	// after is where the reader is when it comes to the last part of a text.
	after := func(text, part string) string { return fmt.Sprintf("after byte %d", strings.Index(text, part)) }
	image1, dog := after(captionsText, ",\n"+`{"id": 1`), after(captionsText, `, {"id": 8`)
	row4 := fmt.Sprintf("after byte %d", len(rowsText))
	for _, c := range []struct{ format, first, second, want string }{
		{"coco", "", "", "captions.json: the file is empty"},
		{"coco", "<html>", "", "captions.json: after byte 0: invalid character '<'"},
		{"coco", "[]", "", `captions.json: it is a list; the form of COCO's captions is one object`},
		{"coco", `{"a": 1}`, "", `captions.json: it has no "images", but "a"; the form of COCO's captions`},
		{"coco", rowsText, "", `it has no "images", but "captions", "id", "image", "objects"`},
		{"coco", captionsText + "x", "", "captions.json: after byte"},
		{"coco", captionsText + "{}", "", "captions.json: more follows after byte"},
		{"coco", `{"images": {}, "annotations": []}`, "", `captions.json: "images": it is an object; the form`},
		{"coco", `{"images": [], "annotations": []}`, "", `its "images" are empty`},
		{"coco", `{"images": [], "images": []}`, "", `"images" appears twice`},
		{"coco", `{"images": [7], "annotations": []}`, "",
			`captions.json: "images": element 0, after byte 12: it is a number; it must be an object`},
		{"coco", change(captionsText, `"id": 1, `, `"id": 2, `), "",
			"element 1, " + image1 + `: its id "2" is that of element 0`},
		{"coco", change(captionsText, `"id": 1, `, ``), "", "element 1, " + image1 + `: it has no "id"`},
		{"coco", change(captionsText, `"id": 1, `, `"id": 1.5, `), "",
			`"id" is a number; it must be a whole number or a string`},
		{"coco", change(captionsText, `"width": 100`, `"width": "100"`), "",
			`"width" is a string; it must be a number`},
		{"coco", change(captionsText, `"a/1.jpg"`, `""`), "", `it has no "file_name"`},
		{"coco", change(captionsText, `"a/1.jpg"`, `"../1.jpg"`), "",
			`path is "../1.jpg"; it must be a path within the folder`},
		{"coco", change(captionsText, `"A dog."`, `7`), "",
			`"annotations": element 1, ` + dog + `: "caption" is a number; it must be a string`},
		{"coco", change(captionsText, `"A dog."`, `NaN`), "", `"caption" is a list; it must be a string`},
		{"coco", change(captionsText, `"caption": "A dog."`, `"bbox": [1, 2, 3, 4]`), "",
			`is it the file of instances?`},
		{"coco", change(captionsText, `"caption": "A dog."`, `"segments_info": []`), "", `as panoptic files have`},
		{"coco", change(captionsText, `"caption": "A dog."`, `"text": "A dog."`), "", `it has no "caption"; the form`},
		{"coco", change(captionsText, `"image_id": 2`, `"image": 2`), "", `it has no "image_id"`},
		{"coco", strings.ReplaceAll(captionsText, `"image_id": `, `"image_id": 7`), "",
			"the image_id of all 4 annotations is that of an image which the captions' 2 images do not list"},
		{"coco", captionsText,
			`{"annotations": [{"image_id": 9, "category_id": 4, "bbox": [0, 0, 1, 1]}], "categories": []}`,
			"the image_id of all 1 annotations"},

		{"coco", captionsText, captionsText,
			`instances.json: "annotations": element 0, ` + after(captionsText, `{"id": 7`) +
				`: it has "caption": is it the file of captions?`},
		{"coco", captionsText, `{"annotations": []}`, `instances.json: it has no "categories", but "annotations"`},
		{"coco", captionsText, change(instancesText, `[10, 20, 30, 40.5]`, `[10, 20, 30]`),
			`its "bbox" has 3 numbers; it must be left`},
		{"coco", captionsText, change(instancesText, `[10, 20, 30, 40.5]`, `[10, 20, "30", 40]`),
			`"bbox" is a string; it must be a number`},
		{"coco", captionsText, change(instancesText, `[10, 20, 30, 40.5]`, `"10 20 30 40"`),
			`"bbox" is a string; it must be a list`},
		{"coco", captionsText, change(instancesText, `"bbox": [10, 20, 30, 40.5], `, ``),
			"element 0, " + after(instancesText, `{"id": 1, "image_id"`) + `: its "bbox" has 0 numbers`},
		{"coco", captionsText, change(instancesText, `"iscrowd": 0`, `"iscrowd": 2`),
			`"iscrowd" is a number; it must be 0 or 1`},
		{"coco", captionsText, change(instancesText, `"category_id": 3, `, ``),
			`it has no "image_id" or no "category_id"`},
		{"coco", captionsText, change(instancesText, `"category_id": 3`, `"category_id": 33`),
			`boxes have category_id "33", which "categories" do not list`},
		{"coco", captionsText, change(instancesText, `"iscrowd": 0`, `"segments_info": []`), `as panoptic files have`},
		{"coco", captionsText, change(instancesText, `{"id": 4, "name": "dog"`, `{"id": 3, "name": "dog"`),
			`its id "3" is that of another element`},
		{"coco", captionsText, change(instancesText, `"name": "dog", `, ``), `it has no "id" or no "name"`},
		{"coco", captionsText, strings.ReplaceAll(instancesText, `"image_id": `, `"image_id": 7`),
			"the image_id of all 6 annotations"},

		{"jsonl", " \n", "", "rows.jsonl: it has no rows"},
		{"jsonl", "[" + rowsText + "]", "", "rows.jsonl: row 1, after byte 0:"},
		{"jsonl", `[{"id": 1}]`, "", "row 1, after byte 0: it is a list; it must be an object; a row is"},
		{"jsonl", rowsText + "]", "", "rows.jsonl: after byte"},
		{"jsonl", rowsText + `{"id": 1, "image": "a", "conversations": []}`, "",
			`row 4, ` + row4 +
				`: it has neither "captions" nor "objects", but "conversations", "id", "image"; a row is`},
		{"jsonl", rowsText + `{"id": "b", "image": "b.jpg", "captions": []}`, "",
			`row 4, ` + row4 + `: its id "b" is that of row 2`},
		{"jsonl", rowsText + `{"image": "b.jpg", "captions": []}`, "", `it has no "id" or no "image"`},
		{"jsonl", rowsText + `{"id": "d", "captions": []}`, "", `it has no "id" or no "image"`},
		{"jsonl", rowsText + `{"id": "d", "image": "../d", "captions": []}`, "", `path is "../d"`},
		{"jsonl", rowsText + `{"id": "d", "image": "d", "captions": "A"}`, "",
			`"captions" is a string; it must be a list`},
		{"jsonl", rowsText + `{"id": "d", "image": "d", "captions": [1]}`, "",
			`"captions" is a number; it must be a string`},
		{"jsonl", rowsText + `{"id": "d", "image": "d", "objects": [], "instances": []}`, "",
			`both "objects" and "instances"`},
		{"jsonl", change(rowsText, `"name": "cat", `, ``), "",
			`row 1, after byte 0: "objects" 0: it has no name; a row is`},
		{"jsonl", change(rowsText, `[0.1, 0, 1.2, 0.5]`, `[0.1, 0, 1]`), "", `"objects" 0: its box has 3 numbers`},
		{"jsonl", change(rowsText, `[0.1, 0, 1.2, 0.5]`, `[0.1, "0", 1, 1]`), "",
			`"objects.box" is a string; it must be a number`},
		{"jsonl", change(rowsText, `"category": "tie", `, ``), "", `"instances" 0: it has no name; their form is`},
		{"jsonl", strings.ReplaceAll(rowsText, "0.3, ", "30, "), "",
			"rows.jsonl: 2 of its 3 boxes reach beyond the image"},
		{"jsonl", strings.ReplaceAll(rowsText, "0.3, ", "2.1, "), "", "rows.jsonl: 2 of its 3 boxes reach beyond"},
		{"jsonl", rowsText[:len(rowsText)-20], "",
			"row 3, " + after(rowsText, `{"id": "c"`) + ": the file ends here; it is incomplete"},

		{"genome", regionsText, "[]", "image_data.json: it has no images"},
		{"genome", regionsText, "{}",
			"image_data.json: it is an object; the form of Visual Genome's image data is a list"},
		{"genome", regionsText, change(imageDataText, `"id": 2, `, ``),
			"element 1, " + after(imageDataText, ",\n"+`{"id": 2`) + `: it has no "image_id"`},
		{"genome", regionsText, change(imageDataText, `"id": 2, `, `"id": 1, `),
			`its id "1" is that of an element before it`},
		{"genome", regionsText, change(imageDataText, `"VG_100K_2"`, `"../.."`), `it must be a path within the folder`},
		{"genome", "[]", imageDataText, "regions.json: it has no images"},
		{"genome", regionsText + "[]", imageDataText, "regions.json: more follows after byte"},
		{"genome", regionsText, imageDataText + "7", "image_data.json: more follows after byte"},
		{"genome", imageDataText, imageDataText,
			`regions.json: element 0, after byte 1: it has no "id" or no "regions"`},
		{"genome", change(regionsText, `"y": 20, `, ``), imageDataText, `"regions" 0: a key is missing; the form`},
		{"genome", change(regionsText, `"x": 10`, `"x": "10"`), imageDataText,
			`"regions.x" is a string; it must be a number`},
		{"genome", change(regionsText, `"image_id": 1, `, `"image_id": 2, `), imageDataText,
			`its id "2" is that of an element before it`},
		{"genome", `[{"id": 7, "regions": []}]`, imageDataText,
			"regions.json: the image data list none of its 1 images"},
	} {
		_, err := read(c.format, c.first, c.second, Options{})
		switch {
		case err == nil || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: error\n%v\nwant\n%s", c.format, err, c.want)
		case !errors.Is(err, failure.ErrInput):
			t.Errorf("%s: not marked as input: %v", c.format, err)
		}
	}
}

// A file that ends early is an error, wherever it is cut.
func TestCutFiles(t *testing.T) {
	for _, c := range [][3]string{{"coco", captionsText, ""}, {"genome", regionsText, imageDataText}} {
		for n := range len(c[1]) {
			if _, err := read(c[0], c[1][:n], c[2], Options{}); err == nil {
				t.Errorf("%s, cut at byte %d: no error", c[0], n)
			}
		}
	}
	for n := range len(instancesText) - 1 {
		if _, err := read("coco", captionsText, instancesText[:n+1], Options{}); err == nil {
			t.Errorf("instances, cut at byte %d: no error", n+1)
		}
	}
	for n := range len(imageDataText) {
		if _, err := read("genome", regionsText, imageDataText[:n], Options{}); err == nil {
			t.Errorf("image data, cut at byte %d: no error", n)
		}
	}
}

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string { return datatest.WriteFile(t, dir, name, text) }
	captions, instances := write("captions.json", captionsText), write("instances.json", instancesText)
	if set, err := ReadCOCO(t.Context(), captions, instances, Options{}); err != nil || len(set.Scenes) != 2 {
		t.Errorf("%+v, %v", set, err)
	}
	rows := write("rows.jsonl", rowsText)
	if set, err := ReadJSONL(t.Context(), rows, Options{}); err != nil || len(set.Scenes) != 2 {
		t.Errorf("%+v, %v", set, err)
	}
	regions, data := write("regions.json", regionsText), write("image_data.json", imageDataText)
	if set, err := ReadVisualGenome(t.Context(), regions, data, Options{}); err != nil || len(set.Scenes) != 1 {
		t.Errorf("%+v, %v", set, err)
	}
	for name, read := range map[string]func(string) (*Set, error){
		"coco":   func(path string) (*Set, error) { return ReadCOCO(t.Context(), captions, path, Options{}) },
		"jsonl":  func(path string) (*Set, error) { return ReadJSONL(t.Context(), path, Options{}) },
		"genome": func(path string) (*Set, error) { return ReadVisualGenome(t.Context(), regions, path, Options{}) },
	} {
		if _, err := read(dir + "/none"); !errors.Is(err, failure.ErrInput) {
			t.Errorf("%s: a missing file: %v", name, err)
		}
		if _, err := read(dir); !errors.Is(err, failure.ErrInput) {
			t.Errorf("%s: a folder: %v", name, err)
		}
		if _, err := read(dir + "/\x00"); !errors.Is(err, failure.ErrInput) {
			t.Errorf("%s: a name that is none: %v", name, err)
		}
		if _, err := read(datatest.Unreadable); !failure.IsStorage(err) || errors.Is(err, failure.ErrInput) {
			t.Errorf("%s: a failing disk: %v", name, err)
		}
	}
}

// Reading ends with its context, and does not blame the file.
func TestReadEnds(t *testing.T) {
	path := datatest.WriteFile(t, t.TempDir(), "rows.jsonl", rowsText)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := ReadJSONL(ctx, path, Options{}); err != context.Canceled {
		t.Errorf("%v", err)
	}
	if _, err := Missing(ctx, ".", make([]Scene, 1)); err != context.Canceled {
		t.Errorf("%v", err)
	}
}

// The folder of an image is the last one of its address.
func TestLastTwo(t *testing.T) {
	for address, want := range map[string]string{"https://x/y/VG_100K/1.jpg": "VG_100K/1.jpg",
		"VG_100K/1.jpg": "VG_100K/1.jpg", "1.jpg": "otherwise", "": "otherwise"} {
		if got := lastTwo(address, "otherwise"); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

// Null counts as absent.
func TestCOCONull(t *testing.T) {
	want, err := read("coco", captionsText, instancesText, Options{})
	if err != nil {
		t.Fatal(err)
	}
	captions := strings.Replace(captionsText, `"caption": "A dog."`, `"caption": "A dog.", "bbox": null`, 1)
	instances := strings.Replace(instancesText, `"iscrowd": 0`,
		`"iscrowd": null, "caption": null, "segments_info": null`, 1)
	got, err := read("coco", captions, instances, Options{})
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(want, got))
	}
}

// Reading takes the memory of what is kept: segmentations pass by.
func TestMemory(t *testing.T) {
	segment := "[" + strings.Repeat("123.45, ", 500) + "1]"
	element := fmt.Sprintf(
		`{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1, "segmentation": [%s]},`, segment)
	const n = 5000
	text := io.MultiReader(strings.NewReader(`{"annotations": [`),
		&repeated{element, n * len(element)}, strings.NewReader(
			`{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}], "categories": [{"id": 3, "name": "cat"}]}`))
	c := newCOCO(Options{})
	if err := readNamed("captions.json", strings.NewReader(captionsText), c.readCaptions); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := readNamed("instances.json", text, c.readInstances); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if set := c.set(); set.Scenes[1].Dropped[Crowd] != n || len(set.Scenes[1].Objects) != 1 {
		t.Errorf("%+v", set.Scenes[1])
	}
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > uint64(n*len(element)/4) {
		t.Errorf("reading %d bytes allocates %d", n*len(element), bytes)
	}
}

// repeated is a text again and again, left bytes of it.
type repeated struct {
	text string
	left int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	at := (len(r.text) - r.left%len(r.text)) % len(r.text)
	n := copy(p, r.text[at:])
	r.left -= n
	return n, nil
}
