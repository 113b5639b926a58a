package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// brief writes rows in one line each: id, image and turns.
func brief(rows []row) (lines []string) {
	for _, r := range rows {
		line := r.ID + " " + r.Image
		for _, t := range r.Turns {
			line += " | " + strings.ReplaceAll(t.Value, "\n", "/")
		}
		lines = append(lines, line)
	}
	return lines
}

const (
	short  = "/" + shortLine
	option = "/" + letterLine
	place  = "Please provide the bounding box coordinate of the region this sentence describes: "
	name   = "Please provide a short description for this region: "
	photo1 = "coco/train2017/000000000001.jpg"
	photo2 = "coco/train2017/000000000002.jpg"
)

func sized(width, height int) func(string) (int, int, error) {
	return func(string) (int, int, error) { return width, height, nil }
}

// forms are files in the published forms, with members that are not read, and entries that are counted.
var forms = []struct {
	name    string
	format  string
	files   []string
	o       Options
	want    []string
	dropped string
	passed  string
}{
	{"VQAv2", "vqa", []string{`{"info": {"year": 2017, "a": [[1, {}]]}, "task_type": "Open-Ended", "questions": [
		{"image_id": 2, "question": "Is it?", "question_id": 2000},
		{"image_id": 1, "question": "What <image>?", "question_id": 1000},
		{"image_id": 1, "question": "Who?", "question_id": 1001},
		{"image_id": 2, "question": " ", "question_id": 2001},
		{"image_id": 2, "question": "When?", "question_id": 2002}], "license": {}}`,
		`{"info": {}, "annotations": [
		{"question_type": "is", "multiple_choice_answer": "yes", "answers": [{"answer": "no", "answer_id": 1,
			"answer_confidence": "yes"}], "image_id": 2, "answer_type": "yes/no", "question_id": 2000},
		{"multiple_choice_answer": "x", "question_id": 1000},
		{"multiple_choice_answer": "2 men", "question_id": 1001},
		{"multiple_choice_answer": "x", "question_id": 2001}, {"multiple_choice_answer": "x", "question_id": 9}]}`},
		Options{}, []string{"2 " + photo2 + " | <image>/Is it?" + short + " | Yes",
			"1 " + photo1 + " | <image>/Who?" + short + " | 2 men"},
		"1 an image mark in the text, 1 no annotation, 1 no question", "1 annotations without a question"},
	{"every question", "vqa", []string{`{"questions": [
		{"image_id": 1, "question": "A?", "question_id": 1}, {"image_id": 1, "question": "B?", "question_id": 2}]}`,
		`{"annotations": [{"question_id": 1, "answers": [{"answer": "a b"}, {"answer": "c"}, {"answer": " a  b"}]},
		{"question_id": 2, "answers": [{"answer": "\u00e9t\u00e9"}]}]}`}, Options{Prompt: "every"},
		[]string{"1 " + photo1 + " | <image>/A?" + short + " | A b | B?" + short + " | été"}, "", ""},
	{"GQA", "gqa", []string{"\ufeff" + `{"02930152": {"semantic": [{"operation": "select"}],
		"entailed": ["02930160"],
		"isBalanced": true, "types": {"detailed": "existThatC"}, "question": "Is it?", "imageId": "n161313",
		"answer": "yes", "fullAnswer": "Yes, it is."}, "1": {"isBalanced": true, "question": "Bad \ud800?",
		"imageId": "1", "answer": "a"}, "2": {"isBalanced": false, "question": "", "imageId": "1"}}`},
		Options{}, []string{"n161313 gqa/images/n161313.jpg | <image>/Is it?" + short + " | Yes"},
		"1 damaged characters", "1 questions that are not balanced"},
	{"A-OKVQA", "aokvqa", []string{`[{"split": "train", "image_id": 1, "question_id": "22M", "question": "Why?",
		"choices": ["a", "b"], "correct_choice_idx": 1, "direct_answers": ["b"], "rationales": ["r"]},
		{"image_id": 1, "question": "Who?", "choices": ["c", "d", "e"], "correct_choice_idx": 0},
		{"image_id": 1, "question": "1?", "choices": ["c", "d"], "correct_choice_idx": 2},
		{"image_id": 1, "question": "2?", "choices": ["c", " "], "correct_choice_idx": 0},
		{"image_id": 1, "question": "3?", "choices": ["c", "<image>"], "correct_choice_idx": 0},
		{"image_id": 1, "question": "4?", "choices": [` + strings.Repeat(`"x", `, 26) + `"y"],
			"correct_choice_idx": 0},
		{"image_id": 1, "question": "", "choices": ["c"], "correct_choice_idx": 0},
		{"image_id": 1, "question": "5?", "choices": ["c", "d"], "correct_choice_idx": -1}]`},
		Options{Prompt: "every"}, []string{
			"1 " + photo1 + " | <image>/Why?/A. a/B. b" + option + " | B | Who?/A. c/B. d/C. e" + option + " | A",
			"1 " + photo1 + " | <image>/Why?/A. b/B. a" + option + " | A | Who?/A. d/B. e/C. c" + option + " | C",
			"1 " + photo1 + " | <image>/Why?/A. a/B. b" + option + " | B | Who?/A. e/B. c/C. d" + option + " | B"},
		"1 an empty choice, 1 an image mark in the text, 1 more choices than letters, " +
			"2 no choice is marked as right, 1 no question", ""},
	{"TextCaps, one caption an entry", "textcaps", []string{`{"dataset_type": "train", "data": [
		{"image_id": "a1", "image_classes": [], "caption_str": "a  sign", "reference_strs": ["a sign", "b"],
			"image_width": 1, "caption_id": 1},
		{"image_id": "a1", "caption_str": "b", "reference_strs": ["a sign", "b"]}]}`},
		Options{}, []string{"a1 textvqa/train_images/a1.jpg | <image>/" + captionLine + " | A sign"},
		"", "1 further captions"},
	{"TextCaps, all captions of a picture", "textcaps", []string{`{"data": [
		{"image_id": "a", "reference_strs": ["", "B", "c"]}, {"image_id": "b", "reference_strs": ["<image>"]}]}`,
		`{"data": [{"image_id": "a", "ocr_tokens": ["x", "y"], "ocr_info": [{"word": "x"}]},
		{"image_id": "b", "ocr_tokens": []}]}`},
		Options{}, []string{"a textvqa/train_images/a.jpg | <image>/" + captionLine +
			"/Reference OCR token: x, y | B"},
		"1 an image mark in the text, 1 no answer", "1 further captions"},
	{"OCR-VQA", "ocrvqa", []string{`{"0439893577": {"imageURL": "http://a/b.jpg", "title": "T", "genre": "g",
		"questions": ["Who?", "What?", "When?"], "answers": ["x", ""], "split": 1},
		"2": {"questions": ["Who?"], "answers": ["x"], "split": 2},
		"3": {"questions": [], "answers": [], "split": 1}}`},
		Options{}, []string{"0439893577 ocr_vqa/images/0439893577.jpg | <image>/Who?" + short + " | X"}, "",
		"1 books of other splits, 1 books without a question that can be used, 2 questions with no answer"},
	{"RefCOCO of REFER", "refcoco", []string{`[
		{"sent_ids": [0, 1], "file_name": "COCO_train2014_000000000001_0.jpg", "ann_id": 70,
			"ref_id": 3, "image_id": 1,
			"split": "train", "category_id": 1, "sentences": [{"tokens": ["the", "cup"], "raw": "The cup.",
			"sent_id": 0, "sent": "the cup . "}, {"sent": ""}]},
		{"ann_id": 71, "ref_id": 4, "image_id": 1, "split": "testA", "sentences": [{"sent": "no"}]},
		{"ann_id": 72, "ref_id": 5, "image_id": 1, "split": "train", "sentences": [{"sent": "outside"}]}]`,
		`{"info": {}, "images": [{"id": 1, "width": 100, "height": 50, "file_name": "x"}],
		"annotations": [{"id": 70, "image_id": 1, "bbox": [0, 10, 200, 20], "segmentation": [[1, 2]], "iscrowd": 0},
		{"id": 72, "image_id": 1, "bbox": [100, 0, 5, 5]}], "categories": [{"id": 1}]}`},
		Options{Seed: 42}, []string{"1 " + photo1 + " | <image>/" +
			region(42, "3:0", "the cup", "[0.0,0.35,1.0,0.55]")},
		"1 no area of the box in the picture", "1 empty expressions, 1 references of other splits"},
	{"RefCOCO of MDETR", "refcoco", []string{`{"info": {}, "annotations": [
		{"area": 1, "image_id": 8, "id": 5, "bbox": [0, 0, 10, 25], "original_id": 70, "tokens_positive": [[0, 3]]},
		{"image_id": 7, "id": 6, "bbox": [0, 0, 10, 0]}], "images": [
		{"file_name": "x", "width": 40, "height": 50, "id": 7, "original_id": 1, "caption": "flat"},
		{"width": 40, "height": 50, "id": 8, "original_id": 2, "caption": "a cup", "tokens_negative": [[0, 5]]},
		{"width": 40, "height": 50, "id": 9, "original_id": 2, "caption": "lost"}]}`},
		Options{Frame: "original"}, []string{"2 " + photo2 + " | <image>/" +
			region(0, "8:0", "a cup", "[0.0,0.0,0.25,0.5]")},
		"1 no annotation, 1 no area of the box in the picture", ""},
	{"RefCOCO, a row and one more", "refcoco", []string{`[{"ref_id": 1, "image_id": 1, "width": 10, "height": 10,
		"bbox": [0, 0, 5, 5], "sentences": ["a", "a", "a", "a", "a", "a", "a", "a", "a", "b"]}]`}, Options{Seed: 2},
		[]string{"1 " + photo1 + " | <image>/" + regions(2, "1", "a", "[0.0,0.0,0.5,0.5]", 9),
			"1 " + photo1 + " | <image>/" + region(2, "1:9", "b", "[0.0,0.0,0.5,0.5]")}, "", ""},
	{"RefCOCO, size of the file", "refcoco", []string{`[{"ref_id": 1, "image_id": 1, "bbox": [0, 0, 5, 5],
		"sentences": ["a"]}]`}, Options{Size: sized(10, 20)},
		[]string{"1 " + photo1 + " | <image>/" + region(0, "1:0", "a", "[0.25,0.0,0.5,0.25]")}, "", ""},
	{"Visual Genome", "visual-genome", []string{`[{"regions": [
		{"region_id": 1382, "width": 20, "height": 10, "image_id": 1, "phrase": "the clock. ", "y": 0, "x": 0},
		{"region_id": 1, "width": 20, "height": 10, "image_id": 1, "phrase": "The Clock", "y": 0, "x": 0},
		{"region_id": 2, "width": 0, "height": 10, "image_id": 1, "phrase": "thin", "y": 0, "x": 0},
		{"region_id": 3, "width": 1, "height": 10, "image_id": 1, "phrase": "<image>", "y": 0, "x": 0},
		{"region_id": 4, "width": 1, "height": 10, "image_id": 1, "phrase": ".", "y": 0, "x": 0}], "id": 1},
		{"id": 5, "regions": []}, {"id": 2, "regions": []}]`,
		`[{"width": 40, "url": "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg", "height": 20, "image_id": 1,
		"coco_id": null, "flickr_id": null}, {"image_id": 2, "width": 40, "height": 20, "folder": "VG_100K"}]`},
		Options{}, []string{"1 vg/VG_100K_2/1.jpg | <image>/" +
			region(0, "1382", "the clock", "[0.0,0.25,0.5,0.5]")},
		"1 an image mark in the text, 1 pictures that are not in the image data",
		"1 pictures without a region that can be used, 1 regions with the phrase of an earlier one, " +
			"1 regions without a phrase, 1 regions without area in their picture"},
	{"Visual Genome 1.0, size of the file", "visual-genome", []string{`[{"id": 1, "regions": [
		{"id": 7, "image": 1, "width": 2, "height": 2, "phrase": "a", "y": 8, "x": 8}]}]`,
		`[{"id": 1, "url": "http://a/VG_100K/1.jpg"}]`}, Options{Size: sized(10, 10)},
		[]string{"1 vg/VG_100K/1.jpg | <image>/" + region(0, "7", "a", "[0.8,0.8,1.0,1.0]")}, "", ""},
	{"ScienceQA", "scienceqa", []string{`{"1": {"question": "Which?", "choices": ["a", "b "], "answer": 1,
		"hint": " \n", "image": null, "lecture": "L", "solution": "S", "split": "train"},
		"2": {"question": "Why?\nSay.", "choices": ["a"], "answer": 0, "hint": "Look.", "image": "image.png"},
		"3": {"question": "Test?", "choices": ["a"], "answer": 0, "hint": "", "image": null},
		"5": {"question": " ", "choices": ["a"], "answer": 0}, "6": {"question": "a", "choices": [], "answer": 0},
		"7": {"question": "<image>", "choices": ["a"], "answer": 0}}`,
		`{"test": ["3"], "train": ["2", "1", "4", "5", "6", "7"]}`}, Options{},
		[]string{"2 2/image.png | <image>/Context: Look./Why?/Say./A. a" + option + " | A",
			"1  | Which?/A. a/B. b" + option + " | B"},
		"1 an image mark in the text, 1 no choice is marked as right, 1 no problem of that number, 1 no question",
		"1 problems of other splits"},
}

func TestForms(t *testing.T) {
	for _, c := range forms {
		t.Run(c.name, func(t *testing.T) {
			rows, report := converted(t, c.format, written(t, c.files...), c.o)
			if diff := cmp.Diff(c.want, brief(rows)); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if report.Dropped.String() != c.dropped || report.Passed.String() != c.passed {
				t.Errorf("dropped %q, passed over %q", report.Dropped, report.Passed)
			}
		})
	}
}

// region is the pair about a region, in the direction that the seed and the key give.
func region(seed uint64, key, text, box string) string {
	c := conversion{Options: Options{Seed: seed}}
	if c.draw(key)&1 == 1 {
		return name + box + ". | " + text
	}
	return place + text + ". | " + box
}

func regions(seed uint64, id, text, box string, n int) string {
	turns := make([]string, n)
	for i := range turns {
		turns[i] = region(seed, fmt.Sprintf("%s:%d", id, i), text, box)
	}
	return strings.Join(turns, " | ")
}
