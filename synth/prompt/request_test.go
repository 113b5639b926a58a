package prompt

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/synth/answer"
)

func made(kind answer.Kind, system, questions string, examples ...Example) *Prompt {
	p := &Prompt{Kind: kind, System: system, Examples: examples}
	p.finish(questions)
	return p
}

func ptr[T any](value T) *T { return &value }

// Keys and versions are contracts: by its key an answer that was paid for is found again. The values were computed by
// Python's hashlib.
func TestPinned(t *testing.T) {
	detail := made(answer.Detail, "S", "Q1?\nQ2?", Example{"c1", "a1"})
	conversation := made(answer.Conversation, "S", "")
	for _, c := range []struct{ what, got, want string }{
		{"key", detail.Request("A cat.", Parameters{"gpt", 100, ptr(0.2), nil, ptr(7)}).Key,
			"6b55aa05dd4e7dba6fb7346264e33ff40fcb08a93f55738604d1728facc4d529"},
		{"key", conversation.Request("A cat.\nB", Parameters{Model: "é", MaxTokens: 1500}).Key,
			"4af9442b26571e5da8591d906b33ddb89d4fadf03ec2dcfbeb41047b5df87233"},
		{"version", detail.Version, "d93b01a31455"},
		{"version", conversation.Version, "0e7e5231bd8f"},
	} {
		if c.got != c.want {
			t.Errorf("%s %s, want %s", c.what, c.got, c.want)
		}
	}
	list := []string{"0", "1", "2", "3", "4", "5", "6"}
	for _, c := range []struct {
		seed uint64
		id   string
		want string
	}{{42, "1", "0"}, {42, "000000391895", "3"}, {0, "", "2"}, {math.MaxUint64, "é", "0"}} {
		if got := Choose(list, "detail", c.seed, c.id); got != c.want {
			t.Errorf("choice for %d, %q: %s, want %s", c.seed, c.id, got, c.want)
		}
		if got := (&Prompt{Questions: list}).Question(c.seed, c.id); got != c.want {
			t.Errorf("question for %d, %q: %s, want %s", c.seed, c.id, got, c.want)
		}
	}
}

// Every question gets its share.
func TestChooseEvenly(t *testing.T) {
	list := defaults(t)[answer.Detail].Questions
	counts := map[string]int{}
	const each = 1000
	for i := range each * len(list) {
		counts[Choose(list, "detail", 42, fmt.Sprint(i))]++
	}
	for _, question := range list {
		if n := counts[question]; n < each*8/10 || n > each*12/10 {
			t.Errorf("%q is chosen %d times, of %d", question, n, each*len(list))
		}
	}
}

// drawn are the texts of a prompt, of letters that make equal texts at moved borders likely.
func drawn(t *rapid.T) (kind answer.Kind, texts []string) {
	kind = rapid.SampledFrom(answer.Kinds[:]).Draw(t, "kind")
	texts = rapid.SliceOfN(rapid.StringMatching(`[ab]{1,3}`), 1, 7).Draw(t, "texts")
	return kind, texts[:len(texts)-1+len(texts)%2] // a system message and pairs
}

func fromTexts(kind answer.Kind, questions string, texts []string) *Prompt {
	var examples []Example
	for pair := range slices.Chunk(texts[1:], 2) {
		examples = append(examples, Example{pair[0], pair[1]})
	}
	return made(kind, texts[0], questions, examples...)
}

// Prompts with different texts, or the same text with other borders, have different versions and keys; equal ones have
// equal ones.
func TestKeyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind, texts := drawn(t)
		other, others := drawn(t)
		questions := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "questions")
		p, q := fromTexts(kind, questions, texts), fromTexts(other, "a", others)
		same := kind == other && slices.Equal(texts, others)
		sameQuestions := questions == "a" || kind != answer.Detail
		if got := p.Version == q.Version; got != (same && sameQuestions) {
			t.Errorf("%s %q and %s %q: equal versions %v", kind, texts, other, others, got)
		}
		with := Parameters{Model: "m", MaxTokens: 100}
		if got := p.Request("c", with).Key == q.Request("c", with).Key; got != same {
			t.Errorf("%s %q and %s %q: equal keys %v", kind, texts, other, others, got)
		}
	})
}

