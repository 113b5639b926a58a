package scene

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzCOCO(f *testing.F) {
	f.Add(captionsText, instancesText)
	f.Add(captionsText, "")
	f.Fuzz(func(t *testing.T, captions, instances string) { checkRead(t, "coco", captions, instances) })
}

func FuzzJSONL(f *testing.F) {
	f.Add(rowsText)
	f.Fuzz(func(t *testing.T, rows string) { checkRead(t, "jsonl", rows, "") })
}

func FuzzVisualGenome(f *testing.F) {
	f.Add(regionsText, imageDataText)
	f.Fuzz(func(t *testing.T, regions, images string) { checkRead(t, "genome", regions, images) })
}

// TestFlippedBytes is the fuzzing that every test run does.
func TestFlippedBytes(t *testing.T) {
	for _, c := range [][3]string{{"coco", captionsText, instancesText}, {"jsonl", rowsText, ""},
		{"genome", regionsText, imageDataText}} {
		for side := 1; side < 3; side++ {
			for at := range len(c[side]) {
				flipped := c
				text := []byte(c[side])
				text[at] ^= 0x12
				flipped[side] = string(text)
				checkRead(t, flipped[0], flipped[1], flipped[2])
			}
		}
	}
}

var objectLine = regexp.MustCompile(`^.+: \[(?:0\.\d{1,3}|1\.0)(?:, (?:0\.\d{1,3}|1\.0)){3}\]$`)

// checkRead: whatever the files hold, they are refused, or what is read can be sent.
func checkRead(t *testing.T, format, first, second string) {
	set, err := read(format, first, second, Options{})
	if err != nil {
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' && r != '\t' }) {
			t.Errorf("the error would control the terminal: %q", err)
		}
		return
	}
	for _, s := range set.Scenes {
		if s.Image == "" || checkImage(s.Image) != nil {
			t.Errorf("image %q", s.Image)
		}
		text := s.Context(true)
		captions, objects, _ := strings.Cut(text, "\n\n")
		if format == "genome" {
			captions, objects = "", text
		} else if captions == "" || captions != s.Context(false) {
			t.Errorf("captions %q", captions)
		}
		if !utf8.ValidString(text) || suspect.MatchString(captions) || len(s.Objects) > MaxObjects {
			t.Errorf("%q", text)
		}
		if n := len(s.Captions); n > 0 && n != strings.Count(captions, "\n")+1 {
			t.Errorf("%d captions, %q", n, captions)
		}
		lines := strings.Split(objects, "\n")
		if objects == "" {
			lines = nil
		}
		if len(lines) != len(s.Objects) {
			t.Errorf("%d objects, %q", len(s.Objects), objects)
		}
		for _, l := range lines {
			if !objectLine.MatchString(l) {
				t.Errorf("line %q", l)
			}
		}
	}
}
