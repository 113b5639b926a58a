package answer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// BenchmarkRead reads the recorded answers of the right kind from their HTTP bodies.
func BenchmarkRead(b *testing.B) {
	cases, against := recordedAnswers(b)
	var usual []recorded
	var bytes int64
	for _, c := range cases {
		if _, fault := reply.Read(c.Status, nil, []byte(c.Body)); fault == nil {
			usual = append(usual, c)
			bytes += int64(len(c.Body))
		}
	}
	b.SetBytes(bytes)
	for b.Loop() {
		for i, c := range usual {
			got, _ := reply.Read(c.Status, nil, []byte(c.Body))
			Read(Kinds[i%len(Kinds)], got, against)
		}
	}
	b.ReportMetric(float64(b.N*len(usual))/b.Elapsed().Seconds(), "answers/s")
}

// BenchmarkLongConversation reads a longer answer than most: ten pairs, about 700 words, of which some call for the
// slow patterns.
func BenchmarkLongConversation(b *testing.B) {
	against := NewFilters(Against{numbers(1500), []string{numbers(200), numbers(300)}, true})
	var text strings.Builder
	for i := range 10 {
		fmt.Fprintf(&text, "Question:\nWhat is given to number %d [of the men]?\n===\nAnswer:\n%s %s\n===\n", i,
			strings.ReplaceAll(thought, "man", fmt.Sprintf("man %d", i)),
			strings.ReplaceAll(scene, " a ", fmt.Sprintf(" a %d ", i)))
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if got := ReadText(Conversation, text.String(), false, against); got.Outcome != Accept {
			b.Fatal(got)
		}
	}
}

// BenchmarkHostile shows whether time is in proportion to size: each text is read with 256 kB and with 2 MB.
func BenchmarkHostile(b *testing.B) {
	for name, piece := range map[string]string{
		"spaces": " ", "lines": "a\n", "rulers": "---\n", "separators": "===\nx\n",
		"fences": "```\n", "questions": "Q: a\n", "pairs": "Q: a\nA: b\n", "marker": "Question: ", "numbers": "1. ",
		"words": "ab ", "stops": ". ", "closings": `."`, "braces": "{", "lists": "[", "objects": `{"q":"a","a":"b"}`,
		"keys": `"a":1,`, "thoughts": "<think>", "stars": "**", "captions": "caption ", "apostrophes": "a'",
		"boxes": "[0.1,",
	} {
		for _, size := range []int{1 << 18, 1 << 21} {
			body := strings.Repeat(piece, size/len(piece)) + "x"
			for form, text := range map[string]string{"alone": body, "answer": "Q: a\nA: " + body + "\nQ: a\nA: b",
				"json": `{"` + body} {
				b.Run(fmt.Sprintf("%s/%s/%d", name, form, size), func(b *testing.B) {
					b.SetBytes(int64(len(text)))
					for b.Loop() {
						ReadText(Conversation, text, false, nil)
						ReadText(Detail, text, true, nil)
					}
				})
			}
		}
	}
}
