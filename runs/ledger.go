package runs

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Ledger is the record of which rows each step of a run drew.
type Ledger struct {
	Dir   string // of one stage of the run
	Stage string
	data  []recipes.Data
}

// OpenLedger opens the ledger of a run folder.
func OpenLedger(dir string) (_ *Ledger, err error) {
	defer failure.MarkInput(&err)
	r, err := recipes.Load(filepath.Join(dir, RecipeFile), nil)
	if err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{Dir: dir, Stage: filepath.Base(absolute)}
	stage, err := r.Stage(l.Stage)
	if err != nil {
		return nil, err
	}
	l.data = stage.Data
	if !checkpoints.Exists(l.file()) {
		return nil, fmt.Errorf("%s does not exist: no step was started, or an older version trained the run", l.file())
	}
	return l, nil
}

func (l *Ledger) file() string { return filepath.Join(l.Dir, LedgerFile) }

// path is the path of a data set in the run's recipe, "" if the recipe has no such data set.
func (l *Ledger) path(source int) string {
	if source >= len(l.data) {
		return ""
	}
	return cmp.Or(l.data[source].Path, l.data[source].Shards)
}

func (l *Ledger) read(visit func(LedgerEntry) error) (err error) {
	defer failure.MarkInput(&err)
	file, err := os.Open(l.file())
	if err != nil {
		return err
	}
	defer file.Close()
	if err := ReadLedger(file, visit); err != nil {
		return fmt.Errorf("%s: %w", l.file(), err)
	}
	return nil
}

// spans are ascending steps, as the first and last step of each unbroken series.
type spans [][2]int

func (s spans) with(step int) spans {
	if last := len(s) - 1; last >= 0 && s[last][1] == step-1 {
		s[last][1] = step
		return s
	}
	return append(s, [2]int{step, step})
}

func (s spans) String() string {
	if len(s) == 0 {
		return "no steps"
	}
	var parts []string
	for _, span := range s {
		parts = append(parts, fmt.Sprintf("%d to %d", span[0], span[1]))
	}
	return "steps " + strings.Join(parts, ", ")
}

// LedgerSummary is a whole ledger in numbers.
type LedgerSummary struct {
	Stage  string        `json:"stage"`
	Steps  spans         `json:"steps"` // first and last of each unbroken series
	Counts []LedgerCount `json:"counts"`
}

// LedgerCount counts what was drawn from one data set. A data set that changed during the run has a count for each of
// its contents.
type LedgerCount struct {
	Data     int    `json:"data"` // which entry of the recipe's data list
	Path     string `json:"path"`
	Rows     int    `json:"rows"` // in the data set
	Samples  int    `json:"samples"`
	Skipped  int    `json:"skipped"`  // samples that were left out, not in Samples
	Distinct int    `json:"distinct"` // rows among Samples

	print string
	drawn map[int]uint64 // a bit for each row: 64 rows in each value
}

// Summary counts what all steps drew.
func (l *Ledger) Summary() (LedgerSummary, error) {
	s := LedgerSummary{Stage: l.Stage, Steps: spans{}, Counts: []LedgerCount{}}
	err := l.read(func(step LedgerEntry) error {
		s.Steps = s.Steps.with(step.Step)
		for _, row := range step.Rows {
			l.of(&s, row.Data, step.Data[row.Data]).add(row)
		}
		return nil
	})
	return s, err
}

// of is the count of a data set with the given content.
func (l *Ledger) of(s *LedgerSummary, source int, content LedgerSource) *LedgerCount {
	for i := range slices.Backward(s.Counts) {
		if found := &s.Counts[i]; found.Data == source && found.print == content.Fingerprint {
			return found
		}
	}
	s.Counts = append(s.Counts, LedgerCount{
		Data: source, Path: l.path(source), Rows: content.Rows, print: content.Fingerprint, drawn: map[int]uint64{},
	})
	return &s.Counts[len(s.Counts)-1]
}

func (s *LedgerCount) add(row data.Drawn) {
	if row.Skipped {
		s.Skipped++
		return
	}
	s.Samples++
	if bit := uint64(1) << (row.Row % 64); s.drawn[row.Row/64]&bit == 0 {
		s.drawn[row.Row/64] |= bit
		s.Distinct++
	}
}

