package reply

import (
	"testing"
	"unicode/utf8"
)

// FuzzRead: whatever an endpoint sends is either a reply or a fault that says what to do, of limited length.
func FuzzRead(f *testing.F) {
	f.Add(200, "", "", []byte(`{"id": "i", "model": "m", "choices": [{"message": {"content": [{"type": "text",
		"text": "a"}]}, "finish_reason": "length"}], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}`))
	f.Add(200, "", "", []byte(`{"error": {"code": 502, "message": "m"}}`))
	f.Add(429, "7", "1500", []byte(`{"error": {"message": "m", "type": "insufficient_quota", "code": null}}`))
	f.Add(503, "Tue, 03 Nov 2026 10:00:20 GMT", "", []byte(`{"detail": ["m"]}`))
	f.Fuzz(func(t *testing.T, status int, after, milliseconds string, body []byte) {
		headers := map[string][]string{"Retry-After": {after}, "Retry-After-Ms": {milliseconds},
			"Date": {"Tue, 03 Nov 2026 10:00:00 GMT"}}
		reply, fault := Read(status, headers, body)
		if fault == nil {
			if !utf8.ValidString(reply.Content) || len([]rune(reply.Served)) > maxName+1 ||
				len([]rune(reply.Request)) > maxName+1 || reply.Usage.Cached > reply.Usage.Prompt {
				t.Errorf("%+v", reply)
			}
			return
		}
		treatment, known := treatments[fault.Class]
		if reply != (Reply{}) || !known || fault.Paid != NotPaid && fault.Paid != MaybePaid ||
			len([]rune(fault.Message)) > maxMessage+1 || !utf8.ValidString(fault.Message) {
			t.Errorf("%+v, %+v", reply, fault)
		}
		if fault.Wait != NoWait && (fault.Wait < 0 || fault.Wait > longestWait || !treatment.Retry) {
			t.Errorf("a wait of %v after %s", fault.Wait, fault.Class)
		}
	})
}
