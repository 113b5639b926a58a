package data

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// A first question without special words gives the ids of Prompt, hence those of training.
func TestChatIsThePromptOfTraining(t *testing.T) {
	for _, name := range Templates() {
		e := encoderFor(t, name)
		if e.template.caption {
			continue
		}
		rapid.Check(t, func(rt *rapid.T) {
			text := rapid.StringMatching(`[a-zA-Z,.?!]([a-zA-Z ,.?!\n]{0,30}[a-zA-Z?!])?`).Draw(rt, "text")
			var images []picture.Picture
			for range rapid.IntRange(0, 1).Draw(rt, "images") {
				images = append(images, picture.Picture{Width: 4, Height: 4})
			}
			want, err := e.Prompt("", text, images...)
			if err != nil {
				rt.Skip(err)
			}
			got, err := e.Chat("", []ChatTurn{{Text: text, Images: len(images)}}, images...)
			if err != nil {
				rt.Fatal(err)
			}
			if !slices.Equal(got.IDs, want.IDs) || len(got.Images) != len(images) {
				rt.Fatalf("%s: %q: ids %v, want %v", name, text, got.IDs, want.IDs)
			}
		})
	}
}

// The turns of a longer conversation are those that training writes out.
func TestChatOfSeveralTurns(t *testing.T) {
	for _, name := range Templates() {
		e := encoderFor(t, name)
		if e.template.caption {
			continue
		}
		record := rows.Record{Turns: []rows.Turn{
			{Role: "human", Text: "<image>\nWhat is it?"}, {Role: "gpt", Text: "A dog."},
			{Role: "human", Text: "Is it old?"}, {Role: "gpt", Text: "answer"}}, Images: make([]picture.Image, 1)}
		size := func(int) (int, int, error) { return 4, 4, nil }
		whole, err := e.Encode(record, size)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := e.Chat("", []ChatTurn{{Text: "What is it?", Images: 1, Answer: "A dog."}, {Text: "Is it old?"}},
			picture.Picture{Width: 4, Height: 4})
		if err != nil || len(got.IDs) >= len(whole.IDs) || !slices.Equal(got.IDs, whole.IDs[:len(got.IDs)]) {
			t.Errorf("%s: %v\nids    %v\nof row %v", name, err, got.IDs, whole.IDs)
		}
	}
}

// Nothing that a user types becomes a special token, an image or a system message of the template.
func TestChatTakesTextAsText(t *testing.T) {
	for _, name := range []string{"vicuna_v1", "qwen_2", "llama_3", "llava_llama_2"} {
		e := encoderFor(t, name)
		plain, err := e.Chat("", []ChatTurn{{Text: "a"}})
		if err != nil {
			t.Fatal(err)
		}
		specials := countSpecials(e, plain)
		typed := "</s><|im_end|><|eot_id|><image> a"
		for _, c := range []struct {
			system string
			turns  []ChatTurn
			more   int // special tokens of another round
		}{
			{"", []ChatTurn{{Text: typed}}, 0},
			{typed, []ChatTurn{{Text: "a"}}, 0},
		} {
			got, err := e.Chat(c.system, c.turns)
			if err != nil {
				t.Fatal(err)
			}
			if n := countSpecials(e, got); n != specials || len(got.Images) != 0 {
				t.Errorf("%s: %d special tokens, want %d; %d images", name, n, specials, len(got.Images))
			}
			text := e.tokenizer.NewDecoder()
			var all strings.Builder
			for _, id := range got.IDs {
				all.WriteString(text.Next(id))
			}
			if !strings.Contains(all.String()+text.Flush(), "<image>") {
				t.Errorf("%s: the typed mark is lost: %q", name, all.String())
			}
		}
	}
}

func countSpecials(e *Encoder, s Sample) (n int) {
	for _, text := range []string{"</s>", "<|im_end|>", "<|eot_id|>", "<|im_start|>", "<|start_header_id|>"} {
		if id, ok := e.tokenizer.Special(text); ok {
			for _, own := range s.IDs {
				if own == id {
					n++
				}
			}
		}
	}
	return n
}

func TestRawPrompts(t *testing.T) {
	e := encoderFor(t, "vicuna_v1")
	want, err := e.Prompt("", "<image>\nWhat?", picture.Picture{Width: 4, Height: 4})
	if err != nil {
		t.Fatal(err)
	}
	text := "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, " +
		"detailed, and polite answers to the user's questions. USER: <image>\nWhat? ASSISTANT:"
	got, err := e.Raw(text, picture.Picture{Width: 4, Height: 4})
	if err != nil || !slices.Equal(got.IDs, want.IDs) {
		t.Errorf("%v: ids %v, want %v", err, got.IDs, want.IDs)
	}
	if _, err := e.Raw("no mark", picture.Picture{}); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("error %v", err)
	}
}

// encoderFor is an encoder of a template with a tokenizer that it is for.
func encoderFor(t *testing.T, name string) *Encoder {
	t.Helper()
	for _, tokens := range []*tokenizer.Tokenizer{familyTokenizer(t, "llama3"), familyTokenizer(t, "qwen2"),
		familyTokenizer(t, "phi3"), familyTokenizer(t, "mistral"), chatTokenizer(t), llamaTokenizer(t, false),
		tinyTokenizer(t, false)} {
		if e, err := NewEncoder(tokens, openTemplate(t, name), 2048, picture.Grid(3)); err == nil {
			return e
		}
	}
	t.Fatalf("no tokenizer is for template %s", name)
	return nil
}
