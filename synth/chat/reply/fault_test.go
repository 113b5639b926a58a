package reply

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestClasses(t *testing.T) {
	openAI := func(message, kind, code string) string {
		return fmt.Sprintf(`{"error": {"message": %q, "type": %q, "param": null, "code": %s}}`, message, kind, code)
	}
	for _, c := range []struct {
		status int
		body   string
		class  Class
		paid   Paid
	}{
		{429, "", RateLimit, NotPaid},
		{429, openAI("Slow down", "requests", `"rate_limit_exceeded"`), RateLimit, NotPaid},
		{429, openAI("No money", "insufficient_quota", `null`), Quota, NotPaid},
		{429, openAI("No money", "", `"billing_hard_limit_reached"`), Quota, NotPaid},
		{401, "", Auth, NotPaid},
		{403, "", Auth, NotPaid},
		{404, "", NotFound, NotPaid},
		{402, "", BadRequest, NotPaid},
		{410, "", BadRequest, NotPaid},
		{414, "", BadRequest, NotPaid},
		{430, "", BadRequest, NotPaid},
		{401, "context length", Auth, NotPaid},
		{405, "", BadRequest, NotPaid},
		{400, "", BadRequest, NotPaid},
		{422, "", BadRequest, NotPaid},
		{413, "", ContextLength, NotPaid},
		{400, openAI("", "", `"context_length_exceeded"`), ContextLength, NotPaid},
		{422, openAI("The maximum Context Length is 8", "", `null`), ContextLength, NotPaid},
		{400, openAI("it exceeds the available context size", "exceed_context_size_error", `400`), ContextLength,
			NotPaid},
		{400, `{"object": "error", "message": "the model's context length is 8", "code": 400}`, ContextLength, NotPaid},
		{400, `{"error": "the context length is 8"}`, ContextLength, NotPaid},
		{400, `{"error": "Bad Request", "message": "the context length is 8"}`, ContextLength, NotPaid},
		{400, `{"error": {"code": "content_filter"}, "message": "m", "code": 400}`, FilteredPrompt, NotPaid},
		{422, `{"detail": [{"msg": "longer than the context length"}]}`, ContextLength, NotPaid},
		{400, "longer than the context length", ContextLength, NotPaid},
		{400, openAI("Filtered, whatever its context length", "", `"content_filter"`), FilteredPrompt, NotPaid},
		{400, openAI("", "", `"content_policy_violation"`), FilteredPrompt, NotPaid},
		{422, openAI("", "", `"content_filter"`), BadRequest, NotPaid},
		{409, "", Server, NotPaid},
		{408, "", Server, NotPaid},
		{500, "", Server, MaybePaid},
		{501, "", Server, NotPaid},
		{502, "", Server, MaybePaid},
		{503, "", Server, NotPaid},
		{504, "", Server, MaybePaid},
		{529, "", Server, NotPaid},
		{100, "", UnexpectedStatus, NotPaid},
		{300, "", UnexpectedStatus, NotPaid},
		{301, "", UnexpectedStatus, NotPaid},
		{308, "", UnexpectedStatus, NotPaid},
		{600, "", UnexpectedStatus, NotPaid},
		{-1, "", UnexpectedStatus, NotPaid},
	} {
		_, fault := Read(c.status, nil, []byte(c.body))
		if fault == nil || fault.Class != c.class || fault.Paid != c.paid || fault.Status != c.status {
			t.Errorf("%d %s: %+v, want %s, paid %s", c.status, c.body, fault, c.class, c.paid)
		}
		if _, known := treatments[c.class]; !known {
			t.Errorf("%s has no treatment", c.class)
		}
	}
}

func TestUnreadableBodies(t *testing.T) {
	for _, body := range []string{
		"", "null", "[]", "{}", `"text"`, "<html>", "data: {}",
		`{"choices": null}`, `{"choices": []}`, `{"choices": {}}`, `{"choices": [null]}`,
		`{"choices": ["text"]}`, `{"choices": [{}]}`, `{"choices": [{"message": null}]}`,
		`{"choices": [{"message": "text"}]}`, `{"choices": [{"message": {"content": 5}}]}`,
		`{"choices": [{"message": {"content": {"text": "a"}}}]}`, `{"choices": [{"message": {"content": true}}]}`,
		`{"choices": [{"message": {"content": "a"}}]} and more`, `{"choices": [{"message": {"content": "a"}}]`,
		strings.Repeat("[", 100_000), `{"choices": ` + strings.Repeat("[", 100_000),
	} {
		_, fault := Read(200, nil, []byte(body))
		if fault == nil || fault.Class != BadBody || fault.Paid != MaybePaid || fault.Wait != NoWait {
			t.Errorf("%.60s: %+v", body, fault)
		}
	}
}

// Gateways answer 200 before they know whether the model behind them will.
func TestErrorsWithinStatus200(t *testing.T) {
	for _, c := range []struct {
		error  string
		class  Class
		status int
	}{
		{`{"code": 429, "message": "m"}`, RateLimit, 429},
		{`{"code": "429", "message": "m"}`, RateLimit, 429},
		{`{"code": 429, "type": "insufficient_quota"}`, Quota, 429},
		{`{"code": 400, "message": "context length"}`, ContextLength, 400},
		{`{"code": 503}`, Server, 503},
		{`{"message": "m"}`, Server, 502},
		{`{"code": "server_error"}`, Server, 502},
		{`{"code": 200}`, Server, 502},
		{`{"code": 599}`, Server, 599},
		{`{"code": 399}`, Server, 502},
		{`{"code": 600}`, Server, 502},
		{`"m"`, Server, 502},
		{`true`, Server, 502},
	} {
		body := `{"choices": [{"message": {"content": "a"}}], "error": ` + c.error + `}`
		_, fault := Read(200, nil, []byte(body))
		if fault == nil || fault.Class != c.class || fault.Status != c.status {
			t.Errorf("%s: %+v, want %s, %d", c.error, fault, c.class, c.status)
		}
	}
}

