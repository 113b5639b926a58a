package runs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/rows"
)

// A run over two files and a folder of shards, whose rows have the ids a0, a1, ..., b0, ... and c0, ....
const ledgerRecipe = `
model: {vision: {weights: tower}, language: {weights: language}}
pretrain:
  data: [{path: DIR/a.json}, {path: DIR/b.json}, {shards: DIR/c}]
  template: plain
  train: {projector: {lr: 1e-3}}
  batch: {global: 4}
`

func drawn(set, row int, skipped bool) data.Drawn {
	return data.Drawn{Data: set, Row: row, Skipped: skipped}
}

// notes is an observer that keeps what it is told.
type notes struct {
	Silent
	lines []string
}

func (n *notes) Say(line string) { n.lines = append(n.lines, line) }

func put(t *testing.T, text string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// putRows writes a data set of n rows.
func putRows(t *testing.T, path, id string, n int) {
	t.Helper()
	const row = `{"id": "%s%d", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}`
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(row, id, i))
	}
	put(t, "["+strings.Join(list, ",\n")+"]", path)
}

// putShards writes a data set of n rows as shards.
func putShards(t *testing.T, dir, id string, n int) {
	t.Helper()
	turns := []rows.Turn{{Role: "human", Text: "q"}, {Role: "gpt", Text: "a"}}
	list := func(yield func(rows.ShardRow, error) bool) {
		for i := range n {
			if !yield(rows.ShardRow{Record: rows.Record{ID: fmt.Sprint(id, i), Turns: turns}, DataSet: "rows"}, nil) {
				return
			}
		}
	}
	if err := rows.WriteShards(rows.ShardOptions{Dir: dir, Bytes: 1 << 20}, 0, 0, list); err != nil {
		t.Fatal(err)
	}
}

// ledgerRun makes a run's folder without a ledger, DIR/pretrain, beside its data: 200, 5 and 3 rows.
func ledgerRun(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	putRows(t, filepath.Join(dir, "a.json"), "a", 200)
	putRows(t, filepath.Join(dir, "b.json"), "b", 5)
	putShards(t, filepath.Join(dir, "c"), "c", 3)
	put(t, strings.ReplaceAll(ledgerRecipe, "DIR", dir), dir, "pretrain", RecipeFile)
	return dir
}

// ledgerData describes a run's data as it is now.
func ledgerData(t *testing.T, dir string) (d LedgerData) {
	t.Helper()
	for _, open := range []func() (rows.Source, error){
		func() (rows.Source, error) { return OpenPath(filepath.Join(dir, "a.json"), Silent{}) },
		func() (rows.Source, error) { return OpenPath(filepath.Join(dir, "b.json"), Silent{}) },
		func() (rows.Source, error) { return rows.OpenShards(filepath.Join(dir, "c")) },
	} {
		source, err := open()
		if err != nil {
			t.Fatal(err)
		}
		d = append(d, LedgerDataOf([]rows.Source{source})...)
		source.Close()
	}
	return d
}

