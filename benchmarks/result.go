package benchmarks

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/failure"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
)

// Result is the figures of a run, and what they rest on.
type Result struct {
	Benchmark string `json:"benchmark"`
	Rule      string `json:"rule"`
	Split     string `json:"split"`

	// Figures in percent, MME's in its points; those of which nothing was counted are absent.
	Metrics map[string]float64 `json:"metrics"`
	Errors  map[string]float64 `json:"standard_errors"`
	Figure  string             `json:"figure"` // the metric that is quoted; "" if nothing was counted
	// By lists the mean score by properties of the questions, in percent.
	By []Group `json:"by,omitempty"`

	Questions int `json:"questions"`
	Answered  int `json:"answered"`
	Missing   int `json:"missing"`   // questions without an answer
	Strangers int `json:"strangers"` // answers without a question
	Doubled   int `json:"doubled"`   // answers to a question that has one
	Empty     int `json:"empty"`     // answers without any text
	Unparsed  int `json:"unparsed"`  // answers that the rule could not read
	Cut       int `json:"cut"`       // answers that ended at the limit of tokens, where the answer file says it

	Torn bool `json:"torn,omitempty"` // the answer file's last line was cut off

	Model      string     `json:"model"`
	Conditions Conditions `json:"conditions"`
	Mixed      bool       `json:"mixed,omitempty"` // the answers are of several models, or under several conditions

	Judge   string         `json:"judge,omitempty"`
	Replies *files.Source  `json:"replies,omitempty"`
	Prompts string         `json:"prompts"` // hash of the questions' ids and prompts
	Files   []files.Source `json:"files"`   // of the benchmark
	Answers files.Source   `json:"answers"`
	Rows    string         `json:"rows,omitempty"` // the file of rows, beside the result

	order []string // of the metrics
}

// Group is the mean score of the questions with a property.
type Group struct {
	Tag
	Questions int     `json:"questions"`
	Score     float64 `json:"score"`
	Error     *Number `json:"standard_error,omitempty"` // nil for a single question
}

// Number is a float that JSON can hold.
type Number float64

// MarshalJSON writes few digits: these are for people.
func (n Number) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(n), 'g', 6, 64), nil
}

// count counts a row and the conditions of its answer.
func (r *Result) count(a *Answer, row Row) {
	if row.Missing {
		return
	}
	r.Cut += count(a.Metadata.Cut)
	if r.Answered == 0 {
		r.Model, r.Conditions = a.ModelID, a.Metadata
		r.Conditions.Cut = false
	} else if r.Model != a.ModelID || !r.Conditions.Same(a.Metadata) {
		r.Mixed = true
	}
	r.Answered++
	r.Empty += count(a.Text == "")
	r.Unparsed += count(row.Unparsed)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compute fills in the figures.
func (r *Result) compute(by *Rule, rows []Row) {
	rows = by.counted(rows)
	r.Metrics, r.Errors = map[string]float64{}, map[string]float64{}
	figures := by.compute(rows)
	if some := ranked(rows); some != nil {
		figures = append(figures, mean("acc_norm", some, func(r *Row) float64 { return *r.ByCharacters }))
	}
	for _, f := range figures {
		if math.IsNaN(f.Value) {
			continue
		}
		r.order = append(r.order, f.Name)
		r.Figure = r.order[0]
		r.Metrics[f.Name] = f.Value
		if !math.IsNaN(f.Error) {
			r.Errors[f.Name] = f.Error
		}
	}
	r.By = groups(rows)
}

// counted are the rows that have a part in the figures.
func (by *Rule) counted(rows []Row) []Row {
	if by.counts == nil {
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return !by.counts(&r) })
}

// compute are the figures of counted rows by the rule; the first is the one that is quoted.
func (by *Rule) compute(rows []Row) []figure.Figure {
	if by.figures == nil {
		return []figure.Figure{accuracy("accuracy", rows)}
	}
	return by.figures(rows)
}

