package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/report/page"
	"github.com/llavatrain/llavatrain/runs"
)

// history is the section of what happened to runs beside their steps.
func history(list []*Run) page.Section {
	s := page.Section{Title: "History"}
	for _, r := range list {
		in := ""
		if len(list) > 1 {
			in = ": " + r.label
		}
		blocks := r.eventTables("Events"+in, "Steps that were not applied"+in, "Samples left out"+in)
		s.Blocks = append(s.Blocks, blocks...)
	}
	if s.Blocks == nil {
		s.Blocks = []page.Block{page.Text("Nothing is recorded: an earlier version trained the run, and no step or " +
			"sample was left out.")}
	}
	return s
}

// mostRows are the rows of a table of events; a page must stay readable, whatever happened.
const mostRows = 100

func (r *Run) eventTables(events, notApplied, leftOut string) (blocks []page.Block) {
	if rows := r.eventRows(); rows != nil {
		columns := []page.Column{{Title: "Time (UTC)"}, {Title: "Event"}, {Title: "Step", Number: true}}
		blocks = append(blocks, capped(page.Table{Title: events, Columns: columns, Rows: rows}))
	}
	var rows [][]string
	for _, m := range r.notApplied() {
		rows = append(rows, []string{grouped(m.Step), short(float64(m.Loss)), short(float64(m.GradNorm))})
	}
	if rows != nil {
		columns := []page.Column{{Title: "Step"}, {Title: "Loss", Number: true}, {Title: "Gradient norm", Number: true}}
		blocks = append(blocks, capped(page.Table{Title: notApplied, Columns: columns, Rows: rows,
			Note: "llavatrain ledger lists the rows of a step."}))
	}
	if rows := r.skipRows(); rows != nil {
		blocks = append(blocks, capped(page.Table{Title: leftOut, Note: "quarantine.jsonl names each of them.",
			Columns: []page.Column{{Title: "Reason"}, {Title: "Samples", Number: true}, {Title: "Steps", Number: true}},
			Rows:    rows}))
	}
	return blocks
}

// capped is a table without the rows that are too many.
func capped(t page.Table) page.Table {
	if more := len(t.Rows) - mostRows; more > 0 {
		t.Rows = t.Rows[:mostRows]
		t.Note = strings.TrimSpace(t.Note + fmt.Sprintf(" The first %d of %s.", mostRows, grouped(mostRows+more)))
	}
	return t
}

// notApplied are the steps whose update was not applied.
func (r *Run) notApplied() (steps []runs.Metrics) {
	for _, m := range r.metrics {
		if !m.Loss.IsFinite() || !m.GradNorm.IsFinite() {
			steps = append(steps, m)
		}
	}
	return steps
}

// eventRows tells events in their order. Checkpoints in a row are told as one.
func (r *Run) eventRows() (rows [][]string) {
	for from, to := 0, 0; from < len(r.events); from = to {
		e := r.events[from]
		for to++; e.Event == runs.Checkpoint && to < len(r.events) && r.events[to].Event == e.Event; to++ {
		}
		text := ""
		switch e.Event {
		case runs.Started:
			text = "started" + place(e)
		case runs.Resumed:
			text = "resumed" + place(e)
		case runs.Finished:
			text = "finished"
		case runs.Checkpoint:
			rows = append(rows, checkpointRow(r.events[from:to]))
			continue
		default: // predictions stand elsewhere; other kinds are of later versions
			continue
		}
		rows = append(rows, []string{when(e), text, grouped(e.Step)})
	}
	return rows
}

// when is an event's time, in one piece: U+00A0 keeps it on a line.
func when(e runs.Event) string { return e.Time.UTC().Format("2\u00a0Jan\u00a02006,\u00a015:04") }

// place says where a start or resume runs.
func place(e runs.Event) string {
	if e.Device == "" {
		return ""
	}
	text := fmt.Sprintf(" on %s in %s", e.Device, e.Dtype)
	if e.Processes > 1 {
		text += fmt.Sprintf(", by %d processes", e.Processes)
	}
	return text
}

func checkpointRow(list []runs.Event) []string {
	first, last, took := list[0], list[len(list)-1], 0.0
	for _, e := range list {
		took += float64(e.TookMS) / 1e3
	}
	if len(list) == 1 {
		return []string{when(first), "checkpoint, in " + lasting(took), grouped(first.Step)}
	}
	return []string{when(first),
		fmt.Sprintf("%s, in %s each, the last at %s", count(len(list), "checkpoint", "checkpoints"),
			lasting(took/float64(len(list))), when(last)),
		grouped(first.Step) + " to " + grouped(last.Step)}
}

// skipRows count the samples that were left out by reason, the commonest first.
func (r *Run) skipRows() (rows [][]string) {
	type found struct{ n, first, last int }
	reasons := map[string]found{}
	for _, s := range r.skips {
		reason, _, _ := strings.Cut(s.Reason, "\n")
		f, known := reasons[reason]
		if !known {
			f.first = s.Step
		}
		reasons[reason] = found{f.n + 1, min(f.first, s.Step), max(f.last, s.Step)}
	}
	names := slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(reasons[b].n, reasons[a].n), cmp.Compare(a, b))
	})
	for _, name := range names {
		f := reasons[name]
		steps := grouped(f.first)
		if f.last > f.first {
			steps += " to " + grouped(f.last)
		}
		rows = append(rows, []string{name, grouped(f.n), steps})
	}
	return rows
}
