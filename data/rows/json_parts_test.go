package rows

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
)

func TestParts(t *testing.T) {
	message := func(content string) string {
		return `{"messages": [{"role": "user", "content": ` + content + `}, {"role": "assistant", "content": "Yes."}]`
	}
	for _, test := range []struct {
		row    string
		text   string
		images []picture.Image
		err    string
	}{
		{message(`[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]`) + "}", "a\nb", nil, ""},
		{message(`[]`) + "}", "", nil, ""},
		{message(`[{"type": "image"}, {"type": "text", "text": "a"}]`) + `, "images": ["x.jpg"]}`, "<image>\na",
			paths("x.jpg"), ""},
		{message(`[{"type": "image", "url": "x.jpg"}]`) + "}", "<image>", paths("x.jpg"), ""},
		{message(`[{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}]`) + "}",
			"<image>", []picture.Image{{File: []byte("hi")}}, ""},
		{message(`"<image>\nHi?"`) + `, "image": "x.jpg"}`, "<image>\nHi?", paths("x.jpg"), ""},

		{message(`[{"type": "image_url", "image_url": {"url": "https://x.org/a.jpg"}}]`) + "}", "", nil,
			"messages[0].content part 1: image_url is a URL"},
		{message(`[{"type": "image_url", "image_url": {}}]`) + "}", "", nil, "image_url has no url"},
		{message(`[{"type": "image", "image": "../a.jpg"}]`) + "}", "", nil,
			`image is "../a.jpg"; it must be a path within`},
		{message(`[{"type": "image_url", "image_url": "data:image/png;base64,$"}]`) + "}", "", nil, "is not base64"},
		{message(`[{"type": "video"}]`) + "}", "", nil, `type is "video"; it must be text, image or image_url`},
		{message(`[{"text": "a"}]`) + "}", "", nil, "type is missing"},
		{message(`[{"type": "text", "text": null}]`) + "}", "", nil, "text is missing"},
		{message(`[7]`) + "}", "", nil, "part 1: it is a number"},
		{message(`["yes", "no"]`) + "}", "", nil,
			"messages[0].content part 1: it is a string; a turn is one text, or a list of objects with a type"},
		{message(`[{"type": "image", "image": "file:///data/a%20b.jpg"}]`) + "}", "<image>",
			paths("/data/a b.jpg"), ""},
		{message(`[{"type": "image", "image": "file://a.jpg"}]`) + "}", "", nil, "write file:/// and the path"},
		{message(`[{"type": "image", "image": "a.jpg"}]`) + `, "images": ["b.jpg"]}`, "", nil,
			"images and the parts of messages both have images"},
		{message(`[{"type": "image", "image": "a.jpg"}, {"type": "image"}]`) + "}", "", nil,
			"1 part(s) of type image without a path beside others"},
		{message(`"a"`) + `, "image": "x", "images": ["y"]}`, "", nil, "image and images are both present"},
		{message(`"a"`) + `, "conversations": []}`, "", nil, "conversations and messages are both present"},
		{`{"messages": [{"role": "user", "from": "human", "content": "a"}]}`, "", nil,
			"from and role are both present"},
		{`{"messages": [{"role": "user"}]}`, "", nil, "messages[0].content is missing"},
		{`{"messages": [{"content": "a"}]}`, "", nil, "messages[0].role is missing"},
	} {
		r, err := parseRecord([]byte(test.row))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error is %v, want %q", test.row, err, test.err)
			}
			continue
		}
		if err != nil || r.Turns[0].Text != test.text {
			t.Errorf("%s: %v, %+v", test.row, err, r.Turns)
			continue
		}
		if diff := cmp.Diff(test.images, r.Images); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.row, diff)
		}
	}
}
