package runs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data"
)

// ledgerText is a ledger with the given lines.
func ledgerText(t interface{ Fatal(...any) }, lines ...LedgerLine) []byte {
	var text bytes.Buffer
	for _, line := range lines {
		if err := json.NewEncoder(&text).Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	return text.Bytes()
}

func readLedger(text []byte) (steps []LedgerEntry, err error) {
	err = ReadLedger(bytes.NewReader(text), func(s LedgerEntry) error {
		steps = append(steps, s)
		return nil
	})
	return steps, err
}

func ledgerSources(t *rapid.T, label string) (d LedgerData) {
	for i := range rapid.IntRange(1, 4).Draw(t, label) {
		rows := rapid.OneOf(rapid.IntRange(1, 9), rapid.IntRange(1, 1<<40)).Draw(t, "rows")
		d = append(d, LedgerSource{rows, fmt.Sprint(label, i)})
	}
	return d
}

// Any steps come back as they were written, even if data sets changed between them or steps are missing.
func TestLedgerPropertyOfRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []LedgerEntry
		var lines []LedgerLine
		step := 0
		for part := range rapid.IntRange(0, 3).Draw(t, "parts") {
			d := ledgerSources(t, fmt.Sprint("data", part))
			lines = append(lines, LedgerLine{Step: step, Data: d})
			for range rapid.IntRange(0, 4).Draw(t, "steps") {
				step += rapid.IntRange(1, 300).Draw(t, "ahead")
				rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) data.Drawn {
					source := rapid.IntRange(0, len(d)-1).Draw(t, "source")
					row := rapid.IntRange(0, d[source].Rows-1).Draw(t, "row")
					return data.Drawn{Data: source, Row: row, Skipped: rapid.Bool().Draw(t, "skipped")}
				}), 0, 20).Draw(t, "drawn")
				lines = append(lines, d.Line(data.Step{Number: step - 1, Rows: rows}))
				want = append(want, LedgerEntry{step, append([]data.Drawn{}, rows...), d})
			}
		}
		text := ledgerText(t, lines...)
		got, err := readLedger(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
		var last LedgerData
		for _, line := range lines {
			if line.Data != nil {
				last = line.Data
			}
		}
		if newest, err := NewestLedgerData(bytes.NewReader(text)); err != nil || !slices.Equal(newest, last) {
			t.Fatalf("the newest data are %v, %v, want %v", newest, err, last)
		}
	})
}

// smallLedger is two data sets and three steps, the second with skipped rows.
func smallLedger(t testing.TB) []byte {
	d := LedgerData{{5, "a"}, {300, "b"}}
	return ledgerText(t, LedgerLine{Data: d},
		d.Line(data.Step{Number: 0, Rows: []data.Drawn{{Data: 0, Row: 0}, {Data: 0, Row: 1}}}),
		d.Line(data.Step{Number: 1, Rows: []data.Drawn{
			{Data: 0, Row: 4, Skipped: true}, {Data: 1, Row: 0},
			{Data: 1, Row: 299, Skipped: true}, {Data: 1, Row: 299, Skipped: true},
		}}),
		d.Line(data.Step{Number: 2, Rows: []data.Drawn{{Data: 1, Row: 7}}}))
}

