package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/report/page"
	"github.com/llavatrain/llavatrain/runs"
)

// Write writes a page about runs that Open has read, as of a time.
func Write(w io.Writer, list []*Run, now time.Time) error {
	p := page.Page{
		Title: title(list),
		Lead:  lead(list),
		Foot:  "Made by llavatrain report on " + stamp(now) + ".",
	}
	overview := []page.Block{figures(list[0])}
	if len(list) > 1 {
		overview = []page.Block{comparison(list)}
	}
	p.Sections = append(p.Sections, page.Section{Title: "Overview", Blocks: append(notices(list), overview...)})
	loss := page.Section{Title: "Loss"}
	for _, c := range lossCharts { // wide ones, but for those that compare runs in a part of the loss
		if blocks := c.blocks(list); len(blocks) > 1 {
			loss.Blocks = append(loss.Blocks, blocks[0], page.Columns(blocks[1:]))
		} else {
			loss.Blocks = append(loss.Blocks, blocks...)
		}
	}
	p.Sections = append(p.Sections, loss,
		page.Section{Title: "Optimizer", Blocks: []page.Block{columns(optimizerCharts, list)}},
		page.Section{Title: "Speed and memory",
			Blocks: append([]page.Block{columns(speedCharts, list)}, memoryTables(list)...)})
	if judged, ok := benchmarkSection(list); ok {
		p.Sections = slices.Insert(p.Sections, 2, judged)
	}
	samples, err := sampleSections(list)
	if err != nil {
		return err
	}
	p.Sections = append(append(p.Sections, samples...), history(list))
	p.Sections = append(p.Sections, recipeSections(list)...)
	return p.Write(w)
}

func columns(charts []chart, list []*Run) (c page.Columns) {
	for _, one := range charts {
		c = append(c, one.blocks(list)...)
	}
	return c
}

func title(list []*Run) string {
	if len(list) == 1 {
		return list[0].Name + ", " + list[0].Stage
	}
	for _, r := range list {
		if r.Name != list[0].Name {
			return fmt.Sprintf("%d runs compared", len(list))
		}
	}
	return list[0].Name
}

func lead(list []*Run) string {
	if len(list) > 1 {
		return ""
	}
	r := list[0]
	text := upper(r.progress())
	if began, ok := r.began(); ok {
		text += fmt.Sprintf(". Begun on %s", stamp(began.Time))
		if began.Device != "" {
			text += fmt.Sprintf(", on %s in %s", began.Device, began.Dtype)
		}
		if began.Processes > 1 {
			text += fmt.Sprintf(", by %d processes", began.Processes)
		}
	}
	return text + "."
}

// began is the run's start.
func (r *Run) began() (runs.Event, bool) {
	for _, e := range r.events {
		if e.Event == runs.Started {
			return e, true
		}
	}
	return runs.Event{}, false
}

func upper(text string) string { return string(text[0]-'a'+'A') + text[1:] }

func stamp(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// notices say what a reader must know of runs that did not simply go well.
func notices(list []*Run) []page.Block {
	var texts []string
	for _, r := range list {
		who := "The run"
		if len(list) > 1 {
			who = r.label
		}
		if total := r.total(); r.state == stopped && total > r.last().Step {
			texts = append(texts, fmt.Sprintf("%s stopped after step %s of %s and has not gone on. "+
				"The same command with --resume continues it.", who, grouped(r.last().Step), grouped(total)))
		}
		if bad := len(r.notApplied()); bad > 0 {
			texts = append(texts, fmt.Sprintf("%s took %s without a finite loss or gradient, which changed no weight: "+
				"see History.", who, count(bad, "step", "steps")))
		}
	}
	if texts == nil {
		return nil
	}
	return []page.Block{page.Notice(strings.Join(texts, "\n\n"))}
}

// summary is a run in numbers.
type summary struct {
	loss, first      float64 // at the end, over the last steps; of the first step
	window           int
	heldOut, lowest  float64
	lowestAt         int
	seconds, waiting float64
	tokens, samples  int
	memory           int64
}

func (r *Run) summarise() (s summary) {
	for _, m := range r.metrics {
		s.seconds += float64(m.StepMS+m.DataWaitMS) / 1e3
		s.waiting += float64(m.DataWaitMS) / 1e3
		s.tokens, s.samples = s.tokens+m.Tokens, s.samples+m.Samples
		s.memory = max(s.memory, m.PeakMemoryBytes)
	}
	n := 0
	for _, m := range r.metrics[max(0, len(r.metrics)-max(1, window(len(r.metrics)))):] {
		if s.window++; m.Loss.IsFinite() {
			s.loss += float64(m.Loss)
			n++
		}
	}
	s.loss /= float64(n) // 0/0 is no number, as it should be
	s.first = float64(r.metrics[0].Loss)
	for i, e := range r.evaluations {
		s.heldOut = float64(e.Loss)
		if i == 0 || s.heldOut < s.lowest {
			s.lowest, s.lowestAt = s.heldOut, e.Step
		}
	}
	return s
}

func (s summary) speed() string { return grouped(int(float64(s.tokens) / max(s.seconds, 1e-9))) }

func (s summary) waited() string { return fmt.Sprintf("%.1f %%", 100*s.waiting/max(s.seconds, 1e-9)) }

func number(v float64) string { return fmt.Sprintf("%.4f", v) }

func gigabytes(bytes int64) string {
	if bytes < 1e9 {
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(bytes)/1e9)
}

// lasting is a time in seconds in words.
func lasting(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", seconds)
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days %d h", int(d.Hours())/24, int(d.Hours())%24)
	}
}

