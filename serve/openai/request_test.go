package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/serve"
)

func asking(fields string) string {
	return `{"model":"toy","messages":[{"role":"user","content":"hi"}],` + fields + `}`
}

func saying(messages string) string { return `{"model":"toy","messages":` + messages + `}` }

func TestSampling(t *testing.T) {
	seed := int64(-1 << 63)
	usual := serve.Sampling{Temperature: 1, TopP: 1, RepetitionPenalty: 1, Choices: 1}
	with := func(change func(*serve.Sampling)) serve.Sampling {
		s := usual
		change(&s)
		return s
	}
	for fields, want := range map[string]serve.Sampling{
		`"x":1`:                       usual,
		`"temperature":null,"n":null`: usual,
		`"temperature":0`:             with(func(s *serve.Sampling) { s.Temperature = 0 }),
		`"temperature":2`:             with(func(s *serve.Sampling) { s.Temperature = 2 }),
		`"top_p":0.01,"min_p":0.5`:    with(func(s *serve.Sampling) { s.TopP, s.MinP = .01, .5 }),
		`"seed":-9223372036854775808`: with(func(s *serve.Sampling) { s.Seed = &seed }),
		`"n":16`:                      with(func(s *serve.Sampling) { s.Choices = 16 }),
		`"max_tokens":7`:              with(func(s *serve.Sampling) { s.MaxTokens = 7 }),
		`"max_completion_tokens":5,"max_tokens":7`: with(func(s *serve.Sampling) { s.MaxTokens = 5 }),
		`"stop":"a"`:                          with(func(s *serve.Sampling) { s.Stop = []string{"a"} }),
		`"stop":["a","","b"]`:                 with(func(s *serve.Sampling) { s.Stop = []string{"a", "b"} }),
		`"stop":null`:                         usual,
		`"logprobs":true,"top_logprobs":20`:   with(func(s *serve.Sampling) { s.Logprobs, s.TopLogprobs = true, 20 }),
		`"logprobs":true`:                     with(func(s *serve.Sampling) { s.Logprobs = true }),
		`"top_logprobs":0`:                    usual,
		`"top_k":-1`:                          usual,
		`"top_k":40,"repetition_penalty":1.2`: with(func(s *serve.Sampling) { s.TopK, s.RepetitionPenalty = 40, 1.2 }),
		`"ignore_eos":true,"stop_token_ids":[2,3]`: with(func(s *serve.Sampling) {
			s.IgnoreEnd, s.StopTokens = true, []int32{2, 3}
		}),
		`"tools":[],"functions":null,"response_format":{"type": "text"},"audio":null`:    usual,
		`"frequency_penalty":0,"presence_penalty":0.0,"logit_bias":{}`:                   usual,
		`"user":"u","metadata":{"a":"b"},"store":true,"chat_id":"x","session_id":[[[]]]`: usual,
	} {
		asked, err := parseChat([]byte(asking(fields)))
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		if diff := cmp.Diff(want, asked.sampling, cmp.Transformer("nil", func(list []string) string {
			return fmt.Sprint(list)
		})); diff != "" {
			t.Errorf("%s: %s", fields, diff)
		}
	}
}

