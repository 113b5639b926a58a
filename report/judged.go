package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image/jpeg"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/llavatrain/llavatrain/report/page"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// published are the figures of LLaVA-1.5 in its paper and model zoo (Liu et al. 2023, LLaVA's docs/MODEL_ZOO.md), by
// the rule that is named: of the model of 7B and of 13B.
var published = map[string]struct{ rule, small, large string }{
	"vqav2": {"original", "78.5", "80.0"}, "gqa": {"original", "62.0", "63.3"},
	"vizwiz": {"original", "50.0", "53.6"}, "scienceqa": {"original", "66.8", "71.6"},
	"textvqa": {"original", "58.2", "61.3"}, "pope": {"original", "85.9", "85.9"},
	"mme": {"original", "1510.7", "1531.3"}, "mmbench_en": {"", "64.3", "67.7"}, "mmbench_cn": {"", "58.3", "63.6"},
	"seed": {"original", "58.6", "61.6"}, "llavabench": {"original", "65.4", "72.5"},
	"mmvet": {"original", "31.1", "36.1"},
}

// judgement is the figures of a benchmark: of questions that a run was asked, or of `benchmark run`.
type judgement struct {
	runs.Benchmarked
	whole bool // of all questions
}

// readResults reads the results of `benchmark run` that lie in a run's folder benchmarks, each in a folder of its own.
func readResults(dir string) (list []judgement, err error) {
	files, err := filepath.Glob(filepath.Join(dir, runs.BenchmarksDir, "*", "result.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, failure.Input(err)
		}
		var result struct {
			runs.Benchmarked
			Answered   int `json:"answered"`
			Conditions struct {
				Step int `json:"step"`
			} `json:"conditions"`
		}
		if err := json.Unmarshal(text, &result); err != nil || result.Benchmark == "" {
			return nil, failure.Inputf("%s is no result of `llavatrain benchmark run`", file)
		}
		result.Step, result.Questions = result.Conditions.Step, result.Answered
		list = append(list, judgement{result.Benchmarked, true})
	}
	return list, nil
}

// judgements are a run's figures: those of all questions, and the last of each part that was asked during training.
func (r *Run) judgements() (list []judgement) {
	list = slices.Clone(r.results)
	for _, b := range lastBenchmarks(r) {
		list = append(list, judgement{b, false})
	}
	return list
}

// benchmarkSection is the figures of benchmarks, beside published ones; false if there are none.
func benchmarkSection(list []*Run) (s page.Section, ok bool) {
	t := page.Table{Note: "With the 95 % interval that so many questions leave. LLaVA-1.5 is as in its paper, by the " +
		"original's rule: compare with it what was asked in full and by that rule. Of two runs, llavatrain " +
		"benchmark compare sets the same questions side by side, which tells much smaller differences.",
		Columns: []page.Column{{Title: "Run"}, {Title: "Benchmark"}, {Title: "Rule"}, {Title: "Figure"},
			{Title: "Value", Number: true}, {Title: "95 % interval", Number: true}, {Title: "Questions", Number: true},
			{Title: "After step", Number: true}, {Title: "LLaVA-1.5 7B, 13B", Number: true}}}
	for _, r := range list {
		for _, j := range r.judgements() {
			t.Rows = append(t.Rows, j.row(r.label))
		}
	}
	if t.Rows == nil {
		return s, false
	}
	s = page.Section{Title: "Benchmarks", Blocks: []page.Block{t}}
	if charts := columns(benchmarkCharts, list); charts != nil {
		s.Blocks = append(s.Blocks, charts)
	}
	return s, true
}