func figures(r *Run) page.Figures {
	s := r.summarise()
	lossNote := "in the last step"
	if s.window > 1 {
		lossNote = fmt.Sprintf("mean of the last %s", count(s.window, "step", "steps"))
	}
	f := page.Figures{{Label: "Loss", Value: number(s.loss), Note: lossNote + "; in the first " + number(s.first)}}
	if len(r.evaluations) > 0 {
		f = append(f, page.Figure{Label: "Held-out loss", Value: number(s.heldOut),
			Note: fmt.Sprintf("lowest %s, after step %s", number(s.lowest), grouped(s.lowestAt))})
	}
	steps := page.Figure{Label: "Steps", Value: grouped(r.last().Step), Note: epochs(float64(r.last().Epoch)) + ", " +
		count(s.samples, "sample", "samples")}
	if total := r.total(); total > r.last().Step {
		steps.Note = "of " + grouped(total) + "; " + steps.Note
	}
	return append(f, steps,
		page.Figure{Label: "Time in steps", Value: lasting(s.seconds), Note: s.waited() + " of it waiting for data"},
		page.Figure{Label: "Tokens a second", Value: s.speed(), Note: grouped(s.tokens) + " tokens in all"},
		page.Figure{Label: "Peak memory", Value: gigabytes(s.memory)})
}

// epochs is a number of passes over the data in words.
func epochs(n float64) string {
	if text := fmt.Sprintf("%.3g", n); text != "1" {
		return text + " epochs"
	}
	return "1 epoch"
}

// comparison is a table with a row for each run.
func comparison(list []*Run) page.Table {
	t := page.Table{Note: "The loss is the mean of the last fiftieth of the steps.", Columns: []page.Column{
		{Title: "Run"}, {Title: "State"}, {Title: "Loss", Number: true}, {Title: "Held-out loss", Number: true},
		{Title: "Time in steps", Number: true}, {Title: "Tokens a second", Number: true},
		{Title: "Waiting for data", Number: true}, {Title: "Peak memory", Number: true}}}
	for _, r := range list {
		s, heldOut := r.summarise(), "–"
		if len(r.evaluations) > 0 {
			heldOut = number(s.heldOut)
		}
		t.Rows = append(t.Rows, []string{r.label, r.progress(), number(s.loss), heldOut, lasting(s.seconds), s.speed(),
			s.waited(), gigabytes(s.memory)})
	}
	return t
}

// memoryTables put the memory that was expected beside what was measured, where runs recorded both.
func memoryTables(list []*Run) []page.Block {
	t := page.Table{Title: "Memory, predicted and measured",
		Note: "Of tensors: the most at once. A run predicts it for samples of max_length before the first step, and " +
			"for its largest micro-batch at its end.",
		Columns: []page.Column{{Title: "Run"}, {Title: "For max_length", Number: true},
			{Title: "For its largest", Number: true}, {Title: "Measured", Number: true},
			{Title: "Difference", Number: true}}}
	for _, r := range list {
		row := []string{r.label, "–", "–", "–", "–"}
		for _, e := range r.events {
			switch {
			case e.Event != runs.Predicted || e.PredictedBytes <= 0:
			case e.MeasuredBytes <= 0:
				row[1] = gigabytes(e.PredictedBytes)
			default:
				row[2], row[3] = gigabytes(e.PredictedBytes), gigabytes(e.MeasuredBytes)
				row[4] = fmt.Sprintf("%+.1f %%", 100*(float64(e.MeasuredBytes)/float64(e.PredictedBytes)-1))
			}
		}
		if row[1] != "–" || row[3] != "–" {
			t.Rows = append(t.Rows, row)
		}
	}
	if t.Rows == nil {
		return nil
	}
	return []page.Block{t}
}
