package rows

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Keys that change what a row means are used or refused; null and empty values say nothing.
func TestRowKeys(t *testing.T) {
	const question, answer = `{"role": "user", "content": "Hi?"`, `{"role": "assistant", "content": "Yes."`
	row := func(ofRow, ofQuestion, ofAnswer string) string {
		return `{"messages": [` + question + ofQuestion + `}, ` + answer + ofAnswer + `}]` + ofRow + `}`
	}
	turns := func(untrained bool) []Turn {
		return []Turn{{Role: "human", Text: "Hi?"}, {Role: "gpt", Text: "Yes.", Untrained: untrained}}
	}
	for _, test := range []struct {
		row  string
		want Record
		err  string
	}{
		{row(`, "system": "Be kind."`, "", ""),
			Record{Turns: append([]Turn{{Role: "system", Text: "Be kind."}}, turns(false)...)}, ""},
		{row(`, "system_prompt": "Be kind.", "system": null`, "", ""),
			Record{Turns: append([]Turn{{Role: "system", Text: "Be kind."}}, turns(false)...)}, ""},
		{row(`, "system": ""`, "", ""), Record{Turns: turns(false)}, ""},
		{row("", `, "weight": 0`, `, "weight": 0.0`), Record{Turns: turns(true)}, ""},
		{row("", `, "loss": null`, `, "loss": false`), Record{Turns: turns(true)}, ""},
		{row("", `, "train": false`, `, "train": true`), Record{Turns: turns(false)}, ""},
		{row(`, "weight": 1, "video": null, "audios": [], "objects": {"bbox": [], "ref": null}`, "", ""),
			Record{Turns: turns(false)}, ""},
		{row(`, "videos": [null, {"bytes": null, "path": null}]`, `, "weight": null`, ""),
			Record{Turns: turns(false)}, ""},
		{row(`, "model": "x", "tools": [1]`, `, "name": "a"`, `, "name": "b", "tool_calls": []`),
			Record{Turns: turns(false), Unused: []string{"messages.name", "model", "tools"}}, ""},

		{row(`, "system": 5`, "", ""), Record{}, "system is a number; it must be a string"},
		{row(`, "system": "a", "system_prompt": "b"`, "", ""), Record{}, "system and system_prompt are both present"},
		{`{"messages": [{"role": "system", "content": "a"}], "system": "b"}`, Record{},
			"system and a turn of the role system are both present"},
		{row(`, "video": "a.mp4"`, "", ""), Record{}, "video is present, and videos are not read"},
		{row(`, "videos": ["a.mp4"]`, "", ""), Record{}, "videos is present, and videos are not read"},
		{row(`, "audio": {"path": "a.wav"}`, "", ""), Record{}, "audio is present, and sound is not read"},
		{row(`, "objects": {"bbox": [[1, 2, 3, 4]]}`, "", ""), Record{}, "objects holds boxes"},
		{row("", `, "images": ["a.jpg"]`, ""), Record{}, "messages[0].images is a key of a turn"},
		{row("", `, "videos": ["a.mp4"]`, ""), Record{}, "messages[0].videos is present"},
		{row(`, "weight": 0`, "", ""), Record{}, "weight is 0: a row that is not to be trained must be left out"},
		{row(`, "weight": 2`, "", ""), Record{}, "weight is 2; only 0 or false"},
		{row("", "", `, "weight": 0.5`), Record{}, "messages[1].weight is 0.5; only 0 or false"},
		{row("", "", `, "weight": NaN`), Record{}, "messages[1].weight is NaN; only 0 or false"},
		{row("", "", `, "loss": "no"`), Record{}, `messages[1].loss is "no"; only 0 or false`},
		{row("", `, "train": true`, ""), Record{}, "messages[0].train marks a turn of user to be trained"},
	} {
		got, err := parseRecord([]byte(test.row))
		switch {
		case test.err == "":
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", test.row, err, diff)
			}
		case err == nil || !strings.HasPrefix(err.Error(), test.err):
			t.Errorf("%s: error is %v, want %q", test.row, err, test.err)
		}
	}
}

// Null counts as absent, as do images that are empty: data sets put together have the keys of all in every row.
func TestNullCountsAsAbsent(t *testing.T) {
	const turns = `"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes."}]`
	for _, test := range []struct {
		row    string
		images []picture.Image
		err    string
	}{
		{row: `{"conversations": [{"from": "human", "value": "Hi?", "role": null, "content": null},
			{"role": "assistant", "content": "Yes.", "from": null, "value": null, "train": null}]}`},
		{row: `{"image": {"bytes": null, "path": null}, ` + turns + `}`},
		{row: `{"images": [null], ` + turns + `}`},
		{row: `{"images": [{"bytes": null, "path": null}, ""], ` + turns + `}`},
		{row: `{"image": {}, "images": "", "system": "", "system_prompt": null, ` + turns + `}`},
		{row: `{"images": [], "image": "a.jpg", ` + turns + `}`, images: paths("a.jpg")},
		{row: `{"image": "", "images": ["a.jpg"], ` + turns + `}`, images: paths("a.jpg")},
		{row: `{"images": ["a.jpg", null], ` + turns + `}`, err: "images[1] is null; it must be a string"},
		{row: `{"conversations": [{"from": null, "role": null, "value": "Hi?"}]}`,
			err: "conversations[0].from is missing or null"},
		{row: `{"conversations": [{"role": "user", "value": null, "content": null}]}`,
			err: "conversations[0].content is missing or null"},
		{row: `{"conversations": [{"role": "user", "from": "human", "value": "Hi?"}]}`,
			err: "from and role are both present"},
	} {
		got, err := parseRecord([]byte(test.row))
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error is %v, want %q", test.row, err, test.err)
			}
		case err != nil || len(got.Turns) != 2 || got.Turns[0].Role != "human" || got.Turns[1].Role != "gpt":
			t.Errorf("%s: %v, %+v", test.row, err, got)
		default:
			if diff := cmp.Diff(test.images, got.Images); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.row, diff)
			}
		}
	}
}

