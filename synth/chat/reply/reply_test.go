package reply

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// recorded is a line of ../../../../shared/parity-synth/responses/cases.jsonl. What an answer is as a whole does not
// depend on the kind of data that was asked for, so that any of the expectations will do.
type recorded struct {
	Name    string
	Status  int
	Headers map[string]string
	Body    string
	Expect  map[string]struct {
		Outcome, Paid string
		Reason        *string
		Retry         *bool
		Wait          *float64
	}
}

func (r recorded) headers() map[string][]string {
	lists := map[string][]string{}
	for name, value := range r.Headers {
		lists[name] = []string{value}
	}
	return lists
}

func TestRecordedAnswers(t *testing.T) {
	cases := datatest.JSONLines[recorded](t, datatest.Shared(t, "parity-synth", "responses", "cases.jsonl"))
	faults := 0
	for _, c := range cases {
		_, fault := Read(c.Status, c.headers(), []byte(c.Body))
		for kind, want := range c.Expect {
			if fault == nil {
				if want.Outcome == "fault" || want.Paid != string(IsPaid) {
					t.Errorf("%s, %s: a reply, want %+v", c.Name, kind, want)
				}
				continue
			}
			faults++
			outcome := "fault"
			if fault.Class.Treatment().Settles {
				outcome = "reject"
			}
			var seconds *float64
			if fault.Wait != NoWait {
				s := fault.Wait.Seconds()
				seconds = &s
			}
			if outcome != want.Outcome || want.Reason == nil || string(fault.Class) != *want.Reason ||
				string(fault.Paid) != want.Paid || !cmp.Equal(seconds, want.Wait) ||
				want.Retry != nil && fault.Class.Treatment().Retry != *want.Retry {
				t.Errorf("%s, %s: %s, %+v; want %+v", c.Name, kind, outcome, fault, want)
			}
		}
	}
	if len(cases) == 0 || faults == 0 {
		t.Errorf("%d cases, %d of them faults", len(cases), faults)
	}
}

func TestReplies(t *testing.T) {
	const long = "abcdefghij"
	for _, c := range []struct {
		name, body string
		want       Reply
	}{
		{"all of it", `{"id": "i", "model": "m", "choices": [{"message": {"role": "assistant", "content": "Yes."},
			"finish_reason": "length"}], "usage": {"prompt_tokens": 9, "completion_tokens": 2,
			"prompt_tokens_details": {"cached_tokens": 4}}}`,
			Reply{Content: "Yes.", Finish: Length, Served: "m", Request: "i", Usage: Usage{true, 9, 4, 2}}},
		{"only the first choice", `{"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}, 5]}`,
			Reply{Content: "a", Finish: Stop}},
		{"content as it came", `{"choices": [{"message": {"content": " a\r\n\u200b "}}]}`,
			Reply{Content: " a\r\n\u200b ", Finish: Stop}},
		{"half a surrogate", `{"choices": [{"message": {"content": "a\ud83d"}}]}`,
			Reply{Content: "a\ufffd", Finish: Stop}},
		{"parts", `{"choices": [{"message": {"content": [{"type": "text", "text": "a"},
			{"type": "thinking", "text": "no"}, {"text": "b"}, "no", {"type": "text", "text": 5},
			{"type": "text", "text": "c"}]}}]}`,
			Reply{Content: "abc", Finish: Stop}},
		{"no content", `{"choices": [{"message": {}}]}`, Reply{Finish: Stop}},
		{"null", `{"choices": [{"message": {"content": null, "refusal": null}, "finish_reason": null}], "error": null}`,
			Reply{Finish: Stop}},
		{"reasoning apart", `{"choices": [{"message": {"content": "a", "reasoning_content": "b", "reasoning": "c"}}]}`,
			Reply{Content: "a", Finish: Stop}},
		{"refusal", `{"choices": [{"message": {"content": null, "refusal": " No. "}}]}`,
			Reply{Refusal: "No.", Finish: Stop}},
		{"filter", `{"choices": [{"message": {"content": "T"}, "finish_reason": "content_filter"}]}`,
			Reply{Content: "T", Finish: Filtered}},
		{"another reason", `{"choices": [{"message": {"content": "T"}, "finish_reason": "tool_calls"}]}`,
			Reply{Content: "T", Finish: Stop}},
		{"strange fields", `{"id": 5, "model": ["m"], "choices": [{"message": {"content": "a", "refusal": false},
			"finish_reason": 3}], "usage": "none", "error": false}`, Reply{Content: "a", Finish: Stop}},
		{"long names", `{"model": "` + strings.Repeat(long, 30) + `", "choices": [{"message": {"content": "a"}}]}`,
			Reply{Content: "a", Finish: Stop, Served: strings.Repeat(long, 20) + "…"}},
	} {
		for _, status := range []int{200, 299} {
			got, fault := Read(status, nil, []byte(c.body))
			if diff := cmp.Diff(c.want, got); diff != "" || fault != nil {
				t.Errorf("%s: %v, %s", c.name, fault, diff)
			}
		}
	}
}

func TestRequestIDs(t *testing.T) {
	body := []byte(`{"id": "body", "choices": [{"message": {"content": "a"}}]}`)
	for want, headers := range map[string]map[string][]string{
		"body": nil,
		"head": {"X-Request-Id": {" head ", "other"}},
		"A":    {"X-REQUEST-ID": {"A"}, "x-request-id": {"b"}},
	} {
		if got, _ := Read(200, headers, body); got.Request != want {
			t.Errorf("%q, want %q", got.Request, want)
		}
	}
}

func TestUsage(t *testing.T) {
	for reported, want := range map[string]Usage{
		`{"prompt_tokens": 5, "completion_tokens": 3}`:                                           {true, 5, 0, 3},
		`{"prompt_tokens": 5.0, "completion_tokens": 0}`:                                         {true, 5, 0, 0},
		`{"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": null}`:            {true, 5, 0, 3},
		`{"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {}}`:              {true, 5, 0, 3},
		`{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":9}}`:  {true, 5, 5, 3},
		`{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":-1}}`: {true, 5, 0, 3},
		`{"prompt_tokens": 5}`:                               {},
		`{"prompt_tokens": -5, "completion_tokens": 3}`:      {},
		`{"prompt_tokens": 5, "completion_tokens": 1e18}`:    {},
		`{"prompt_tokens": "5", "completion_tokens": "3"}`:   {},
		`{"prompt_tokens": null, "completion_tokens": null}`: {},
		`[]`:   {},
		`null`: {},
	} {
		got, fault := Read(200, nil, []byte(`{"choices": [{"message": {"content": "a"}}], "usage": `+reported+`}`))
		if got.Usage != want || fault != nil {
			t.Errorf("%s: %+v, %v; want %+v", reported, got.Usage, fault, want)
		}
	}
}
