package data

import (
	"encoding/json"
	"testing"
)

// Lines of quarantine.jsonl and of a checkpoint's state: the first as it is written, the second as earlier versions
// wrote it. Both are read.
func TestSkipJSON(t *testing.T) {
	const (
		now   = `{"data":1,"row":4,"id":"odd","step":2,"reason":"image \"gone.png\": no such file"}`
		older = `{"source":1,"row":4,"id":"odd","step":2,"reason":"image \"gone.png\": no such file"}`
	)
	want := Skip{Data: 1, Row: 4, ID: "odd", Step: 2, Reason: `image "gone.png": no such file`}
	for _, line := range []string{now, older} {
		got := Skip{Data: 7}
		if err := json.Unmarshal([]byte(line), &got); err != nil || got != want {
			t.Errorf("%s is read as %+v, %v", line, got, err)
		}
	}
	if text, err := json.Marshal(want); err != nil || string(text) != now {
		t.Errorf("got %s, %v\nwant %s", text, err, now)
	}
	for _, line := range []string{`{"source":"1"}`, `{"data":"1"}`, `[]`} {
		var skip Skip
		if err := json.Unmarshal([]byte(line), &skip); err == nil {
			t.Errorf("%s is read as %+v", line, skip)
		}
	}
}