// groups are the scores by tag and value, sorted.
func groups(rows []Row) (list []Group) {
	scored := map[Tag]*figure.Terms{}
	for _, row := range rows {
		for _, tag := range row.Tags {
			if scored[tag] == nil {
				scored[tag] = &figure.Terms{}
			}
			scored[tag].Add(row.at, row.Score, 1)
		}
	}
	for tag, terms := range scored {
		f := figure.New("", figure.Part{Weight: 100, Terms: terms})
		g := Group{Tag: tag, Score: f.Value, Questions: f.Units()}
		if !math.IsNaN(f.Error) {
			e := Number(f.Error)
			g.Error = &e
		}
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b Group) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
	})
	return list
}

// mean is the mean of a value over rows, in percent.
func mean(name string, rows []Row, value func(*Row) float64) figure.Figure {
	terms := &figure.Terms{}
	for i := range rows {
		terms.Add(rows[i].at, value(&rows[i]), 1)
	}
	return figure.New(name, figure.Part{Weight: 100, Terms: terms})
}

// accuracy is the mean score, in percent.
func accuracy(name string, rows []Row) figure.Figure {
	return mean(name, rows, func(r *Row) float64 { return r.Score })
}

// among are the rows with a tag of that value.
func among(rows []Row, tag, value string) (some []Row) {
	for _, row := range rows {
		if row.tag(tag) == value {
			some = append(some, row)
		}
	}
	return some
}

// Lines are the figures in words, for a terminal.
func (r *Result) Lines() (lines []string) {
	for _, name := range r.order {
		line := fmt.Sprintf("%-22s %8.2f", name, r.Metrics[name])
		if e, ok := r.Errors[name]; ok {
			line += fmt.Sprintf(" ± %.2f", e)
		}
		lines = append(lines, line)
	}
	return lines
}

// Counts is what was answered, in words.
func (r *Result) Counts() string {
	text := fmt.Sprintf("%s by rule %s: %d of %d questions answered", r.Benchmark, r.Rule, r.Answered, r.Questions)
	for _, c := range []struct {
		n    int
		what string
	}{{r.Strangers, "answers without a question"}, {r.Doubled, "answered twice"}, {r.Empty, "empty"},
		{r.Unparsed, "unparsed"}, {r.Cut, "cut at the limit of tokens"}} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	return text
}

// Run is a result with its rows.
type Run struct {
	Path   string
	Result Result
	Rows   []Row
}

// Write writes a result to a file, and its rows beside it, a JSON object a line: to result.rows.jsonl for result.json.
func (r *Result) Write(path string, rows []Row) error {
	beside := strings.TrimSuffix(path, ".json") + ".rows.jsonl"
	r.Rows = filepath.Base(beside)
	err := checkpoints.WriteFile(beside, func(w io.Writer) error {
		buffer := bufio.NewWriter(w)
		lines := json.NewEncoder(buffer)
		lines.SetEscapeHTML(false)
		for _, row := range rows {
			if err := lines.Encode(row); err != nil {
				return err
			}
		}
		return buffer.Flush()
	})
	if err != nil {
		return err
	}
	return checkpoints.WriteFile(path, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	})
}

// ReadRun reads a result and its rows.
func ReadRun(path string) (*Run, error) {
	text, _, err := files.Text(path)
	if err != nil {
		return nil, failure.Input(err)
	}
	run := &Run{Path: path}
	if err := files.Decode(text, &run.Result); err != nil || run.Result.Benchmark == "" || run.Result.Rows == "" {
		return nil, failure.Inputf("%s is no result of `llavatrain benchmark score --json`", path)
	}
	folder := files.Folder{Path: filepath.Dir(path)}
	err = files.EachLine(&folder, filepath.Base(run.Result.Rows), func(row Row) error {
		row.at = len(run.Rows)
		run.Rows = append(run.Rows, row)
		return nil
	})
	return run, err
}
