package page

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// A text is filtered alike, however it is cut into writes.
func TestVisibleInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.StringOf(rapid.RuneFrom([]rune(
			"aé\u202e漢👩\u200d\U000e0041\x00\r\n<"))), func(s string) []byte { return []byte(s) })).Draw(t, "text")
		text = append(text, '\n')
		var whole, pieces bytes.Buffer
		w := &visibleWriter{out: &whole}
		if n, err := w.Write(text); err != nil || n != len(text) {
			t.Fatal(n, err)
		}
		w = &visibleWriter{out: &pieces}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, min(3, len(rest))).Draw(t, "piece")
			if written, err := w.Write(rest[:n]); err != nil || written != n {
				t.Fatal(written, err)
			}
			rest = rest[n:]
		}
		if !bytes.Equal(whole.Bytes(), pieces.Bytes()) {
			t.Errorf("%q became %q whole and %q in pieces", text, &whole, &pieces)
		}
	})
}