// Every parameter changes the key, and so does whether it is sent.
func TestKeyOfParameters(t *testing.T) {
	p := defaults(t)[answer.Detail]
	keys := map[string]string{}
	for name, r := range map[string]Request{
		"none":           p.Request("c", Parameters{}),
		"context":        p.Request("d", Parameters{}),
		"kind":           made(answer.Reasoning, p.System, "", p.Examples...).Request("c", Parameters{}),
		"model":          p.Request("c", Parameters{Model: "m"}),
		"limit":          p.Request("c", Parameters{MaxTokens: 1}),
		"temperature":    p.Request("c", Parameters{Temperature: ptr(1.0)}),
		"no temperature": p.Request("c", Parameters{Temperature: ptr(0.0)}),
		"top p":          p.Request("c", Parameters{TopP: ptr(1.0)}),
		"seed":           p.Request("c", Parameters{Seed: ptr(1)}),
		"seed 0":         p.Request("c", Parameters{Seed: ptr(0)}),
	} {
		if other := keys[r.Key]; other != "" || len(r.Key) != 64 {
			t.Errorf("%s and %s have the key %q", name, other, r.Key)
		}
		keys[r.Key] = name
	}
}

// The messages are what the JSON says, and all requests of a kind begin alike, up to the context.
func TestMessages(t *testing.T) {
	p := made(answer.Detail, "S <b> & \"quotes\"\n\u2028", "Q", Example{"c1", "a1"}, Example{"c2", "a2"})
	want := []Message{{"system", p.System}, {"user", "c1"}, {"assistant", "a1"}, {"user", "c2"}, {"assistant", "a2"},
		{"user", "A <cat>.\n\nb: [0.0, 0.1, 0.2, 0.3]"}}
	context := want[5].Content
	if diff := cmp.Diff(want, p.Messages(context)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	text := p.Request(context, Parameters{}).Messages
	var got []Message
	if err := json.Unmarshal(text, &got); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v, JSON (-want +got):\n%s", err, cmp.Diff(want, got))
	}
	if !strings.Contains(string(text), "S <b> &") {
		t.Errorf("characters are escaped: %s", text)
	}
	other := p.Request("x", Parameters{}).Messages
	shared := strings.Index(string(text), "A <cat>")
	if string(text[:shared]) != string(other[:shared]) {
		t.Errorf("%s\n%s", text, other)
	}
	if got := string(made(answer.Reasoning, "S", "").Request("c", Parameters{}).Messages); got !=
		`[{"role":"system","content":"S"},{"role":"user","content":"c"}]` {
		t.Errorf("without examples: %s", got)
	}
}

func TestTokens(t *testing.T) {
	box := "dining table: [0.098, 0.036, 0.856, 0.232]"
	for text, want := range map[string]float64{
		"":                        0,
		"abcd":                    1,
		"äöüß":                    1,
		box:                       42 / 1.2,
		box + "\n" + box:          85 / 1.2,
		"A dog.\n\n" + box:        8/4.0 + 42/1.2,
		"x: [0.1, 0.2, 0.3]":      18 / 4.0,
		"a box [0.1, 0.2, 0.3, 1": 23 / 4.0,
	} {
		if got := tokens(text); math.Abs(got-want) > 1e-9 {
			t.Errorf("%q: %v tokens, want %v", text, got, want)
		}
	}
	p := made(answer.Detail, "abcd", "", Example{"efgh", "abcdefgh"})
	if got := p.Request("abcde", Parameters{}).Tokens; got != 6 {
		t.Errorf("a request of %d tokens", got)
	}
}
