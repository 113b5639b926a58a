package report

import (
	"maps"
	"slices"

	"github.com/llavatrain/llavatrain/report/page"
	"github.com/llavatrain/llavatrain/runs"
)

// curve is a quantity by step.
type curve struct {
	name   string // what tells it from the other curves of its chart; may be empty
	points []page.Point
}

// chart is one or several quantities of a run over its steps.
type chart struct {
	title, note string
	unit        string
	log, smooth bool
	named       bool // a curve alone is named too
	curves      func(r *Run) []curve
}

// The charts of a report, by section.
var (
	lossCharts = []chart{
		{title: "Training loss", unit: "loss", log: true, smooth: true, curves: losses,
			note: "All samples, as the recipe's loss key defines it; token means of those with an image and without."},
		{title: "Held-out loss", unit: "loss", log: true, curves: heldOutBySource,
			note: "Token means over rows that are not trained on, by the folder of their images."},
	}
	optimizerCharts = []chart{
		{title: "Learning rate", unit: "learning rate", curves: byKey(func(m runs.Metrics) map[string]runs.Number {
			return m.LR
		})},
		{title: "Gradient norm", unit: "norm, before clipping", log: true, smooth: true,
			curves: one(func(m runs.Metrics) float64 { return float64(m.GradNorm) })},
	}
	speedCharts = []chart{
		{title: "Speed", unit: "tokens a second", smooth: true,
			curves: one(func(m runs.Metrics) float64 { return float64(m.TokensPerS) })},
		{title: "Waiting for data", unit: "% of the time", smooth: true, curves: one(waitShare)},
		{title: "Memory", unit: "GB, the most so far",
			curves: one(func(m runs.Metrics) float64 { return float64(m.PeakMemoryBytes) / 1e9 })},
	}
)

// one makes the curve of a number that each step has.
func one(value func(runs.Metrics) float64) func(*Run) []curve {
	return func(r *Run) []curve {
		c := curve{points: make([]page.Point, len(r.metrics))}
		for i, m := range r.metrics {
			c.points[i] = page.Point{X: float64(m.Step), Y: value(m)}
		}
		return []curve{c}
	}
}

// byKey makes a curve of each key, for steps that have it.
func byKey(values func(runs.Metrics) map[string]runs.Number) func(*Run) []curve {
	return func(r *Run) (list []curve) {
		found := map[string][]page.Point{}
		for _, m := range r.metrics {
			for key, v := range values(m) {
				found[key] = append(found[key], page.Point{X: float64(m.Step), Y: float64(v)})
			}
		}
		for _, key := range slices.Sorted(maps.Keys(found)) {
			list = append(list, curve{key, found[key]})
		}
		return list
	}
}

func losses(r *Run) []curve {
	all := one(func(m runs.Metrics) float64 { return float64(m.Loss) })(r)
	by := byKey(func(m runs.Metrics) map[string]runs.Number { return m.LossBy })(r)
	if len(by) < 2 { // it is the same, or nearly
		return all
	}
	all[0].name = "all"
	return append(all, by...)
}

func heldOutBySource(r *Run) (list []curve) {
	all, found := curve{name: "all"}, map[string][]page.Point{}
	for _, e := range r.evaluations {
		x := float64(e.Step)
		all.points = append(all.points, page.Point{X: x, Y: float64(e.Loss)})
		for source, loss := range e.LossBySource {
			found[source] = append(found[source], page.Point{X: x, Y: float64(loss)})
		}
	}
	if all.points == nil {
		return nil
	}
	list = append(list, all)
	if len(found) < 2 {
		return list
	}
	for _, source := range slices.Sorted(maps.Keys(found)) {
		list = append(list, curve{source, found[source]})
	}
	return list
}

func waitShare(m runs.Metrics) float64 {
	return 100 * float64(m.DataWaitMS) / float64(m.DataWaitMS+m.StepMS)
}

// window is over how many points a curve of n is smoothed; 0 if it is short enough to be read as it is.
func window(n int) int {
	if n < 100 {
		return 0
	}
	return n / 50
}

// blocks draws a chart for each stage. A run alone has its curves in one chart; several have a chart for each curve, in
// which they are compared.
func (c chart) blocks(list []*Run) (blocks []page.Block) {
	for _, stage := range stagesOf(list) {
		title := c.title
		if len(stagesOf(list)) > 1 {
			title += ", " + stage
		}
		var members []*Run
		for _, r := range list {
			if r.Stage == stage {
				members = append(members, r)
			}
		}
		if len(members) == 1 {
			if curves := c.curves(members[0]); curves != nil {
				if c.named && len(curves) == 1 {
					title += ": " + curves[0].name
				}
				blocks = append(blocks, c.lines(title, curves))
			}
			continue
		}
		for _, group := range c.compared(members) {
			name := title
			if group.name != "" {
				name += ": " + group.name
			}
			blocks = append(blocks, c.lines(name, group.curves))
			c.note = "" // once is enough
		}
	}
	return blocks
}

// group is the curves of a name in several runs.
type group struct {
	name   string
	curves []curve
}

func (c chart) compared(members []*Run) (groups []group) {
	for _, r := range members {
		for _, found := range c.curves(r) {
			name := found.name
			at := slices.IndexFunc(groups, func(g group) bool { return g.name == name })
			if at < 0 {
				at = len(groups)
				groups = append(groups, group{name: name})
			}
			groups[at].curves = append(groups[at].curves, curve{r.label, found.points})
		}
	}
	return groups
}

func (c chart) lines(title string, curves []curve) page.Lines {
	l := page.Lines{Title: title, Note: c.note, X: "optimizer step", Y: c.unit, Log: c.log}
	for _, one := range curves {
		name := one.name
		if name == "" {
			name = c.title
		}
		l.Series = append(l.Series, page.Series{Name: name, Points: one.points})
		if c.smooth {
			l.Smooth = max(l.Smooth, window(len(one.points)))
		}
	}
	return l
}

// stagesOf are the stages of runs, in the order of training.
func stagesOf(list []*Run) (stages []string) {
	for _, r := range list {
		if !slices.Contains(stages, r.Stage) {
			stages = append(stages, r.Stage)
		}
	}
	return stages
}