// putLedger writes a run's ledger and opens it.
func putLedger(t *testing.T, dir string, lines ...LedgerLine) *Ledger {
	t.Helper()
	put(t, string(ledgerText(t, lines...)), dir, "pretrain", LedgerFile)
	l, err := OpenLedger(filepath.Join(dir, "pretrain"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// stepLine is the line of a step, numbered from 1.
func (d LedgerData) stepLine(number int, drawn ...data.Drawn) LedgerLine {
	return d.Line(data.Step{Number: number - 1, Rows: drawn})
}

// A summary counts what was drawn, left out and distinct in each data set. One that changed during the run has two
// lines.
func TestSummary(t *testing.T) {
	dir := ledgerRun(t)
	first := ledgerData(t, dir)
	putRows(t, filepath.Join(dir, "b.json"), "new", 7)
	second := ledgerData(t, dir)
	l := putLedger(t, dir, LedgerLine{Data: first},
		first.stepLine(1, drawn(0, 0, false), drawn(0, 1, false), drawn(0, 64, false), drawn(1, 4, false)),
		first.stepLine(2, drawn(0, 0, false), drawn(0, 65, false), drawn(0, 64, false), drawn(1, 3, true)),
		LedgerLine{Step: 2, Data: second},
		second.stepLine(3, drawn(0, 64, false), drawn(1, 4, false), drawn(0, 199, false), drawn(2, 2, false)))
	s, err := l.Summary()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range s.Counts {
		got = append(got, fmt.Sprintf("%s: %d samples, %d left out, %d of %d rows",
			filepath.Base(c.Path), c.Samples, c.Skipped, c.Distinct, c.Rows))
	}
	want := []string{
		"a.json: 8 samples, 0 left out, 5 of 200 rows", "b.json: 1 samples, 1 left out, 1 of 5 rows",
		"b.json: 1 samples, 0 left out, 1 of 7 rows", "c: 1 samples, 0 left out, 1 of 3 rows",
	}
	if diff := cmp.Diff(want, got); diff != "" || s.Steps.String() != "steps 1 to 3" || s.Stage != "pretrain" {
		t.Errorf("%s, %s (-want +got):\n%s", s.Stage, s.Steps, diff)
	}
}

// stepOf is the rows of a step as text: data set:row, id, why it was left out.
func stepOf(t *testing.T, l *Ledger, number int) (list, said []string) {
	t.Helper()
	report := &notes{}
	s, err := l.Step(number, report)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range s.Rows {
		line := fmt.Sprintf("%s:%d %s", filepath.Base(s.Paths[row.Data]), row.Row, row.ID)
		if row.Skipped {
			line += " left out: " + row.Reason
		}
		list = append(list, strings.TrimSpace(line))
	}
	return list, report.lines
}

// A step has the ids of its rows, from files and shards, and the quarantine's reasons for those that were left out.
func TestStepNamesItsRows(t *testing.T) {
	dir := ledgerRun(t)
	d := ledgerData(t, dir)
	l := putLedger(t, dir, LedgerLine{Data: d},
		d.stepLine(1, drawn(1, 0, false), drawn(0, 0, true)),
		d.stepLine(2, drawn(2, 1, false), drawn(0, 7, true), drawn(1, 4, true), drawn(0, 199, false)))
	want := []string{"c:1 c1", "a.json:7 a7 left out:", "b.json:4 b4 left out:", "a.json:199 a199"}
	got, said := stepOf(t, l, 2)
	if diff := cmp.Diff(want, got); diff != "" || len(said) > 0 {
		t.Errorf("without a quarantine: %q (-want +got):\n%s", said, diff)
	}

	long := strings.Repeat("very ", 50_000) + "bad"
	put(t, strings.Join([]string{
		`{"source": 0, "row": 0, "id": "a0", "step": 1, "reason": "of another step"}`,
		fmt.Sprintf(`{"source": 0, "row": 7, "id": "a7", "step": 2, "reason": %q}`, long),
		`{"source": 1, "row": 7, "id": "b7", "step": 2, "reason": "of another row"}`,
		`{"source": 1, "row": 4, "id": "b4", "step": 2, "reason": "no image"}`,
		`{"source": 0, "row": 199, "id": "a199", "step": 2, "reason": "was not left out"}`,
		`{"source": 0, "ro`,
	}, "\n"), l.Dir, QuarantineFile)
	want[1], want[2] = "a.json:7 a7 left out: "+long, "b.json:4 b4 left out: no image"
	if got, _ := stepOf(t, l, 2); !cmp.Equal(want, got) {
		t.Errorf("with a quarantine (-want +got):\n%.2000s", cmp.Diff(want, got))
	}

	putRows(t, filepath.Join(dir, "a.json"), "other", 200)
	if err := os.RemoveAll(filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	want[0], want[3] = "c:1", "a.json:199"
	got, said = stepOf(t, l, 2)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the data changed (-want +got):\n%.2000s", diff)
	}
	text := strings.Join(said, "\n")
	for _, want := range []string{"data[2] cannot be opened", "a.json has changed since the run read it"} {
		if len(said) != 2 || !strings.Contains(text, want) {
			t.Errorf("said %q, want %s", said, want)
		}
	}
}

func TestStepsThatAreNotThere(t *testing.T) {
	dir := ledgerRun(t)
	d := ledgerData(t, dir)
	l := putLedger(t, dir, LedgerLine{Data: d}, d.stepLine(1, drawn(0, 0, false)), d.stepLine(2, drawn(0, 1, false)))
	for _, number := range []int{0, 3} {
		if _, err := l.Step(number, Silent{}); err == nil || !strings.Contains(err.Error(), "which has steps 1 to 2") {
			t.Errorf("step %d: %v", number, err)
		}
	}
	if err := os.Remove(filepath.Join(l.Dir, LedgerFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLedger(l.Dir); err == nil || !strings.Contains(err.Error(), LedgerFile+" does not exist") {
		t.Errorf("without a ledger: %v", err)
	}
}
