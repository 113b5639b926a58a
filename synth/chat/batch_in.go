package chat

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// Faults of lines in batch results. Neither is paid for.
const (
	classExpired reply.Class = "batch_expired" // the service did not come to it
	classFailed  reply.Class = "batch_failed"
)

// BatchResult counts the lines of batch results.
type BatchResult struct {
	Answers  int // in the ledger now
	Faults   int // their requests are open again; so are those of Expired
	Expired  int
	Repeated int // read before, or answered meanwhile
	Unknown  int // of requests that are not in the ledger
	Damaged  int // not of the form of a result
}

// BatchIn reads output and error files of batches, in any order; reading one again changes nothing.
func (c *Client) BatchIn(paths ...string) (BatchResult, error) {
	var all BatchResult
	if err := c.mayWrite(); err != nil {
		return all, err
	}
	key, _ := keyIn(c.settings.KeyEnv) // only to hide it, should it stand there
	hider := &endpoint{key: key}
	for _, path := range paths {
		if err := c.batchFile(path, hider, &all); err != nil {
			return all, fmt.Errorf("%s: %w", path, err)
		}
	}
	return all, nil
}

func (c *Client) batchFile(path string, hider *endpoint, all *BatchResult) error {
	file, err := os.Open(path)
	if err != nil {
		return failure.Input(err)
	}
	defer file.Close()
	lines := bufio.NewReaderSize(file, 1<<20)
	for err != io.EOF {
		var line []byte
		line, err = readLine(lines, maxLine)
		switch {
		case err == errLongLine:
			all.Damaged++
		case err != nil && err != io.EOF:
			return failure.Input(err)
		case len(line) > 1:
			if err := c.batchLine(hider.hide(line), all); err != nil {
				return err
			}
		}
	}
	return nil
}

// batchLine is what became of one request. Of services some name an error in the body, others beside it. A line of a
// file of BatchOut, which holds the requests, has an id as well, but a method.
type batchLine struct {
	Method   string `json:"method"`
	ID       string `json:"id"`
	CustomID string `json:"custom_id"`
	Response *struct {
		Status int             `json:"status_code"`
		Body   json.RawMessage `json:"body"`
	} `json:"response"`
	Error json.RawMessage `json:"error"`
}

// batchLine takes one line.
func (c *Client) batchLine(text []byte, all *BatchResult) error {
	var line batchLine
	if json.Unmarshal(text, &line) != nil || line.CustomID == "" {
		all.Damaged++
		return nil
	}
	if line.Method != "" && line.Response == nil {
		return failure.Inputf("it holds requests, not what became of them: give the file that the service returns")
	}
	e := c.index.keys[line.CustomID]
	switch {
	case e == nil:
		all.Unknown++
		return nil
	case e.batch == 0 || c.index.seen(line.CustomID, line.ID):
		all.Repeated++
		return nil
	}
	r := line.record(e.claim)
	r.Key, r.Attempt, r.At = line.CustomID, e.attempts, milliseconds(time.Now())
	r.Batch, r.Line = c.index.batches[e.batch-1], line.ID
	switch {
	case r.Record == recordAnswer:
		c.otherModel(&r)
		all.Answers++
	case r.Class == classExpired:
		all.Expired++
	default:
		all.Faults++
	}
	return c.write(r)
}

// record is the line's record, without its key.
func (l batchLine) record(claimed Usage) record {
	none := len(l.Error) == 0 || string(l.Error) == "null"
	if l.Response == nil || l.Response.Status == 0 {
		f := &reply.Fault{Class: classFailed, Paid: reply.NotPaid, Wait: reply.NoWait}
		var said struct{ Code, Message string }
		if !none && json.Unmarshal(l.Error, &said) == nil {
			f.Message = said.Message
			if said.Code == string(classExpired) {
				f.Class = classExpired
			}
		}
		return faultRecord(f)
	}
	body := l.Response.Body
	if (len(body) == 0 || string(body) == "null") && !none {
		body = encode(map[string]json.RawMessage{"error": l.Error})
	}
	read, fault := reply.Read(l.Response.Status, nil, body)
	if fault != nil && !fault.Class.Treatment().Settles {
		return faultRecord(fault)
	}
	return answerRecord(l.Response.Status, body, read, fault, claimed)
}