// LedgerStep is the rows of one step.
type LedgerStep struct {
	Stage string         `json:"stage"`
	Step  int            `json:"step"`
	Paths map[int]string `json:"paths"` // of the data sets that the step draws from
	Rows  []LedgerRow    `json:"rows"`  // in the order of the step
}

// LedgerRow is one row of a step.
type LedgerRow struct {
	Data    int    `json:"data"` // which entry of the recipe's data list
	Row     int    `json:"row"`
	ID      string `json:"id,omitempty"`      // "" if the row has none, or its data set is missing or has changed
	Skipped bool   `json:"skipped,omitempty"` // the row was left out
	Reason  string `json:"reason,omitempty"`  // why
}

// Step looks up a step. The ids of its rows come from the data sets; report is told of data sets that are not what the
// run read, whose rows get no ids.
func (l *Ledger) Step(number int, report Observer) (LedgerStep, error) {
	var found LedgerEntry
	var known spans
	err := l.read(func(s LedgerEntry) error {
		if known = known.with(s.Step); s.Step == number {
			found = s
		}
		return nil
	})
	if err != nil {
		return LedgerStep{}, err
	}
	if found.Step == 0 {
		return LedgerStep{}, failure.Inputf("step %d is not in %s, which has %v", number, l.file(), known)
	}
	s := LedgerStep{Stage: l.Stage, Step: number, Paths: map[int]string{}}
	for _, row := range found.Rows {
		s.Rows = append(s.Rows, LedgerRow{Data: row.Data, Row: row.Row, Skipped: row.Skipped})
		s.Paths[row.Data] = l.path(row.Data)
	}
	for source := range found.Data {
		if _, drawn := s.Paths[source]; !drawn {
			continue
		}
		if err := l.name(s.Rows, source, found.Data[source], report); err != nil {
			return LedgerStep{}, err
		}
	}
	return s, l.explain(&s)
}

// name looks up the ids of the rows of one data set.
func (l *Ledger) name(drawn []LedgerRow, source int, content LedgerSource, report Observer) error {
	opened, err := l.open(source, report)
	if err != nil {
		report.Say(fmt.Sprintf("data[%d] cannot be opened, so its rows have no ids here: %v", source, err))
		return nil
	}
	defer opened.Close()
	if now := LedgerDataOf([]rows.Source{opened}); now[0] != content {
		report.Say(fmt.Sprintf("data[%d] %s has changed since the run read it, so its rows have no ids here",
			source, l.path(source)))
		return nil
	}
	for i := range drawn {
		if drawn[i].Data != source {
			continue
		}
		record, err := opened.Record(drawn[i].Row)
		if err != nil && !errors.Is(err, picture.ErrRow) {
			return fmt.Errorf("data[%d] row %d: %w", source, drawn[i].Row, err)
		}
		drawn[i].ID = record.ID
	}
	return nil
}

func (l *Ledger) open(source int, report Observer) (rows.Source, error) {
	switch {
	case source >= len(l.data):
		return nil, fmt.Errorf("%s does not list it", RecipeFile)
	case l.data[source].Shards != "":
		return rows.OpenShards(l.data[source].Shards)
	}
	return OpenPath(l.data[source].Path, report)
}

// explain gives skipped rows the reasons, and missing ids, from the quarantine.
func (l *Ledger) explain(s *LedgerStep) (err error) {
	defer failure.MarkInput(&err)
	file, err := os.Open(filepath.Join(l.Dir, QuarantineFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var skip data.Skip
		if json.Unmarshal(lines.Bytes(), &skip) != nil || skip.Step != s.Step {
			continue
		}
		for i, row := range s.Rows {
			if row.Skipped && row.Data == skip.Data && row.Row == skip.Row {
				s.Rows[i].ID, s.Rows[i].Reason = cmp.Or(row.ID, skip.ID), skip.Reason
			}
		}
	}
	return lines.Err()
}

// OpenPath opens the rows of a file; report is told how far indexing it is.
func OpenPath(path string, report Observer) (rows.Source, error) {
	source, err := rows.Open(path, func(done, total int64) {
		report.Progress("indexing "+filepath.Base(path), done, total)
	})
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	return source, nil
}