func (j judgement) row(run string) []string {
	value, interval, asked, after, paper := float64(j.Metrics[j.Figure]), "–", grouped(j.Questions), "end", "–"
	if e, ok := j.Errors[j.Figure]; ok {
		const wide = 1.96 // standard errors, of 95 % of a normal distribution
		interval = fmt.Sprintf("%.1f to %.1f", value-wide*float64(e), value+wide*float64(e))
	}
	if !j.whole {
		asked += ", a part"
	}
	if j.Step > 0 {
		after = grouped(j.Step)
	}
	if p, known := published[j.Benchmark]; known && (p.rule == "" || p.rule == j.Rule) {
		paper = p.small + ", " + p.large
	}
	return []string{run, j.Benchmark, j.Rule, j.Figure, fmt.Sprintf("%.2f", value), interval, asked, after, paper}
}

// benchmarkCharts are the figures by step: those in percent, and MME's points.
var benchmarkCharts = []chart{
	{title: "Benchmarks during training", unit: "%", curves: figuresOf(func(name string) bool { return name != "mme" }),
		note: "Of the same questions each time.", named: true},
	{title: "MME during training", unit: "points", named: true,
		curves: figuresOf(func(name string) bool { return name == "mme" })},
}

func figuresOf(of func(benchmark string) bool) func(*Run) []curve {
	return func(r *Run) (list []curve) {
		for _, b := range r.benchmarked {
			if !of(b.Benchmark) {
				continue
			}
			name := b.Benchmark + " " + b.Figure
			at := slices.IndexFunc(list, func(c curve) bool { return c.name == name })
			if at < 0 {
				at = len(list)
				list = append(list, curve{name: name})
			}
			list[at].points = append(list[at].points, page.Point{X: float64(b.Step), Y: float64(b.Metrics[b.Figure])})
		}
		return list
	}
}

// What is shown of samples, so that the page stays small.
const (
	mostSamples   = 20
	pictureBudget = 16_000 // bytes
)

// sampleSections show what a run answered about held-out rows at first and at last.
func sampleSections(list []*Run) (sections []page.Section, err error) {
	for _, r := range list {
		first, last := map[int]runs.Sample{}, map[int]runs.Sample{}
		for _, s := range r.samples {
			if _, known := first[s.Sample]; !known {
				first[s.Sample] = s
			}
			last[s.Sample] = s
		}
		var shown page.Samples
		numbers := slices.Sorted(maps.Keys(first))
		for _, i := range numbers[:min(len(numbers), mostSamples)] {
			one, err := r.sample(first[i], last[i])
			if err != nil {
				return nil, err
			}
			shown = append(shown, one)
		}
		if shown == nil {
			continue
		}
		title := "Held-out samples"
		if len(list) > 1 {
			title += ": " + r.label
		}
		sections = append(sections, page.Section{Title: title, Blocks: []page.Block{shown}})
	}
	return sections, nil
}

func (r *Run) sample(first, last runs.Sample) (page.Sample, error) {
	one := page.Sample{Title: first.ID, Parts: []page.Part{{Name: "Question", Text: first.Question},
		{Name: "Expected", Text: first.Expected},
		{Name: fmt.Sprintf("Answer after step %s", grouped(first.Step)), Text: first.Answer}}}
	if last.Step > first.Step {
		one.Parts = append(one.Parts, page.Part{Name: fmt.Sprintf("Answer after step %s", grouped(last.Step)),
			Text: last.Answer})
	}
	if last.Cut {
		one.Tags = append(one.Tags, "cut off")
	}
	text, err := os.ReadFile(runs.ThumbnailFile(r.Dir, first.Sample))
	if errors.Is(err, fs.ErrNotExist) { // the texts are worth showing without it
		return one, nil
	}
	if err != nil {
		return one, failure.Input(err)
	}
	picture, err := jpeg.Decode(bytes.NewReader(text))
	if err == nil {
		one.Picture, err = page.Thumbnail(picture, "picture of "+first.ID, pictureBudget)
	}
	if err != nil {
		return one, failure.Inputf("%s: %w", runs.ThumbnailFile(r.Dir, first.Sample), err)
	}
	return one, nil
}