func TestWaits(t *testing.T) {
	const now = "Tue, 03 Nov 2026 10:00:00 GMT"
	for _, c := range []struct {
		headers string // name=value;…
		want    time.Duration
	}{
		{"", NoWait},
		{"Retry-After=7", 7 * time.Second},
		{"RETRY-AFTER= 0.25 ", 250 * time.Millisecond},
		{"Retry-After=0", 0},
		{"Retry-After=86400", 24 * time.Hour},
		{"Retry-After=86400.5", NoWait},
		{"Retry-After=-1", NoWait},
		{"Retry-After=1e3", NoWait},
		{"Retry-After=inf", NoWait},
		{"Retry-After=NaN", NoWait},
		{"Retry-After=0x10", NoWait},
		{"Retry-After=1.2.3", NoWait},
		{"Retry-After=.", NoWait},
		{"Retry-After=" + strings.Repeat("9", 400), NoWait},
		{"Retry-After=soon", NoWait},
		{"retry-after-ms=1500;Retry-After=2", 1500 * time.Millisecond},
		{"retry-after-ms=86400001;Retry-After=2", 2 * time.Second},
		{"retry-after-ms=soon;Retry-After=2", 2 * time.Second},
		{"retry-after-ms=0;Retry-After=2", 0},
		{"Date=" + now + ";Retry-After=Tue, 03 Nov 2026 10:00:20 GMT", 20 * time.Second},
		{"Date=" + now + ";Retry-After=Tuesday, 03-Nov-26 10:01:00 GMT", time.Minute},
		{"Date=" + now + ";Retry-After=Tue Nov  3 10:00:01 2026", time.Second},
		{"Date=" + now + ";Retry-After=" + now, 0},
		{"Date=" + now + ";Retry-After=Tue, 03 Nov 2026 09:59:59 GMT", NoWait},
		{"Date=" + now + ";Retry-After=Thu, 05 Nov 2026 10:00:00 GMT", NoWait},
		{"Date=" + now + ";Retry-After=Fri, 01 Jan 9999 00:00:00 GMT", NoWait},
		{"Date=today;Retry-After=Tue, 03 Nov 2026 10:00:20 GMT", NoWait},
		{"Retry-After=Tue, 03 Nov 2026 10:00:20 GMT", NoWait},
	} {
		headers := map[string][]string{"Empty": nil}
		for pair := range strings.SplitSeq(c.headers, ";") {
			name, value, _ := strings.Cut(pair, "=")
			headers[name] = []string{value, "9"}
		}
		for _, status := range []int{429, 503, 200} {
			if _, fault := Read(status, headers, nil); fault.Wait != c.want {
				t.Errorf("%d, %s: %v, want %v", status, c.headers, fault.Wait, c.want)
			}
		}
		if _, fault := Read(401, headers, nil); fault.Wait != NoWait {
			t.Errorf("a wait of %v before what is not tried again", fault.Wait)
		}
	}
}

func TestTreatments(t *testing.T) {
	for class, is := range treatments {
		if is.Retry && (is.Halt != NeverHalts || is.Settles) || is.Settles && is.Halt != NeverHalts {
			t.Errorf("%s: %+v contradicts itself", class, is)
		}
	}
	if RateLimit.Treatment().Try || !Server.Treatment().Try || Quota.Treatment().Halt != Halts ||
		Auth.Treatment().Halt != HaltsIfRepeated || Class("new").Treatment() != (Treatment{}) {
		t.Errorf("%+v", treatments)
	}
}

func TestMessages(t *testing.T) {
	_, fault := Read(400, nil, []byte(`{"error": {"message": "Unsupported\u001b[2J parameter", "param": "max_tokens",
		"code": "unsupported_parameter"}}`))
	if want := `the endpoint's answer: bad_request, status 400, "Unsupported\x1b[2J parameter"`; fault.Error() != want {
		t.Errorf("%s, want %s", fault.Error(), want)
	}
	if fault.Param != "max_tokens" || fault.Code != "unsupported_parameter" {
		t.Errorf("%+v", fault)
	}
	_, fault = Read(400, nil, []byte(`{"error": "Bad Request", "message": "no prompt"}`))
	if fault.Message != "Bad Request: no prompt" {
		t.Errorf("%+v", fault)
	}
	_, fault = Read(500, nil, []byte(strings.Repeat("\xffa", 10_000)))
	if n := len([]rune(fault.Message)); n != maxMessage+1 {
		t.Errorf("a message of %d characters", n)
	}
	if _, fault = Read(503, nil, nil); fault.Error() != "the endpoint's answer: server, status 503" {
		t.Error(fault)
	}
	lost := Unanswered(Timeout, "no byte within 30s")
	if lost.Error() != `no answer: timeout, "no byte within 30s"` || lost.Paid != MaybePaid ||
		lost.Wait != NoWait || !lost.Class.Treatment().Retry {
		t.Errorf("%+v, %v", lost, lost)
	}
}
