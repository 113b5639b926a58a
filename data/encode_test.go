package data

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// catRecord is the example that the original's layouts were worked out on.
func catRecord() rows.Record {
	return rows.Record{ID: "cat", Images: paths("cat.jpg"), Turns: []rows.Turn{
		{Role: "human", Text: "<image>\nHi?"}, {Role: "gpt", Text: "A cat."}, {Role: "human", Text: "Why?"},
		{Role: "gpt", Text: "It sat."},
	}}
}

// TestWorkedExamples holds the number of ids and the supervised runs that the original's functions gave for each
// layout, by hand.
func TestWorkedExamples(t *testing.T) {
	for _, test := range []struct {
		template   string
		legacy     bool
		length     int
		supervised string // first position:ids of each run
	}{
		{"v1", true, 63, "45:[319 6635 29889 2] 59:[739 3290 29889 2]"},
		{"v1", false, 62, "45:[319 6635 29889 2] 58:[739 3290 29889 2]"},
		{"llava_llama_2", true, 81, "61:[319 6635 29889 29871 2] 76:[739 3290 29889 29871 2]"},
		{"mistral_instruct", true, 33, "14:[319 6635 29889 29871 2] 28:[739 3290 29889 29871 2]"},
		{"v0", true, 72, "33:[2277 29937] 44:[2277 29937 4007 22137 29901 319 6635 29889 13 2277 29937] 60:[2277 " +
			"29937 4007 22137 29901 739 3290 29889 13 2277 29937 29871]"},
	} {
		t.Run(fmt.Sprintf("%s/legacy=%t", test.template, test.legacy), func(t *testing.T) {
			e := newEncoder(t, llamaTokenizer(t, test.legacy), test.template, 2048, 1)
			sample, err := e.Encode(catRecord(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(sample.IDs) != test.length {
				t.Errorf("%d ids, want %d", len(sample.IDs), test.length)
			}
			if got := runs(sample.Labels); got != test.supervised {
				t.Errorf("supervised %s\nwant       %s", got, test.supervised)
			}
		})
	}
}

// runs writes the runs of supervised labels, each with its first position.
func runs(labels []int32) string {
	var out []string
	for i := 0; i < len(labels); i++ {
		if labels[i] == Ignore {
			continue
		}
		end := i
		for end < len(labels) && labels[end] != Ignore {
			end++
		}
		out = append(out, fmt.Sprint(i, ":", labels[i:end]))
		i = end
	}
	return strings.Join(out, " ")
}

// TestPromptIsTrainingPrefix wants generation to start from the very ids that training has before an answer.
func TestPromptIsTrainingPrefix(t *testing.T) {
	for _, template := range templates {
		for _, tokenizer := range []*tokenizer.Tokenizer{
			tinyTokenizer(t, true), tinyTokenizer(t, false), chatTokenizer(t),
			familyTokenizer(t, "llama3"), familyTokenizer(t, "qwen2"), familyTokenizer(t, "phi3"),
			familyTokenizer(t, "mistral"),
		} {
			e, err := NewEncoder(tokenizer, &template, 2048, picture.Grid(3))
			if err != nil {
				continue // the template is not for this tokenizer
			}
			r := rows.Record{Images: paths("x"),
				Turns: []rows.Turn{{Role: "human", Text: "<image>\nHi?"}, {Role: "gpt", Text: "A cat."}}}
			sample, err := e.Encode(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			asked, err := e.Prompt("", "Hi?", picture.Picture{})
			if err != nil {
				t.Fatal(err)
			}
			prompt := asked.IDs
			answer, err := e.Continuation("", "Hi?", "A cat.", picture.Picture{})
			if diff := cmp.Diff(trainedIDs(sample, len(prompt)), answer); diff != "" || err != nil {
				t.Errorf("%s: %v, answer (-sample +continuation):\n%s", template.Name, err, diff)
			}
			if diff := cmp.Diff(sample.IDs[:len(prompt)], prompt); diff != "" {
				t.Errorf("%s, legacy %t (-sample +prompt):\n%s", template.Name, tokenizer.Legacy(), diff)
			}
			first := slices.IndexFunc(sample.Labels, func(label int32) bool { return label != Ignore })
			if header := template.stop == "###"; sample.Labels[len(prompt)] == Ignore || !header &&
				first != len(prompt) {
				t.Errorf("%s: the prompt has %d ids, training starts at %d", template.Name, len(prompt), first)
			}
		}
	}
}

// trainedIDs are the tokens of a sample that are trained, from a place on.
func trainedIDs(s Sample, from int) (ids []int32) {
	for i, id := range s.IDs {
		if i >= from && s.Labels[i] != Ignore {
			ids = append(ids, id)
		}
	}
	return ids
}

// A prompt's system message stands where that of a row does.
func TestPromptWithSystem(t *testing.T) {
	e := newEncoder(t, tinyTokenizer(t, true), "v1", 2048, 3)
	r := rows.Record{Images: paths("x"), Turns: []rows.Turn{{Role: "system", Text: "Be brief."},
		{Role: "human", Text: "<image>\nHi?"}, {Role: "gpt", Text: "A cat."}}}
	sample, err := e.Encode(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := e.Prompt("Be brief.", "Hi?", picture.Picture{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample.IDs[:len(asked.IDs)], asked.IDs); diff != "" {
		t.Errorf("(-sample +prompt):\n%s", diff)
	}
}

func TestPromptRefuses(t *testing.T) {
	e := newEncoder(t, tinyTokenizer(t, true), "v1", 2048, 3)
	for _, test := range []struct {
		question string
		images   []picture.Picture
		want     string
	}{
		{"", nil, "prompt: turn 1 (human) is empty"},
		{"<image> what", nil, "prompt: turn 1 holds <image> but the row has no image"},
		{"<image> or what", make([]picture.Picture, 2), "prompt: row has 2 image(s) but 1 <image>"},
		{"a</s>", make([]picture.Picture, 1), `prompt: turn 1 (human) holds "</s>"`},
	} {
		if _, err := e.Prompt("", test.question, test.images...); err == nil ||
			!strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%q: error is %v, want %q", test.question, err, test.want)
		}
	}
}

// TestCharactersWithoutTokens: a row is refused if the tokenizer has no token for a character of it.
func TestCharactersWithoutTokens(t *testing.T) {
	e := newEncoder(t, familyTokenizer(t, "smollm"), "chatml_direct", 2048, 3)
	for _, test := range []struct{ question, answer, want string }{
		{"Why?", "A cat.", ""},
		{"Why\U0001d49c?", "A cat.", `turn 1 (human) holds "𝒜" (U+1D49C), for which the tokenizer has no token`},
		{"<image>\nWhy?", "A\x07 cat.", `turn 2 (gpt) holds "\a" (U+0007), for which the tokenizer has no token`},
	} {
		r := rows.Record{Turns: []rows.Turn{{Role: "human", Text: test.question}, {Role: "gpt", Text: test.answer}}}
		if strings.Contains(test.question, rows.ImageMark) {
			r.Images = paths("x")
		}
		_, err := e.Encode(r, nil)
		if test.want == "" && err == nil {
			continue
		}
		if !errors.Is(err, picture.ErrRow) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%q, %q: error is %v, want %q", test.question, test.answer, err, test.want)
		}
		if again := e.Check(r); again == nil || again.Error() != err.Error() {
			t.Errorf("%q, %q: Check says %v, Encode %v", test.question, test.answer, again, err)
		}
	}
}

func TestStop(t *testing.T) {
	for _, test := range []struct {
		tokenizer *tokenizer.Tokenizer
		template  string
		ids       []int32
		text      string
	}{
		{tinyTokenizer(t, true), "v1", []int32{2}, ""},
		{tinyTokenizer(t, true), "plain", []int32{2}, "\n"},
		{tinyTokenizer(t, true), "v0", []int32{2}, "###"},
		{chatTokenizer(t), "mpt", []int32{2, 601}, ""},
		{familyTokenizer(t, "qwen2"), "qwen_2", []int32{802}, ""},
	} {
		ids, text := newEncoder(t, test.tokenizer, test.template, 64, 1).Stop()
		if !slices.Equal(ids, test.ids) || text != test.text {
			t.Errorf("%s stops at %v, %q; want %v, %q", test.template, ids, text, test.ids, test.text)
		}
	}
}

// TestImagesAndCut checks the run of each image and where max_length cuts.
func TestImagesAndCut(t *testing.T) {
	tokenizer := tinyTokenizer(t, true)
	full, err := newEncoder(t, tokenizer, "v1", 4096, 9).Encode(catRecord(), nil)
	if err != nil {
		t.Fatal(err)
	}
	first := slices.Index(full.IDs, ImageToken)
	length := len(full.IDs)
	if n := countIDs(full.IDs, ImageToken); n != 9 || full.IDs[first+8] != ImageToken || full.ID != "cat" {
		t.Errorf("%d image positions from %d on, id %q", n, first, full.ID)
	}
	answer := slices.IndexFunc(full.Labels, func(label int32) bool { return label != Ignore })
	for _, test := range []struct {
		maxLength int
		want      string
	}{
		{length, ""}, {length - 1, ""}, {answer + 1, ""},
		{answer, "hold no supervised token"},
		{first + 9, "hold no supervised token"},
		{first + 8, "image does not fit within"},
		{first, "image does not fit within"},
	} {
		got, err := newEncoder(t, tokenizer, "v1", test.maxLength, 9).Encode(catRecord(), nil)
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, picture.ErrRow) {
				t.Errorf("max_length %d: error is %v, want %q", test.maxLength, err, test.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got.Cut != length-test.maxLength || !slices.Equal(got.IDs, full.IDs[:test.maxLength]) ||
			!slices.Equal(got.Labels, full.Labels[:test.maxLength]) {
			t.Errorf("max_length %d: %d positions, %d cut", test.maxLength, len(got.IDs), got.Cut)
		}
	}
}

func countIDs(ids []int32, id int32) int {
	n := 0
	for _, x := range ids {
		if x == id {
			n++
		}
	}
	return n
}

// TestTwoImages has one image in each of two turns.
func TestTwoImages(t *testing.T) {
	r := catRecord()
	r.Images = append(r.Images, picture.Image{Path: "dog.jpg"})
	e := newEncoder(t, tinyTokenizer(t, false), "v1", 2048, 2)
	if _, err := e.Encode(r, nil); err == nil || !strings.Contains(err.Error(), "2 image(s) but 1 <image>") {
		t.Errorf("error is %v", err)
	}
	r.Turns[2].Text = "And <image>?"
	sample, err := e.Encode(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := countIDs(sample.IDs, ImageToken); n != 4 {
		t.Errorf("%d image positions, want 4", n)
	}
}

// TestSeveralImagesInATurn: they stay where the text has them, and each placeholder becomes the features of the image
// at its own place in the list.
func TestSeveralImagesInATurn(t *testing.T) {
	r := rows.Record{Images: paths("a", "b", "c"),
		Turns: []rows.Turn{{Role: "human", Text: "Is <image> like <image>?"}, {Role: "gpt", Text: "No."},
			{Role: "human", Text: "Why?\n<image>"}, {Role: "gpt", Text: "It sat."}}}
	e := newEncoder(t, tinyTokenizer(t, false), "v1", 2048, 2)
	sample, err := e.Encode(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	var runs []int // where runs of image positions start
	for i, id := range sample.IDs {
		if id == ImageToken && (i == 0 || sample.IDs[i-1] != ImageToken) {
			runs = append(runs, i)
		}
	}
	if n := countIDs(sample.IDs, ImageToken); n != 6 || len(runs) != 3 {
		t.Fatalf("%d image positions in runs at %v, want 6 in 3 runs", n, runs)
	}
	between := e.tokenizer.Decode(sample.IDs[runs[0]+2 : runs[1]])
	if strings.TrimSpace(between) != "like" {
		t.Errorf("between the first two images stands %q", between)
	}
	r.Images = r.Images[:2]
	if _, err := e.Encode(r, nil); err == nil || !strings.Contains(err.Error(), "2 image(s) but 3 <image>") {
		t.Errorf("error is %v", err)
	}
}

// TestSystemMessage: a row's own system message replaces the template's.
func TestSystemMessage(t *testing.T) {
	r := catRecord()
	r.Turns = append([]rows.Turn{{Role: "system", Text: "Be kind."}}, r.Turns...)
	for template, want := range map[string]string{
		"v1": "Be kind. USER: <image>", "llava_v0": "Be kind.\n\n### Human: <image>",
		"llama_2": "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n<image>",
		"mpt":     "<|im_start|>system\nBe kind.<|im_end|><|im_start|>user\n<image>",
	} {
		e := &Encoder{tokenizer: tinyTokenizer(t, false), template: openTemplate(t, template)}
		c, err := e.converse(r)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := join(e.template.render(c)); !strings.HasPrefix(text, want) {
			t.Errorf("%s: %q, want %q first", template, text, want)
		}
	}
	for template, turns := range map[string][]rows.Turn{
		`template "plain" has no place`: {{Role: "system", Text: "a"}, {Role: "human", Text: "<image>"},
			{Role: "gpt", Text: "b"}},
		`template "mistral_instruct" has no place`: {{Role: "system", Text: "a"}, {Role: "human", Text: "<image>"},
			{Role: "gpt", Text: "b"}},
		"is empty": {{Role: "system", Text: ""}, {Role: "human", Text: "<image>"},
			{Role: "gpt", Text: "b"}},
		"holds <image>": {{Role: "system", Text: "<image>"}, {Role: "human", Text: "a"},
			{Role: "gpt", Text: "b"}},
		`holds "</s>"`: {{Role: "system", Text: "a</s>"}, {Role: "human", Text: "<image>"},
			{Role: "gpt", Text: "b"}},
		`turn 2 is from "system"`: {{Role: "human", Text: "<image>"}, {Role: "system", Text: "a"},
			{Role: "gpt", Text: "b"}},
	} {
		name := "v1"
		if _, rest, ok := strings.Cut(template, `template "`); ok {
			name, _, _ = strings.Cut(rest, `"`)
		}
		e := &Encoder{tokenizer: tinyTokenizer(t, false), template: openTemplate(t, name)}
		if _, err := e.converse(rows.Record{Images: paths("x"), Turns: turns}); err == nil ||
			!strings.Contains(err.Error(), template) || !errors.Is(err, picture.ErrRow) {
			t.Errorf("%s: error is %v", template, err)
		}
	}
}

// A system text of the recipe replaces the template's, in training and in prompts; a row's own replaces both.
func TestSystemOfTheRecipe(t *testing.T) {
	own, err := openTemplate(t, "smollm2").WithSystem("Be brief.")
	if err != nil {
		t.Fatal(err)
	}
	e := &Encoder{tokenizer: tinyTokenizer(t, false), template: own}
	r := catRecord()
	for want, system := range map[string]string{
		"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n": "",
		"<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n":  "Be kind.",
	} {
		one := r
		if system != "" {
			one.Turns = append([]rows.Turn{{Role: "system", Text: system}}, r.Turns...)
		}
		c, err := e.converse(one)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := join(own.render(c)); !strings.HasPrefix(text, want) {
			t.Errorf("%q, want %q first", text, want)
		}
	}
	if text, _ := join(openTemplate(t, "smollm2").first); !strings.Contains(text, "named SmolLM") {
		t.Errorf("the template itself has changed: %q", text)
	}
	for name, system := range map[string]string{"plain": "a", "phi_3": "a", "v1": "<image>"} {
		if _, err := openTemplate(t, name).WithSystem(system); err == nil {
			t.Errorf("%s takes %q", name, system)
		}
	}
}

// Answers that a row marks as not to be trained have no labels, nor has what ends them; the others keep theirs.
func TestUntrainedAnswers(t *testing.T) {
	r := rows.Record{Turns: []rows.Turn{{Role: "human", Text: "One?"}, {Role: "gpt", Text: "First.", Untrained: true},
		{Role: "human", Text: "Two?"}, {Role: "gpt", Text: "Second."}}}
	for template, want := range map[string]string{
		"v1":       " Second.</s>",
		"llava_v0": "### Assistant: Second.\n### ",
	} {
		e := &Encoder{tokenizer: tinyTokenizer(t, false), template: openTemplate(t, template)}
		for _, last := range []bool{false, true} {
			one := r
			if one.Turns = slices.Clone(r.Turns); last {
				one.Turns[1].Untrained, one.Turns[3].Untrained = false, true
				want = map[string]string{"v1": " First.</s>", "llava_v0": "###### Assistant: First.\n###"}[template]
			}
			c, err := e.converse(one)
			if err != nil {
				t.Fatal(err)
			}
			trained := ""
			for _, s := range e.template.render(c) {
				if s.trained {
					trained += s.text
				}
			}
			if trained != want {
				t.Errorf("%s, last %v: %q is trained, want %q", template, last, trained, want)
			}
		}
	}
	e := &Encoder{tokenizer: tinyTokenizer(t, false), template: openTemplate(t, "v1")}
	r.Turns[3].Untrained = true
	if _, err := e.converse(r); err == nil || !strings.Contains(err.Error(), "no answer of the row is trained") {
		t.Errorf("without a trained answer: %v", err)
	}
}

func TestPlaceholdersThatNothingFills(t *testing.T) {
	e := &Encoder{tokenizer: tinyTokenizer(t, false), template: openTemplate(t, "v1")}
	for text, refused := range map[string]bool{
		"<video>\nWhat happens?": true, "a <audio>": true, "Find <ref-object>.": true, "<bbox>": true,
		"What does <video src=…> do?": false, "<video>fallback</video>": false, "<box>": false,
	} {
		for turn := range 2 {
			turns := []rows.Turn{{Role: "human", Text: "a"}, {Role: "gpt", Text: "b"}}
			turns[turn].Text = text
			_, err := e.converse(rows.Record{Turns: turns})
			if refused != (err != nil) || refused && !strings.Contains(err.Error(), "which nothing fills") {
				t.Errorf("%q in turn %d: %v", text, turn+1, err)
			}
		}
	}
}

// TestTurnNumbers: messages count a row's turns from 1, those before the first question too.
func TestTurnNumbers(t *testing.T) {
	system, lead := rows.Turn{Role: "system", Text: "Be kind."}, rows.Turn{Role: "gpt", Text: "Hello."}
	human, gpt := rows.Turn{Role: "human", Text: "What?"}, rows.Turn{Role: "gpt", Text: "That."}
	noQuestion, noAnswer := rows.Turn{Role: "human"}, rows.Turn{Role: "gpt"}
	e := &Encoder{tokenizer: tinyTokenizer(t, false), template: openTemplate(t, "v1")}
	for _, c := range []struct {
		want  string
		turns []rows.Turn
	}{
		{"turn 1 (human) is empty", []rows.Turn{noQuestion, gpt}},
		{"turn 4 (gpt) is empty", []rows.Turn{human, gpt, human, noAnswer}},
		{"turn 2 (human) is empty", []rows.Turn{system, noQuestion, gpt}},
		{"turn 3 (gpt) is empty", []rows.Turn{lead, human, noAnswer}},
		{"turn 3 (human) is empty", []rows.Turn{system, lead, noQuestion, gpt}},
		{"turn 4 (gpt) is empty", []rows.Turn{system, lead, human, noAnswer}},
		{`turn 4 is from "human" where "gpt" is expected`, []rows.Turn{system, lead, human, human}},
		{"row ends with turn 3, from human", []rows.Turn{system, lead, human}},
		{"turn 3 holds <image>", []rows.Turn{system, lead, {Role: "human", Text: "<image>"}, gpt}},
	} {
		if _, err := e.converse(rows.Record{Turns: c.turns}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want %s", err, c.want)
		}
	}
}

// TestPlaceImage follows the original's preprocess_multimodal, with Python's notion of blanks.
func TestPlaceImage(t *testing.T) {
	e := &Encoder{template: openTemplate(t, "v1")}
	tags := &Encoder{template: openTemplate(t, "v1_mmtag")}
	for _, test := range []struct {
		e          *Encoder
		text, want string
	}{
		{e, "  no image  ", "  no image  "},
		{e, "What is <image> this?", "<image>\nWhat is  this?"},
		{e, "\x1f\u3000What?\n<image>", "<image>\nWhat?"},
		{e, " <image>\n", "<image>"},
		{tags, "<image>\nHi?", "<Image><image></Image>\nHi?"},
		{e, " First <image>, then <image>. ", "First <image>, then <image>."}, // LLaVA-NeXT's preprocess_multimodal
		{tags, "<image><image>\nSame?", "<Image><image></Image><Image><image></Image>\nSame?"},
	} {
		if got := test.e.placeImage(test.text); got != test.want {
			t.Errorf("placeImage(%q) = %q, want %q", test.text, got, test.want)
		}
	}
}

// chatTokenizer is the tiny vocabulary with <|im_start|> and <|im_end|> as tokens 600 and 601.
func chatTokenizer(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	return tokenizerWith(t, "<|im_start|>", "<|im_end|>")
}

// tokenizerWith is the tiny tokenizer with special tokens from id 600 on.
func tokenizerWith(t *testing.T, special ...string) *tokenizer.Tokenizer {
	t.Helper()
	var added []string
	for i, content := range special {
		added = append(added, fmt.Sprintf(`"%d": {"content": %q, "special": true}`, 600+i, content))
	}
	config := `{"added_tokens_decoder": {` + strings.Join(added, ", ") + `}}`
	tokenizer, err := tokenizer.OpenTokenizer(tinyFolder(t, config), "auto")
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// TestChatMLMask: each answer and its <|im_end|> are trained. (The original's own code for this layout loses every
// sample.)
func TestChatMLMask(t *testing.T) {
	tokenizer := chatTokenizer(t)
	sample, err := newEncoder(t, tokenizer, "chatml_direct", 2048, 1).Encode(catRecord(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, answer := range []string{"A cat.", "It sat."} {
		header := "assistant\n"
		ids := idsOf(tokenizer.Encode(header + answer))[len(tokenizer.Encode(header)):]
		want = append(want, fmt.Sprint(append(ids, 601)))
	}
	var got []string
	for _, run := range strings.SplitAfter(runs(sample.Labels), "]") {
		if _, ids, ok := strings.Cut(run, ":"); ok {
			got = append(got, ids)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("supervised runs (-want +got):\n%s", diff)
	}
}

func TestNewEncoderChecksEnd(t *testing.T) {
	_, err := NewEncoder(tinyTokenizer(t, true), openTemplate(t, "mpt"), 64, picture.Grid(1))
	if err == nil || !strings.Contains(err.Error(),
		`template "mpt" ends answers with <|im_end|>, which is not a special token`) {
		t.Errorf("error is %v", err)
	}
}

// TestNoBOS wants no <s> for a tokenizer that says so.
func TestNoBOS(t *testing.T) {
	tokenizer, err := tokenizer.OpenTokenizer(tinyFolder(t, `{"add_bos_token": false}`), "auto")
	if err != nil {
		t.Fatal(err)
	}
	turns := []rows.Turn{{Role: "human", Text: "<image>"}, {Role: "gpt", Text: "a"}}
	sample, err := newEncoder(t, tokenizer, "plain", 64, 1).Encode(rows.Record{Images: paths("x"), Turns: turns}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sample.IDs[0] != ImageToken || sample.Labels[0] != Ignore || sample.Labels[1] == Ignore {
		t.Errorf("ids %v, labels %v", sample.IDs, sample.Labels)
	}
}

// The templates of Llama 3 begin with its token once, whether or not the tokenizer adds one by itself.
func TestBeginToken(t *testing.T) {
	for _, adds := range []bool{false, true} {
		tokenizer := tokenizerWith(t, "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
		const begin = 600
		tokenizer.AddBOS, tokenizer.BOS = adds, begin
		sample, err := newEncoder(t, tokenizer, "llama_3", 2048, 1).Encode(catRecord(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if sample.IDs[0] != begin || slices.Contains(sample.IDs[1:], begin) || sample.Labels[0] != Ignore {
			t.Errorf("AddBOS %v: ids %v", adds, sample.IDs[:4])
		}
	}
}

// TestEncodeConcurrently is for the race detector, and wants the same result from every goroutine.
func TestEncodeConcurrently(t *testing.T) {
	e := newEncoder(t, tinyTokenizer(t, false), "v1", 2048, 4)
	want, err := e.Encode(catRecord(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 50 {
				got, err := e.Encode(catRecord(), nil)
				if err != nil || !slices.Equal(got.IDs, want.IDs) || !slices.Equal(got.Labels, want.Labels) {
					t.Errorf("differs: %v", err)
					return
				}
			}
		})
	}
	wait.Wait()
}

func BenchmarkEncode(b *testing.B) {
	e := newEncoder(b, tinyTokenizer(b, false), "v1", 2048, 576)
	r := catRecord()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(r, nil); err != nil {
			b.Fatal(err)
		}
	}
}