func TestBadRequests(t *testing.T) {
	for _, test := range []struct{ body, param, says string }{
		{``, "", "not a JSON object"},
		{`{"model":`, "", "not a JSON object"},
		{`[1]`, "", "not a JSON object"},
		{`"x"`, "", "not a JSON object"},
		{`{} {}`, "", "not a JSON object"},
		{strings.Repeat("[", 100_000), "", "not a JSON object"},
		{asking(`"x":` + strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)), "", "not a JSON object"},
		{"{\"model\":\"a\x01b\"}", "", "not a JSON object"},
		{`{}`, "model", "names no model"},
		{`{"model":7}`, "model", "model must be a string, not a JSON number"},
		{`{"model":"toy"}`, "messages", "a list of messages"},
		{saying(`[]`), "messages", "last message must be the user's"},
		{saying(`null`), "messages", "a list of messages"},
		{saying(`{}`), "messages", "a list of messages"},
		{saying("[" + strings.Repeat(`{"role":"user","content":""},`, 10_000) + "{}]"), "messages", "10000 messages"},
		{saying(`[{"role":"user","content":[` + strings.Repeat(`{"type":"text","text":""},`, 1000) + "{}]}]"),
			"messages[0].content", "1000 parts"},
		{saying(`"hi"`), "messages", "a list of messages"},
		{saying(`[7]`), "messages[0]", "not a message"},
		{saying(`[{"role":"user","content":"x"},{"role":7}]`), "messages[1]", "not a message"},
		{saying(`[{"role":"tool","content":"x"}]`), "messages[0].role", `not "tool"`},
		{saying(`[{"content":"x"}]`), "messages[0].role", `not ""`},
		{saying(`[{"role":"user"}]`), "messages[0].content", "has content"},
		{saying(`[{"role":"user","content":null}]`), "messages[0].content", "has content"},
		{saying(`[{"role":"user","content":7}]`), "messages[0].content", "a list of parts"},
		{saying(`[{"role":"user","content":["x"]}]`), "messages[0].content[0]", "not a part"},
		{saying(`[{"role":"user","content":[{"type":"input_audio"}]}]`), "messages[0].content[0].type", "input_audio"},
		{saying(`[{"role":"user","content":[{"type":"text"}]}]`), "messages[0].content[0].text", "has a text"},
		{saying(`[{"role":"user","content":[{"type":"image_url"}]}]`), "messages[0].content[0].image_url", "data:"},
		{saying(`[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]`),
			"messages[0].content[0].image_url", "data:"},
		{saying(`[{"role":"system","content":"x"}]`), "messages", "last message must be the user's"},
		{saying(`[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]`), "messages", "last message"},
		{saying(`[{"role":"system","content":[{"type":"image_url","image_url":"data:"}]},` +
			`{"role":"user","content":"x"}]`), "messages[0].content", "belong to messages of the user"},
		{saying(`[{"role":"user","content":[` + strings.Repeat(`{"type":"image_url","image_url":"data:"},`, 8) +
			`{"type":"image_url","image_url":"data:"}]}]`), "messages", "this one has 9"},
		{asking(`"temperature":-0.1`), "temperature", "at least 0 and at most 2, not -0.1"},
		{asking(`"temperature":2.1`), "temperature", "at most 2"},
		{asking(`"temperature":1e400`), "temperature", "must be a number"},
		{asking(`"temperature":"1"`), "temperature", "must be a number, not a JSON string"},
		{asking(`"top_p":0`), "top_p", "above 0"},
		{asking(`"top_p":1.01`), "top_p", "at most 1"},
		{asking(`"min_p":-1`), "min_p", "at least 0"},
		{asking(`"repetition_penalty":0`), "repetition_penalty", "above 0"},
		{asking(`"n":0`), "n", "1 to 16, not 0"},
		{asking(`"n":17`), "n", "1 to 16, not 17"},
		{asking(`"n":1.5`), "n", "whole number, not a JSON number 1.5"},
		{asking(`"seed":9223372036854775808`), "seed", "whole number"},
		{asking(`"seed":1` + strings.Repeat("0", 1000)), "seed", "whole number"},
		{asking(`"max_tokens":0`), "max_tokens", "1 to"},
		{asking(`"max_completion_tokens":-1`), "max_completion_tokens", "1 to"},
		{asking(`"stop":["a","b","c","d","e"]`), "stop", "4 strings"},
		{asking(`"stop":7`), "stop", "a list of strings"},
		{asking(`"stop":[7]`), "stop[0]", "not a string"},
		{asking(`"logprobs":1`), "logprobs", "true or false"},
		{asking(`"top_logprobs":2`), "top_logprobs", "needs logprobs"},
		{asking(`"logprobs":true,"top_logprobs":21`), "top_logprobs", "0 to 20"},
		{asking(`"top_k":-2`), "top_k", "-1 to"},
		{asking(`"stop_token_ids":[` + strings.Repeat("1,", 64) + `1]`), "stop_token_ids", "64"},
		{asking(`"tools":[{"type":"function"}]`), "tools", "tools"},
		{asking(`"functions":[{}]`), "functions", "functions"},
		{asking(`"response_format":{"type":"json_object"}`), "response_format", "text"},
		{asking(`"audio":{"voice":"x"}`), "audio", "text alone"},
		{asking(`"frequency_penalty":0.1`), "frequency_penalty", "repetition_penalty"},
		{asking(`"presence_penalty":-1`), "presence_penalty", "repetition_penalty"},
		{asking(`"logit_bias":{"1":1}`), "logit_bias", "Biases"},
		{asking(`"stream_options":7`), "stream_options", "an object"},
		{asking(`"stream":"yes"`), "stream", "true or false"},
	} {
		_, err := parseChat([]byte(test.body))
		body := test.body[:min(len(test.body), 100)]
		f := new(fault)
		if !errors.As(err, &f) {
			t.Errorf("%s: error %v", body, err)
			continue
		}
		if f.Status != http.StatusBadRequest || f.Kind != invalidRequest || f.Code == "" || f.Param != test.param ||
			!strings.Contains(f.Text, test.says) || len(f.Text) > 300 {
			t.Errorf("%s: %+v, want %q of %q", body, f, test.says, test.param)
		}
	}
}

