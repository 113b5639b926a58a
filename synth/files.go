package synth

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/chat"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// The files of a run's folder, besides the ledger.
const (
	RowsFile     = "rows.json"
	rejectedFile = "rejected.jsonl"
	skippedFile  = "skipped.jsonl"
	summaryFile  = "summary.json"
	ReportFile   = "report.html"
)

// Summary is summary.json.
type Summary struct {
	Images   string                       `json:"images"` // folder that the rows' images are relative to
	Scenes   int                          `json:"scenes"` // that may be asked about
	Skipped  map[string]int               `json:"skipped"`
	Dropped  map[string]int               `json:"dropped"` // captions and boxes
	Kinds    map[answer.Kind]*KindSummary `json:"kinds"`
	Spent    chat.Cost                    `json:"spent"`
	Maybe    chat.Cost                    `json:"maybe_paid"`
	Waiting  chat.Cost                    `json:"waiting"` // expected, of requests in batch files
	Lost     int                          `json:"lost"`    // requests in flight when a process was killed
	Faults   map[reply.Class]int          `json:"faults"`
	Served   map[string]int               `json:"served"` // answers by models of other names than the one asked for
	Invented Invented                     `json:"invented"`
}

// KindSummary is one kind of row in numbers.
type KindSummary struct {
	Target   int            `json:"target"`
	Rows     int            `json:"rows"`
	Requests int            `json:"requests"` // that were answered
	Answers  int            `json:"answers"`  // to them, tries included
	Rejected map[string]int `json:"rejected"`
	Repairs  map[string]int `json:"repairs"`
	Tokens   chat.Usage     `json:"tokens"`
	Prompts  string         `json:"prompts"` // their version
}

func (k *KindSummary) count(answers []chat.Answer) {
	k.Requests++
	k.Answers += len(answers)
	for _, a := range answers {
		k.Tokens.Prompt += a.Usage.Prompt
		k.Tokens.Cached += a.Usage.Cached
		k.Tokens.Completion += a.Usage.Completion
	}
}

// Invented counts rows that speak of categories which are in neither captions nor boxes of their image: a cheap sign of
// things that are not there.
type Invented struct {
	Rows  int            `json:"rows"`
	Names map[string]int `json:"names"`
}

// rowOf is an entry of rows.json, in LLaVA's form. Readers pass over synth.
type rowOf struct {
	ID    string       `json:"id"`
	Image string       `json:"image"`
	Turns []turnOf     `json:"conversations"`
	Synth provenanceOf `json:"synth"`
}

type turnOf struct {
	From  string `json:"from"`
	Value string `json:"value"`
}

// provenanceOf says where a row comes from.
type provenanceOf struct {
	Kind    answer.Kind `json:"kind"`
	Request string      `json:"request"`
	Prompts string      `json:"prompts"`
	Model   string      `json:"model"`
	Served  string      `json:"served"`
	Rules   string      `json:"rules"`
	Repairs []string    `json:"repairs"`
}

// Build writes rows.json, rejected.jsonl, skipped.jsonl, summary.json and report.html from the ledger. It asks for
// nothing. Each file is replaced as a whole.
func (r *Run) Build(client *chat.Client) (*Summary, error) {
	if err := os.MkdirAll(r.Folder, 0o777); err != nil {
		return nil, err
	}
	var b *built
	err := checkpoints.WriteFile(r.Path(rejectedFile), func(w io.Writer) (err error) {
		lines := encoder(w)
		b, err = r.build(client, func(one rejection) error { return lines.Encode(one) })
		return err
	})
	if err != nil {
		return nil, err
	}
	summary := r.summary(client, b)
	for name, write := range map[string]func(io.Writer) error{
		RowsFile:    func(w io.Writer) error { return r.writeRows(w, client, b) },
		skippedFile: func(w io.Writer) error { return writeLines(w, b.skipped) },
		summaryFile: func(w io.Writer) error {
			e := encoder(w)
			e.SetIndent("", "  ")
			return e.Encode(summary)
		},
		ReportFile: func(w io.Writer) error { return r.writeReport(w, client, b, summary) },
	} {
		if err := checkpoints.WriteFile(r.Path(name), write); err != nil {
			return nil, err
		}
	}
	return summary, nil
}

func (r *Run) Path(name string) string { return filepath.Join(r.Folder, name) }

func (r *Run) summary(client *chat.Client, b *built) *Summary {
	paid := client.Summary()
	s := &Summary{Images: r.images, Scenes: len(r.scenes), Skipped: map[string]int{}, Dropped: map[string]int{},
		Kinds: b.kinds, Spent: paid.Spent, Maybe: paid.MaybePaid, Waiting: paid.Waiting, Lost: paid.Lost,
		Faults: paid.Faults,
		Served: paid.Served, Invented: Invented{b.strange, b.invents}}
	for _, skip := range b.skipped {
		s.Skipped[skip.Reason]++
	}
	for reason, n := range r.dropped {
		s.Dropped[string(reason)] = n
	}
	return s
}

// encoder writes a JSON value a line, with "<" as it is.
func encoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

func writeLines[T any](w io.Writer, values []T) error {
	lines := encoder(w)
	for _, value := range values {
		if err := lines.Encode(value); err != nil {
			return err
		}
	}
	return nil
}

// writeRows writes a JSON list with a row a line.
func (r *Run) writeRows(w io.Writer, client *chat.Client, b *built) error {
	lines, between := encoder(w), "[\n"
	for _, row := range b.rows {
		entry, err := r.row(client, row)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, between); err != nil {
			return err
		}
		if err := lines.Encode(entry); err != nil {
			return err
		}
		between = ","
	}
	if len(b.rows) == 0 {
		_, err := io.WriteString(w, "[]\n")
		return err
	}
	_, err := io.WriteString(w, "]\n")
	return err
}

func (r *Run) row(client *chat.Client, row accepted) (rowOf, error) {
	a, worth, err := r.turns(client, row)
	if err != nil {
		return rowOf{}, err
	}
	about := r.scenes[row.scene]
	entry := rowOf{ID: about.ID + "-" + string(row.name), Image: about.Image, Synth: provenanceOf{Kind: row.name,
		Request: row.key, Prompts: row.prompt.Version, Model: r.settings.Endpoint.Model, Served: a.Reply.Served,
		Rules: answer.Rules, Repairs: append([]string{}, worth.Repairs...)}}
	for i, turn := range worth.Turns {
		question := turn.Question
		if i == 0 {
			question = "<image>\n" + question
		}
		entry.Turns = append(entry.Turns, turnOf{"human", question}, turnOf{"gpt", turn.Answer})
	}
	return entry, nil
}
