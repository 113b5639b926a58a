package rows

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Keys of a question mean what they mean in a row of data.
func TestQuestionKeys(t *testing.T) {
	with := func(keys string) string { return `{"question_id": 1, "text": "What?"` + keys + `}` }
	of := func(images ...picture.Image) Question {
		return Question{ID: json.RawMessage("1"), Text: "What?", Images: images}
	}
	system, unused := of(), of()
	system.System, unused.Unused = "Be brief.", []string{"category", "score"}
	for _, test := range []struct {
		question string
		want     Question
		err      string
	}{
		{with(``), of(), ""},
		{with(`, "image": "a.jpg"`), of(paths("a.jpg")...), ""},
		{with(`, "images": ["a.jpg", "b.jpg"], "image": null`), of(paths("a.jpg", "b.jpg")...), ""},
		{with(`, "image": ["a.jpg"], "images": []`), of(paths("a.jpg")...), ""},
		{with(`, "image": "data:image/png;base64,aGk="`), of(picture.Image{File: []byte("hi")}), ""},
		{with(`, "system_prompt": "Be brief.", "video": null, "image_file": ""`), system, ""},
		{with(`, "category": "x", "score": NaN, "tags": []`), unused, ""},

		{with(`, "image": "a.jpg", "images": ["b.jpg"]`), Question{}, "image and images are both present"},
		{with(`, "image": [1]`), Question{}, "image[0] is a number; it must be a string"},
		{with(`, "image": "https://x.org/a.jpg"`), Question{}, "image is a URL"},
		{with(`, "video": "a.mp4"`), Question{}, "video is present, and videos are not read"},
		{with(`, "audios": ["a.wav"]`), Question{}, "audios is present, and sound is not read"},
		{with(`, "objects": [1]`), Question{}, "objects holds boxes"},
		{with(`, "conversations": []`), Question{}, "conversations is a key of rows of data"},
		{with(`, "image_file": "a.jpg"`), Question{}, "image_file is not read, and without its image"},
		{with(`, "Img": "a.jpg"`), Question{}, "Img is not read, and without its image"},
		{with(`, "Image": "a.jpg"`), Question{}, "Image is not read: write image"},
		{with(`, "text": "Why?"`), Question{}, `"text" appears twice`},
		{`{"question_id": 1, "text": 2}`, Question{}, "text is a number; it must be a string"},
		{`[]`, Question{}, "it is not an object with question_id, image and text, but a list"},
		{`{`, Question{}, "it is not an object with question_id, image and text: unexpected end"},
		{"", Question{}, "it is not an object"},
	} {
		got, err := ParseQuestion([]byte(test.question))
		if test.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), test.err) {
				t.Errorf("%s: error is %v, want %q", test.question, err, test.err)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", test.question, err, diff)
		}
	}
}