func TestMessages(t *testing.T) {
	for _, test := range []struct {
		name, messages string
		turns          []serve.Message
		uris           []string
	}{
		{"text", `[{"role":"user","content":"a <image> </s>"}]`,
			[]serve.Message{{Role: "user", Text: "a <image> </s>"}}, nil},
		{"parts", `[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"u1",
			"detail":"low"}},{"type":"text","text":"b"},{"type":"image_url","image_url":"u2"}]}]`,
			[]serve.Message{{Role: "user", Text: "a\nb", Pictures: 2}}, []string{"u1", "u2"}},
		{"turns", `[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b"},
			{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}]`,
			[]serve.Message{{Role: "system", Text: "s"}, {Role: "user", Text: "a"}, {Role: "assistant", Text: "b"},
				{Role: "user", Pictures: 1}}, []string{"u"}},
		{"systems", `[{"role":"developer","content":[{"type":"text","text":"s"}]},{"role":"user","content":"a"},
			{"role":"system","content":"t"}]`,
			[]serve.Message{{Role: "system", Text: "s\nt"}, {Role: "user", Text: "a"}}, nil},
		{"same role twice", `[{"role":"user","content":[{"type":"image_url","image_url":"u1"}]},
			{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":"u2"}]}]`,
			[]serve.Message{{Role: "user", Text: "a", Pictures: 2}}, []string{"u1", "u2"}},
		{"silent assistant", `[{"role":"user","content":"a"},{"role":"assistant","content":null},
			{"role":"user","content":"b"}]`,
			[]serve.Message{{Role: "user", Text: "a"}, {Role: "assistant"}, {Role: "user", Text: "b"}}, nil},
		{"broken UTF-8", "[{\"role\":\"user\",\"content\":\"a\xff\\ud800b\"}]",
			[]serve.Message{{Role: "user", Text: "a\ufffd\ufffdb"}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked, err := parseChat([]byte(saying(test.messages)))
			if err != nil {
				t.Fatal(err)
			}
			var uris []string
			for _, uri := range asked.uris {
				uris = append(uris, uri.text)
			}
			if diff := cmp.Diff(test.turns, asked.turns) + cmp.Diff(test.uris, uris); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzParseChat: whatever comes, it is refused with a status, or becomes a request that an engine can take.
func FuzzParseChat(f *testing.F) {
	f.Add(asking(`"temperature":0.5,"n":2,"stop":["a"],"logprobs":true`))
	f.Add(saying(`[{"role":"user","content":[{"type":"text","text":"a"},` +
		`{"type":"image_url","image_url":{"url":"u"}}]}]`))
	f.Add(saying(`[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"user","content":"b"}]`))
	f.Fuzz(func(t *testing.T, body string) {
		asked, err := parseChat([]byte(body))
		if err != nil {
			refused := new(fault)
			if !errors.As(err, &refused) || refused.Status != 400 || !json.Valid(marshal(refused)) {
				t.Errorf("%v", err)
			}
			return
		}
		pictures, last := 0, ""
		for i, turn := range asked.turns {
			pictures += turn.Pictures
			if turn.Role == last || turn.Role == "system" && i > 0 {
				t.Errorf("turns %+v", asked.turns)
			}
			last = turn.Role
		}
		s := asked.sampling
		if last != "user" || pictures != len(asked.uris) || s.Choices < 1 || s.Choices > 16 || len(s.Stop) > 4 ||
			!(s.Temperature >= 0 && s.Temperature <= 2) || !(s.TopP > 0 && s.TopP <= 1) || s.MaxTokens < 0 ||
			s.TopK < 0 {
			t.Errorf("%+v", asked)
		}
	})
}