// The format is a contract with existing runs.
func TestLedgerIsPinned(t *testing.T) {
	want := `{"step":0,"data":[{"rows":5,"fingerprint":"a"},{"rows":300,"fingerprint":"b"}]}
{"step":1,"rows":"cMDSjgIAAg=="}
{"step":2,"rows":"1Yz7rgQIAtYEAAACAQ=="}
{"step":3,"rows":"Inz3mAEY"}
`
	if got := string(smallLedger(t)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A ledger that is cut at any byte has the steps that are complete.
func TestLedgerWithoutItsEnd(t *testing.T) {
	text := smallLedger(t)
	whole, err := readLedger(text)
	if err != nil || len(whole) != 3 {
		t.Fatalf("%d steps, %v", len(whole), err)
	}
	for cut := range text {
		got, err := readLedger(text[:cut])
		want := max(0, bytes.Count(text[:cut], []byte("\n"))-1)
		if diff := cmp.Diff(whole[:want], append([]LedgerEntry{}, got...)); err != nil || diff != "" {
			t.Errorf("%d bytes: %v\n%s", cut, err, diff)
		}
	}
}

// A changed byte never gives a step other rows.
func TestLedgerNoticesDamage(t *testing.T) {
	text := smallLedger(t)
	whole, _ := readLedger(text)
	rows := func(steps []LedgerEntry) (all [][]data.Drawn) {
		for _, s := range steps {
			all = append(all, s.Rows)
		}
		return all
	}
	for at := range len(text) - 1 {
		for _, flip := range []byte{1, 2, 0x20, 0x5a, 0x80} {
			damaged := bytes.Clone(text)
			damaged[at] ^= flip
			got, err := readLedger(damaged)
			silent := err == nil && len(got) < len(whole)
			if silent || err != nil && !strings.Contains(err.Error(), "is damaged") ||
				!slices.EqualFunc(rows(whole[:len(got)]), rows(got), slices.Equal[[]data.Drawn]) {
				t.Errorf("byte %d ^ %#x: %v, %+v", at, flip, err, got)
			}
		}
	}
}

func TestBadLedgers(t *testing.T) {
	d := LedgerData{{5, "a"}}
	step := func(number int, rows ...data.Drawn) LedgerLine {
		return d.Line(data.Step{Number: number - 1, Rows: rows})
	}
	sealed := func(packed ...byte) LedgerLine { // a step's line with what pack does not write
		return LedgerLine{Step: 1, Rows: append(binary.LittleEndian.AppendUint32(nil, d.sum(1, packed)), packed...)}
	}
	wider := LedgerData{{9, "a"}}.Line(data.Step{Rows: []data.Drawn{{Data: 0, Row: 7, Skipped: false}}})
	for _, c := range []struct {
		name, want string
		lines      []LedgerLine
	}{
		{"no data", "line 1 is damaged: its checksum is wrong", []LedgerLine{step(1, data.Drawn{})}},
		{"row of other data", "line 2 is damaged: its checksum is wrong", []LedgerLine{{Data: d}, wider}},
		{"step twice", "line 3 is damaged: step 1 comes after step 1",
			[]LedgerLine{{Data: d}, step(1, data.Drawn{}), step(1, data.Drawn{})}},
		{"step 0", "line 2 is damaged: step 0 comes after step 0", []LedgerLine{{Data: d}, step(0, data.Drawn{})}},
		{"nothing", "line 2 is damaged: its checksum is wrong", []LedgerLine{{Data: d}, {Step: 1}}},
		{"fewer rows than said", "line 2 is damaged: it has fewer rows than it says",
			[]LedgerLine{{Data: d}, sealed(3, 0, 0)}},
		{"row cut off", "line 2 is damaged: row 1 of the step is not in its data sets",
			[]LedgerLine{{Data: d}, sealed(2, 0, 0x80)}},
		{"row beyond", "line 2 is damaged: row 0 of the step is not in its data sets",
			[]LedgerLine{{Data: d}, sealed(1, 10)}},
		{"row below 0", "line 2 is damaged: row 0 of the step is not in its data sets",
			[]LedgerLine{{Data: d}, sealed(1, 1)}},
		{"skipped row beyond", "line 2 is damaged: it skips a row that it does not have",
			[]LedgerLine{{Data: d}, sealed(1, 0, 1)}},
		{"more rows than have numbers", "line 1 is damaged: data[2] has 1 rows",
			[]LedgerLine{{Data: LedgerData{{1 << 48, "a"}, {1, "b"}, {1, "c"}}}}},
		{"data without rows", "line 1 is damaged: data[0] has 0 rows", []LedgerLine{{Data: LedgerData{{0, "a"}}}}},
	} {
		if _, err := readLedger(ledgerText(t, c.lines...)); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	stop := errors.New("stop")
	if err := ReadLedger(bytes.NewReader(smallLedger(t)), func(LedgerEntry) error { return stop }); err != stop {
		t.Errorf("the visitor's error came back as %v", err)
	}
}

// A row takes a byte and a third in the files' order, and four where half a million rows are shuffled.
func TestLedgerIsCompact(t *testing.T) {
	const rows, global = 500_000, 128
	m, err := data.NewMixture(1, []data.Share{{Rows: rows, Weight: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for kind, most := range map[string]float64{"sequential": 1.4, "shuffled": 4} {
		order, err := data.OpenOrder(kind, m, global, nil)
		if err != nil {
			t.Fatal(err)
		}
		step := data.Step{Number: 100}
		for i := range int64(global) {
			source, row := order.At(100*global + i)
			step.Rows = append(step.Rows, data.Drawn{Data: source, Row: row})
		}
		const frame = 45 // of a line, whatever the number of its rows
		line := ledgerText(t, LedgerData{{rows, "a"}}.Line(step))
		if size := float64(len(line)-frame) / global; size > most {
			t.Errorf("%s: %.2f bytes a row", kind, size)
		}
	}
}

// FuzzLedger: no content of a ledger may do more than be refused, and the rows of a step are rows of its data.
func FuzzLedger(f *testing.F) {
	f.Add(smallLedger(f))
	f.Fuzz(func(t *testing.T, text []byte) {
		ReadLedger(bytes.NewReader(text), func(s LedgerEntry) error {
			for _, r := range s.Rows {
				if r.Row < 0 || r.Row >= s.Data[r.Data].Rows {
					t.Errorf("step %d draws row %d of data[%d], which has %d",
						s.Step, r.Row, r.Data, s.Data[r.Data].Rows)
				}
			}
			return nil
		})
		NewestLedgerData(bytes.NewReader(text))
	})
}