// The keys mean the same in tables, whose values have types of their own.
func TestRowKeysOfTables(t *testing.T) {
	const turns = `[{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes."}]`
	message := func(train any) fields {
		return fields{{"from", "gpt"}, {"value", []byte("Yes.")}, {"train", train}}
	}
	question := fields{{"from", "human"}, {"value", "Hi?"}, {"train", nil}}
	for _, test := range []struct {
		row       fields
		untrained bool
		err       string
	}{
		{fields{{"conversations", []any{question, message(false)}}}, true, ""},
		{fields{{"conversations", []any{question, message(1.0)}}}, false, ""},
		{fields{{"conversations", turns}, {"id", []byte{0xff}}, {"video", fields{{"bytes", []byte{}}, {"path", ""}}}},
			false, ""},
		{fields{{"conversations", []byte(turns)}, {"system", nil}, {"audios", []any{}}}, false, ""},
		{fields{{"conversations", []any{append(fields{{"role", nil}, {"content", nil}}, question...), message(nil)}},
			{"videos", []any{nil}}}, false, ""},
		{fields{{"conversations", turns}, {"image", fields{{"bytes", nil}, {"path", nil}}}}, false, ""},
		{fields{{"conversations", turns}, {"images", []any{nil, fields{{"bytes", nil}, {"path", ""}}}}}, false, ""},
		{fields{{"conversations", turns}, {"images", []any{nil, fields{{"bytes", []byte{1}}}}}}, false,
			"images 1: has neither bytes nor a path"},
		{fields{{"conversations", turns}, {"video", fields{{"bytes", []byte{0xff}}}}}, false, "video is present"},
		{fields{{"conversations", turns}, {"objects", fields{{"bbox", []any{1.5}}}}}, false, "objects holds boxes"},
		{fields{{"conversations", []any{question, message(0.5)}}}, false, "conversations[1].train is 0.5"},
		{fields{{"conversations", ""}}, false, "conversations (or messages) is missing"},
	} {
		r, err := test.row.record()
		switch {
		case test.err != "":
			if err == nil || !strings.HasPrefix(err.Error(), test.err) {
				t.Errorf("%v: error is %v, want %q", test.row, err, test.err)
			}
		case err != nil || len(r.Turns) != 2 || r.Turns[1].Untrained != test.untrained || r.ID != "":
			t.Errorf("%v: %+v, %v", test.row, r, err)
		}
	}
}

// Files that are no data set, or one whose rows lie within an object, are named when they are opened.
func TestOpenNamesWhatItFinds(t *testing.T) {
	const row = `{"conversations": []}`
	for content, want := range map[string]string{
		"\xff\xfe[\x00]\x00":            "it is UTF-16 text: save it as UTF-8",
		"\xfe\xff\x00[":                 "it is UTF-16 text",
		"[\x00{\x00":                    "it is UTF-16 text",
		"\x00[\x00{":                    "it is UTF-16 text",
		"\xff\xfe\x00\x00[\x00\x00\x00": "it is UTF-32 text",
		"\x1f\x8b\x08\x00":              "it is compressed by gzip: unpack it with gunzip",
		"PK\x03\x04":                    "it is a ZIP archive",
		"<!doctype html>":               "it is HTML or XML",
		"version https://git-lfs.github.com/spec/v1":       "it is a Git LFS pointer",
		`{"data": [` + row + `]}`:                          `it is one object that holds rows, in its member "data": `,
		`{"0": ` + row + `, "1": ` + row + `}`:             `it is one object that holds rows, in its member "0": `,
		`{"version": 1, "data": {"train": [` + row + `]}}`: `in its member "data": "train": `,
		`{"n": NaN, "rows": [` + row + `]}`:                `in its member "rows": `,
	} {
		if _, err := writeRows(t, content); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want %q", content, err, want)
		}
	}
	for _, content := range []string{row, `{"chosen": {"messages": []}}` + "\n" + row,
		`{"meta": ` + row + `, "messages": []}`} {
		if _, err := writeRows(t, content); err != nil {
			t.Errorf("%q: %v", content, err)
		}
	}
}
