package chat

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// The kinds of records. A ledger begins with its version; then each line is one of the others.
const (
	recordLedger = "ledger"
	recordClaim  = "claim"
	recordAnswer = "answer"
	recordFault  = "fault"
	recordBatch  = "batch"
)

// ledgerVersion changes whenever a ledger of today would be misread tomorrow.
const ledgerVersion = 1

// record is a line of a ledger.
type record struct {
	Record  string `json:"record"`
	Version int    `json:"version,omitempty"` // ledger

	Key     string `json:"key,omitempty"`
	Attempt int    `json:"attempt,omitempty"` // which claim of the key, from 1
	At      int64  `json:"at,omitempty"`      // milliseconds since 1970

	// Tokens: expected of a claim, used by an answer.
	Prompt     int64 `json:"prompt,omitempty"`
	Cached     int64 `json:"cached,omitempty"`
	Completion int64 `json:"completion,omitempty"`

	// Answers.
	Expected  int64        `json:"expected,omitempty"`  // prompt tokens, by the caller's estimate
	Estimated bool         `json:"estimated,omitempty"` // the endpoint did not count
	Status    int          `json:"status,omitempty"`
	Finish    reply.Finish `json:"finish,omitempty"`
	Served    string       `json:"served,omitempty"`  // the model that answered, where it is not the one that was asked
	Request   string       `json:"request,omitempty"` // the endpoint's id of the request
	MS        int64        `json:"ms,omitempty"`      // milliseconds until it had arrived

	// Faults.
	Class   reply.Class `json:"class,omitempty"`
	Wait    *float64    `json:"wait,omitempty"` // seconds that the endpoint asked for
	Paid    reply.Paid  `json:"paid,omitempty"`
	Message string      `json:"message,omitempty"`

	// Batches. Of an answer or fault: the batch that it came by, and the id of its line there.
	Batch   string   `json:"batch,omitempty"`
	Line    string   `json:"line,omitempty"`
	Keys    []string `json:"keys,omitempty"`
	Prompts []int64  `json:"prompts,omitempty"` // expected prompt tokens of each key

	// Body is an answer's whole body, so that no mistake in reading it costs another answer: JSON, or of a refusal
	// perhaps other text as a JSON string. It is the last field: see head.
	Body json.RawMessage `json:"body,omitempty"`
}

var bodyField = []byte(`,"body":`)

// head is a record without the body, which is most of a ledger and need not be parsed to find it again. The first
// `,"body":` of a line is the field itself: inside a string the quotes would have backslashes, and what comes before it
// holds no objects.
func head(line []byte) (r record, err error) {
	if !bytes.HasSuffix(line, []byte("}")) {
		return r, failure.Inputf("it is damaged: it does not end with }")
	}
	if at := bytes.Index(line, bodyField); at >= 0 {
		line = append(line[:at:at], '}')
	}
	return whole(line)
}

// whole is a record with its body.
func whole(line []byte) (r record, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return r, failure.Inputf("it is damaged: %w; restore the file from a copy, or remove the line (an answer in "+
			"it is then paid for again)", err)
	}
	return r, nil
}

func (r record) usage() Usage { return Usage{r.Prompt, r.Cached, r.Completion} }

// text is the body as it was sent, but for white space between its parts.
func (r record) text() []byte {
	var quoted string
	if len(r.Body) > 0 && r.Body[0] == '"' && json.Unmarshal(r.Body, &quoted) == nil {
		return []byte(quoted)
	}
	return r.Body
}

// answer reads a record's body.
func (r record) answer() Answer {
	a := Answer{Key: r.Key, Usage: r.usage(), Took: time.Duration(r.MS) * time.Millisecond, Recorded: true}
	if a.Reply, a.Fault = reply.Read(r.Status, nil, r.text()); a.Fault != nil {
		a.Outcome = Refused
	}
	a.Reply.Request = r.Request
	return a
}

// asJSON is a body as a JSON value.
func asJSON(body []byte) json.RawMessage {
	if json.Valid(body) {
		return body
	}
	return bytes.TrimSpace(encode(string(body)))
}

func milliseconds(t time.Time) int64 { return t.UnixMilli() }
