package judge

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// Replies are a judge's, one for each question of a set.
type Replies struct {
	List   []benchmarks.Reply
	Judge  string // the models that replied, as they call themselves; "" if the file does not say it
	Source files.Source
	Faults int    // replies that are none
	Fault  string // the first of them
}

// Read reads a file of replies: batch results in OpenAI's form, of which those of vLLM and others may lack the level
// "body"; or a JSON array of texts, in the order of the questions. Of replies to one question the last counts that is
// one. A question without a reply is an error, and so are replies to other answers; partial takes what is there.
func Read(path string, set *benchmarks.Set, j *benchmarks.Joined, partial bool) (*Replies, error) {
	text, hash, err := files.Text(path)
	if err != nil {
		return nil, failure.Inputf("replies: %w", err)
	}
	r := &Replies{List: make([]benchmarks.Reply, len(set.Questions)),
		Source: files.Source{Name: filepath.Base(path), Hash: hash}}
	if strings.HasPrefix(strings.TrimSpace(string(text)), "[") {
		err = r.array(text)
	} else {
		err = r.batch(text, set, j, partial)
	}
	if err != nil {
		return nil, failure.Inputf("replies: %s: %w", path, err)
	}
	return r, nil
}

func (r *Replies) array(text []byte) error {
	var texts []string
	if err := files.Decode(text, &texts); err != nil {
		return err
	}
	if len(texts) != len(r.List) {
		return fmt.Errorf("%d replies, and there are %d questions: a plain list has one for each, in their order",
			len(texts), len(r.List))
	}
	for i, text := range texts {
		r.List[i].Text = text
	}
	return nil
}

// result is a line of a batch result.
type result struct {
	CustomID string `json:"custom_id"`
	Method   string `json:"method"`
	Response *struct {
		Status  int             `json:"status_code"`
		Body    json.RawMessage `json:"body"`
		Choices json.RawMessage `json:"choices"`
		Model   json.RawMessage `json:"model"`
	} `json:"response"`
	Error json.RawMessage `json:"error"`
}

func (r *Replies) batch(text []byte, set *benchmarks.Set, j *benchmarks.Joined, partial bool) error {
	at, given := map[string]int{}, map[int]bool{}
	for i, a := range j.Answers {
		if a != nil {
			at[requestID(set, i, a)] = i
		}
	}
	strangers, models := 0, map[string]bool{}
	for _, line := range files.Lines(text) {
		var l result
		if err := files.Decode(line.Text, &l); err != nil || l.CustomID == "" {
			return fmt.Errorf("line %d is no batch result with custom_id and response", line.Number)
		}
		if l.Method != "" && l.Response == nil {
			return fmt.Errorf("line %d is a request: give the file that the service returns", line.Number)
		}
		i, known := at[l.CustomID]
		if !known {
			strangers++
			continue
		}
		said, model := l.reply()
		if model != "" {
			models[model] = true
		}
		if !given[i] || said.Fault == "" {
			r.List[i] = said
		}
		given[i] = true
	}
	r.Judge = strings.Join(slices.Sorted(maps.Keys(models)), ", ")
	missing := len(at) - len(given)
	if strangers+missing > 0 && !partial {
		return fmt.Errorf("%d answers have no reply, and %d replies are to other answers: are they of this answer "+
			"file? --partial takes what belongs together", missing, strangers)
	}
	for i := range j.Answers {
		if j.Answers[i] != nil && !given[i] {
			r.List[i].Fault = "it has no reply"
		}
	}
	r.count(set)
	return nil
}

// count counts replies that are none.
func (r *Replies) count(set *benchmarks.Set) {
	for i, said := range r.List {
		if said.Fault == "" {
			continue
		}
		if r.Faults++; r.Faults == 1 {
			r.Fault = fmt.Sprintf("question %s: %s", set.Questions[i].ID, said.Fault)
		}
	}
}

// reply reads the completion of a line.
func (l *result) reply() (said benchmarks.Reply, model string) {
	if l.Response == nil {
		return benchmarks.Reply{Fault: fmt.Sprintf("no response: %.200s", l.Error)}, ""
	}
	body, status := l.Response.Body, l.Response.Status
	if len(body) == 0 && len(l.Response.Choices) > 0 {
		body, _ = json.Marshal(map[string]json.RawMessage{"choices": l.Response.Choices, "model": l.Response.Model})
	}
	if status == 0 {
		status = 200
	}
	read, fault := reply.Read(status, nil, body)
	if fault != nil {
		return benchmarks.Reply{Fault: fault.Error()}, ""
	}
	return asReply(read), read.Served
}

// asReply is a completion as a reply. A judge that refuses has said nothing.
func asReply(read reply.Reply) benchmarks.Reply {
	switch {
	case read.Refusal != "":
		return benchmarks.Reply{Fault: fmt.Sprintf("the judge refuses: %.200q", read.Refusal)}
	case read.Finish == reply.Filtered:
		return benchmarks.Reply{Fault: "the provider's filter stopped the reply"}
	}
	return benchmarks.Reply{Text: read.Content}
}
