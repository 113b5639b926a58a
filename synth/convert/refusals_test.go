package convert

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Small files, and the start of an expression, that the refusals need.
const (
	oneAnswer   = `{"annotations": [{"question_id": 1, "multiple_choice_answer": "a"}]}`
	oneQuestion = `{"questions": [{"question_id": 1, "image_id": 1, "question": "A?"}]}`
	refPart     = `"ref_id": 1, "image_id": 1, "width": 9, "height": 9`
	oneSplit    = `{"train": ["1"]}`
)

// refusals are files that are refused, with what is said of them.
var refusals = []struct {
	format string
	files  []string
	want   string // after the file's name
}{
	{"vqa", []string{oneAnswer, oneQuestion}, `b: it is an object with "questions"; want an object with "annotations"`},
	{"vqa", []string{oneAnswer, oneAnswer}, `a: it is an object with "annotations"; want an object with "questions"`},
	{"vqa", []string{"[]", oneAnswer}, `a: it is a list; want an object with "questions"`},
	{"vqa", []string{`{"questions": {}}`, oneAnswer}, `a: "questions" is not a list`},
	{"vqa", []string{`{"questions": [], "questions": []}`, oneAnswer}, `a: "questions" appears twice`},
	{"vqa", []string{`{"info": [1, {"a": `, oneAnswer}, `a: the file ends early: it is incomplete`},
	{"vqa", []string{`{"questions": [`, oneAnswer}, `a: the file ends early: it is incomplete`},
	{"vqa", []string{`{"questions": `, oneAnswer}, `a: the file ends early: it is incomplete`},
	{"vqa", []string{`{"questions": [] `, oneAnswer}, `a: the file ends early: it is incomplete`},
	{"vqa", []string{`{1: []}`, oneAnswer}, `a: after byte 1: invalid character '1'`},
	{"vqa", []string{`{"questions": [[]]}`, oneAnswer}, `a: questions 0 (byte 15): it is a list; want an object`},
	{"vqa", []string{`{"questions": [null]}`, oneAnswer},
		`a: questions 0 (byte 15): it is not an object with "question_id", but "null"`},
	{"vqa", []string{`{"questions": [{"question_id": "1"}]}`, oneAnswer},
		`a: questions 0 (byte 15): "question_id" is text; want an integer`},
	{"vqa", []string{`{"questions": [{"question_id": 1.5}]}`, oneAnswer},
		`a: questions 0 (byte 15): "question_id" is number 1.5; want an integer`},
	{"vqa", []string{`{"questions": [{"question_id": 1, "id": 1}]}`, oneAnswer},
		`a: questions 0 (byte 15): it lacks "image_id"; it has "id", "question_id"`},
	{"vqa", []string{`{"questions": [{"question_id": 1, "image_id": -1, "question": ""}]}`, oneAnswer},
		`a: questions 0 (byte 15): image_id is -1`},
	{"vqa", []string{`{"questions": [{"image_id": 1}]}`, oneAnswer},
		`a: questions 0 (byte 15): it lacks "question_id"; it has "image_id"`},
	{"vqa", []string{`{"questions": [{"question_id": 1, "image_id": 1}]}`, oneAnswer},
		`a: questions 0 (byte 15): it lacks "question"; it has "image_id", "question_id"`},
	{"vqa", []string{oneQuestion, `{"annotations": [{"question_id": 1}]}`},
		`b: annotations 0 (byte 17): it lacks "answers"; it has "question_id"`},
	{"vqa", []string{oneQuestion, `{"annotations": [{"question_id": 1, "answers": ["a"]}]}`},
		`b: annotations 0 (byte 17): "answers" is text; want an object`},
	{"vqa", []string{oneQuestion, `{"annotations": [{"answers": []}]}`},
		`b: annotations 0 (byte 17): it lacks "question_id"; it has "answers"`},
	{"vqa", []string{oneQuestion,
		`{"annotations": [{"question_id": 1, "answers": []}, {"question_id": 1, "answers": []}]}`},
		`b: annotations 1 (byte 52): question_id 1 appears twice`},
	{"vqa", []string{oneQuestion, `{"annotations": [{"question_id": 2, "answers": []}]}`},
		`no row came out of a, b: dropped 1 no annotation; passed over 1 annotations without a question`},
	{"vqa", []string{`{"questions": []}`, `{"annotations": []}`}, `no row came out of a, b: nothing is in it`},

	{"gqa", []string{""}, "a: it is empty"},
	{"gqa", []string{"7"}, "a: it is neither a list nor an object"},
	{"gqa", []string{"[]"}, "a: it is a list; want an object with one member for each identifier"},
	{"gqa", []string{"PK\x03\x04"}, "a: after byte 0: invalid character 'P' looking for beginning of value"},
	{"gqa", []string{`{"1": {"imageId"`}, `a: "1": the file ends early: it is incomplete`},
	{"gqa", []string{`{"1"`}, `a: "1": the file ends early: it is incomplete`},
	{"gqa", []string{`{`}, "a: the file ends early: it is incomplete"},
	{"gqa", []string{`{} {}`}, "a: byte 4: something follows the end of its JSON"},
	{"gqa", []string{`{"1": {]}`},
		`a: "1": after byte 5: invalid character ']' looking for beginning of object key string`},
	{"gqa", []string{`{"info": {"year": 1}}`}, `a: "info" (byte 9): it lacks "imageId"; it has "year"`},
	{"gqa", []string{`{"1": {"imageId": "a"}}`}, `a: "1" (byte 6): it lacks "question"; it has "imageId"`},
	{"gqa", []string{`{"1": {"imageId": "a", "question": "b"}}`},
		`a: "1" (byte 6): it lacks "isBalanced"; it has "imageId", "question"`},
	{"gqa", []string{`{"1": {"imageId": true}}`}, `a: "1" (byte 6): "imageId" is true or false; want text`},
	{"gqa", []string{`{"1": {"imageId": {}}}`}, `a: "1" (byte 6): "imageId" is an object; want text`},
	{"gqa", []string{`{"1": {"isBalanced": []}}`}, `a: "1" (byte 6): "isBalanced" is a list; want true or false`},
	{"gqa", []string{`{"1": {"` + strings.Repeat("x", 41) + `": 1, "a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1,
		"g": 1, "h": 1, "i": 1, "j": 1, "k": 1, "` + strings.Repeat("l", 40) + `": 1}}`},
		`a: "1" (byte 6): it lacks "imageId"; it has "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "` +
			strings.Repeat("l", 40) + `", …`},
	{"gqa", []string{`{"1": {"` + strings.Repeat("é", 41) + `": 1}}`},
		`a: "1" (byte 6): it lacks "imageId"; it has "` + strings.Repeat("é", 40) + `…"`},
	{"gqa", []string{`{"1": {"imageId": "../a", "question": "b", "isBalanced": true}}`},
		`a: "1" (byte 6): "../a" names a picture, and is not the name of a file`},
	{"gqa", []string{`{"\u001b[2J": 1}`}, `a: "\x1b[2J" (byte 14): it is a number; want an object`},

	{"aokvqa", []string{`{"data": []}`}, "a: it is an object; want a list"},
	{"aokvqa", []string{`[{"image_id": 1}]`}, `a: entry 0 (byte 1): it lacks "question"; it has "image_id"`},
	{"aokvqa", []string{`[{"question": "a"}]`}, `a: entry 0 (byte 1): it lacks "image_id"; it has "question"`},
	{"aokvqa", []string{`[{"image_id": 1, "question": "a"}]`},
		`a: entry 0 (byte 1): it lacks "choices"; it has "image_id", "question"`},
	{"aokvqa", []string{`[{"image_id": -1, "question": "a", "choices": []}]`},
		`a: entry 0 (byte 1): image_id is -1`},

	{"textcaps", []string{`{"data": [{"caption_str": "a"}]}`},
		`a: data 0 (byte 10): it lacks "image_id"; it has "caption_str"`},
	{"textcaps", []string{`{"data": [{"image_id": "a", "caption": "b"}]}`},
		`a: data 0 (byte 10): it lacks "caption_str"; it has "caption", "image_id"`},
	{"textcaps", []string{`{"data": [{"image_id": "a/b", "caption_str": "b"}]}`},
		`a: data 0 (byte 10): "a/b" names a picture, and is not the name of a file`},
	{"textcaps", []string{`{"data": []}`, `{"data": [{}]}`},
		`b: data 0 (byte 10): it lacks "image_id"; it has no members`},
	{"textcaps", []string{`{"data": []}`, `{"data": [{"image_id": "a"}]}`},
		`b: data 0 (byte 10): it lacks "ocr_tokens"; it has "image_id"`},

	{"ocrvqa", []string{`{"1": {"title": "a"}}`}, `a: "1" (byte 6): it lacks "split"; it has "title"`},
	{"ocrvqa", []string{`{"1": {"split": 1}}`}, `a: "1" (byte 6): it lacks "questions"; it has "split"`},
	{"ocrvqa", []string{`{"1": {"split": 1, "questions": []}}`},
		`a: "1" (byte 6): it lacks "answers"; it has "questions", "split"`},
	{"ocrvqa", []string{`{"..": {"split": 1, "questions": [], "answers": []}}`},
		`a: ".." (byte 7): ".." names a picture, and is not the name of a file`},

	{"refcoco", []string{`{"refs": []}`},
		`a: it is an object with "refs"; want a list, or an object with "annotations" and "images"`},
	{"refcoco", []string{`[{"img_path": "a.jpg", "expression": "b", "bbox": [0, 0, 1, 1]}]`},
		`a: entry 0 (byte 1): it lacks "ref_id"; it has "bbox", "expression", "img_path"`},
	{"refcoco", []string{`[{"ref_id": 1}]`}, `a: entry 0 (byte 1): it lacks "image_id"; it has "ref_id"`},
	{"refcoco", []string{`[{"ref_id": 1, "image_id": 1}]`},
		`a: entry 0 (byte 1): it lacks "sentences"; it has "image_id", "ref_id"`},
	{"refcoco", []string{`[{"ref_id": 1, "image_id": -1, "sentences": []}]`},
		`a: entry 0 (byte 1): image_id is -1`},
	{"refcoco", []string{`[{` + refPart + `, "sentences": []}]`},
		`a: entry 0 (byte 1): it lacks "bbox"; it has "height", "image_id", "ref_id", "sentences", "width"`},
	{"refcoco", []string{`[{` + refPart + `, "sentences": [], "ann_id": 1}]`},
		`a: entry 0 (byte 1): it lacks "bbox": give the file of instances (instances.json) too, ` +
			`which has the box of its ann_id`},
	{"refcoco", []string{`[{` + refPart + `, "sentences": [], "ann_id": 1}]`,
		`{"images": [], "annotations": [{"id": 2, "image_id": 1, "bbox": [0, 0, 1, 1]}]}`},
		`a: entry 0 (byte 1): ann_id 1 is not in the file of instances: do both belong to the same set?`},
	{"refcoco", []string{`[{` + refPart + `, "bbox": [1], "sentences": []}]`},
		`a: entry 0 (byte 1): bbox has 1 numbers; want x, y, width and height`},
	{"refcoco", []string{`[{` + refPart + `, "bbox": [0, 0, 1, 1], "sentences": [{"raw": "a"}]}]`},
		`a: entry 0 (byte 1): sentence 0 is neither text nor an object with "sent"`},
	{"refcoco", []string{`[{"ref_id": 1, "image_id": 1, "bbox": [0, 0, 1, 1], "sentences": ["a"]}]`},
		`a: entry 0 (byte 1): the size of ` + photo1 +
			` is not in the files, and boxes need it: give the folder of the pictures`},
	{"refcoco", []string{`{"images": [{"id": 1}], "annotations": []}`},
		`a: images 0 (byte 12): it lacks "caption"; it has "id"`},
	{"refcoco", []string{`{"images": [{"id": 1, "caption": "a"}], "annotations": []}`},
		`a: images 0 (byte 12): it lacks "original_id"; it has "caption", "id"`},
	{"refcoco", []string{`{"images": [{"id": 1, "caption": "a", "original_id": -2}], "annotations": []}`},
		`a: images 0 (byte 12): original_id is -2`},
	{"refcoco", []string{`{"images": [{"id": 1, "caption": "a", "original_id": 1}],
		"annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 1, 1]}]}`},
		`a: images 0 (byte 12): the size of ` + photo1 +
			` is not in the files, and boxes need it: give the folder of the pictures`},
	{"refcoco", []string{`{"images": [{}], "annotations": []}`},
		`a: images 0 (byte 12): it lacks "id"; it has no members`},
	{"refcoco", []string{`{"images": [], "annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 1, 1]},
		{"id": 2, "image_id": 1, "bbox": [0, 0, 1, 1]}]}`},
		`a: annotations 1 (byte 81): image 1 has a box already, and its caption describes one`},
	{"refcoco", []string{`[]`, `{"images": [], "annotations": [{"image_id": 1}]}`},
		`b: annotations 0 (byte 31): it lacks "id"; it has "image_id"`},
	{"refcoco", []string{`[]`, `{"images": [], "annotations": [{"id": 1}]}`},
		`b: annotations 0 (byte 31): it lacks "image_id"; it has "id"`},
	{"refcoco", []string{`[]`, `{"images": [], "annotations": [{"id": 1, "image_id": 1}]}`},
		`b: annotations 0 (byte 31): it lacks "bbox"; it has "id", "image_id"`},

	{"visual-genome", []string{`[{"regions": []}]`, `[]`}, `a: entry 0 (byte 1): it lacks "id"; it has "regions"`},
	{"visual-genome", []string{`[{"id": 1}]`, `[]`}, `a: entry 0 (byte 1): it lacks "regions"; it has "id"`},
	{"visual-genome", []string{`[{"id": 1, "regions": []}, {"id": 1, "regions": []}]`,
		`[{"image_id": 1, "width": 9, "height": 9, "folder": "a"}]`},
		`a: entry 1 (byte 27): picture 1 appears twice`},
	{"visual-genome", []string{`[{"id": 1, "regions": [{"region_id": 1}]}]`,
		`[{"image_id": 1, "width": 9, "height": 9, "folder": "a"}]`},
		`a: entry 0 (byte 1): a region lacks one of region_id, x, y, width, height and phrase`},
	{"visual-genome", []string{`[{"id": 1, "regions": []}]`, `[{"image_id": 1, "folder": "a"}]`},
		`a: entry 0 (byte 1): the size of vg/a/1.jpg is not in the files, and boxes need it: ` +
			`give the folder of the pictures`},
	{"visual-genome", []string{`[]`, `[{"folder": "a"}]`},
		`b: entry 0 (byte 1): it lacks "image_id"; it has "folder"`},
	{"visual-genome", []string{`[]`, `[{"image_id": -1}]`}, `b: entry 0 (byte 1): image_id is -1`},
	{"visual-genome", []string{`[]`, `[{"image_id": 1}]`},
		`b: entry 0 (byte 1): it lacks "url"; it has "image_id"`},
	{"visual-genome", []string{`[]`, `[{"image_id": 1, "url": "1.jpg"}]`},
		`b: entry 0 (byte 1): "." names a picture, and is not the name of a file`},
	{"visual-genome", []string{`[]`, `[{"image_id": 1, "url": ":"}]`},
		`b: entry 0 (byte 1): url: parse ":": missing protocol scheme`},

	{"scienceqa", []string{"{}", `{"val": []}`}, `b: it is an object with "val"; want an object with "train"`},
	{"scienceqa", []string{"{}", `{"train": [1]}`}, `b: train 0 (byte 11): it is a number; want text`},
	{"scienceqa", []string{"{}", `{"train": ["1", "1"]}`}, `b: train 1 (byte 16): problem "1" appears twice`},
	{"scienceqa", []string{"{}", `{"train": ["a/b"]}`},
		`b: train 0 (byte 11): "a/b" names a picture, and is not the name of a file`},
	{"scienceqa", []string{`{"1": {}}`, oneSplit}, `a: "1" (byte 6): it lacks "question"; it has no members`},
	{"scienceqa", []string{`{"1": {"question": "a"}}`, oneSplit},
		`a: "1" (byte 6): it lacks "choices"; it has "question"`},
	{"scienceqa", []string{`{"1": {"question": "a", "choices": ["b"], "image": "/a"}}`, oneSplit},
		`a: "1" (byte 6): "/a" names a picture, and is not the name of a file`},
	{"scienceqa", []string{`{"1": {"question": "a", "choices": ["b"]}, "1": 1}`, oneSplit},
		`a: "1" (byte 48): the problem appears twice`},
}

func TestRefusals(t *testing.T) {
	for _, c := range refusals {
		files := written(t, c.files...)
		var out bytes.Buffer
		_, err := Convert(&out, c.format, files, Options{})
		if err == nil {
			t.Errorf("%s %q is taken: %s\nwant %s", c.format, c.files, out.String(), c.want)
			continue
		}
		got := err.Error()
		for i, file := range files {
			got = strings.ReplaceAll(got, file, string(rune('a'+i)))
		}
		if got != c.want || !errors.Is(err, failure.ErrInput) {
			t.Errorf("%s %q\n got %s\nwant %s", c.format, c.files, got, c.want)
		}
	}
}
