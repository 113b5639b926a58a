package llava_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// FuzzRequest: whatever comes as a request, the answer is a status and a sentence, or a stream whose last message is
// JSON.
func FuzzRequest(f *testing.F) {
	for _, body := range []string{
		`{"model": "m", "prompt": "USER: <image>\nwhat? ASSISTANT:", "temperature": 0.2, "top_p": 0.7, ` +
			`"max_new_tokens": 512, "stop": "</s>", "images": ["` + pixel + `"]}`,
		`{"prompt": "fail", "temperature": "0.5"}`, `{"prompt": "refuse", "max_new_tokens": 0}`, `{`, `[1]`, ``,
		`{"prompt": "", "llavatrain": {"Messages": [{"Role": "user", "Text": "a"}], "Sampling": {"Choices": 2}}}`,
		`{"prompt": "\ud800\u0000", "images": null, "stop": "\ud800"}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if strings.Contains(body, "endless") || strings.Contains(body, "slow") {
			return
		}
		e := servetest.New("llava-toy")
		got := post(newWorker(e).Routes(), "/worker_generate_stream", body)
		if got.Code == http.StatusOK {
			if text, code := last(got.Body.Bytes()); code < 0 || !utf8.ValidString(text) {
				t.Errorf("%d, %q", code, got.Body)
			}
		} else if got.Code != http.StatusBadRequest || !json.Valid(got.Body.Bytes()) {
			t.Errorf("%d, %q", got.Code, got.Body)
		}
		if e.Open() != 0 {
			t.Error("a reply was not closed")
		}
	})
}

// FuzzForeign: whatever a worker sends, the reply ends, and its text is UTF-8.
func FuzzForeign(f *testing.F) {
	for _, stream := range []string{
		string(llava.AppendMessage(nil, "llava_v1 USER: hello ASSISTANT:a", 0)), "\x00\x00", "{", "null\x00",
		"5\x00", "", string(llava.AppendMessage(nil, "no", 1)), `{"text": 5}` + "\x00",
		`{"llavatrain": {"Events": [{}]}}` + "\x00",
	} {
		f.Add(stream, false)
		f.Add(stream, true)
	}
	f.Fuzz(func(t *testing.T, stream string, own bool) {
		worker := original("llava-v1", stream)
		if own {
			worker["/worker_get_status"] = newWorker(servetest.New("llava-v1")).Routes()["/worker_get_status"]
		}
		far, _ := remote(t, worker, "llava-v1")
		texts, events, err := ask(t, far, user("hello", 0))
		if err == nil && (len(events) == 0 || events[len(events)-1].Finish == "") {
			t.Errorf("%v has no end", texts)
		}
		for _, text := range texts {
			if !utf8.ValidString(text) {
				t.Errorf("%q", text)
			}
		}
	})
}

// TestMessage: a message holds no NUL but at its end, is ASCII, and JSON of the text.
func TestMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, code := rapid.String().Draw(t, "text"), rapid.IntRange(0, 3).Draw(t, "code")
		written := llava.AppendMessage(nil, text, code)
		for i, b := range written {
			if b >= utf8.RuneSelf || (b == 0) != (i == len(written)-1) {
				t.Fatalf("byte %d of %q", i, written)
			}
		}
		if got, gotCode := last(written); got != text || gotCode != code {
			t.Errorf("%q, %d", got, gotCode)
		}
	})
}

// TestMessageBytes has what Python's json.dumps writes.
func TestMessageBytes(t *testing.T) {
	for text, want := range map[string]string{
		"":                        `""`,
		"\x00\x01\x1f\x7f":        `"\u0000\u0001\u001f\u007f"`,
		"\b\t\n\f\r\"\\/":         `"\b\t\n\f\r\"\\/"`,
		"é€𝄞\u2028\ufeff<>&":      `"\u00e9\u20ac\ud834\udd1e\u2028\ufeff<>&"`,
		"\U0010ffff\uffff":        `"\udbff\udfff\uffff"`,
		string([]byte{'a', 0xff}): `"a\ufffd"`,
	} {
		if got := string(llava.AppendMessage(nil, text, 0)); got != `{"text": `+want+`, "error_code": 0}`+"\x00" {
			t.Errorf("%q: %q", text, got)
		}
	}
}
