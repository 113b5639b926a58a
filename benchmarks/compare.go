package benchmarks

import (
	"fmt"
	"math"
	"slices"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Comparison is how a run differs from another one of the same questions.
type Comparison struct {
	A       string              `json:"a"` // the files of the results
	B       string              `json:"b"`
	Figures []figure.Difference `json:"figures"`
	Flips   []Flip              `json:"flips"`
}

// Flip is a question that one run has right and the other wrong.
type Flip struct {
	ID     ID     `json:"question_id"`
	Image  string `json:"image,omitempty"`
	Prompt string `json:"prompt"`
	Label  string `json:"label"`
	A      string `json:"a"` // the answers
	B      string `json:"b"`
	Fixed  bool   `json:"fixed"` // B is right
}

// resampleSeed is that of the bootstrap, so that the same runs compare alike every time.
const resampleSeed = 42

// Compare compares two runs question by question. Runs that were asked other questions, by other prompts, or judged by
// another rule or judge, are refused: their figures differ for another reason than the models.
func Compare(a, b *Run) (*Comparison, error) {
	if err := comparable(a, b); err != nil {
		return nil, failure.Inputf("%s and %s cannot be compared: %w", a.Path, b.Path, err)
	}
	benchmark, err := Find(a.Result.Benchmark)
	if err != nil {
		return nil, err
	}
	by, err := benchmark.rule(a.Result.Rule)
	if err != nil {
		return nil, err
	}
	c := &Comparison{A: a.Path, B: b.Path, Flips: flips(a.Rows, b.Rows)}
	second := by.compute(by.counted(b.Rows))
	for _, f := range by.compute(by.counted(a.Rows)) {
		at := slices.IndexFunc(second, func(g figure.Figure) bool { return g.Name == f.Name })
		if at >= 0 && !math.IsNaN(f.Value) && !math.IsNaN(second[at].Value) {
			c.Figures = append(c.Figures, figure.Compare(f, second[at], resampleSeed))
		}
	}
	return c, nil
}

// comparable is the error of runs that are not of the same questions by the same rule.
func comparable(a, b *Run) error {
	for _, c := range []struct{ what, a, b string }{
		{"benchmark", a.Result.Benchmark, b.Result.Benchmark}, {"rule", a.Result.Rule, b.Result.Rule},
		{"split", a.Result.Split, b.Result.Split}, {"judge", a.Result.Judge, b.Result.Judge},
	} {
		if c.a != c.b {
			return fmt.Errorf("the %s of one is %q, of the other %q", c.what, c.a, c.b)
		}
	}
	if !slices.Equal(a.Result.Files, b.Result.Files) {
		return fmt.Errorf("they rest on different files: %s", differentFile(a, b))
	}
	if len(a.Rows) != len(b.Rows) {
		return fmt.Errorf("one has %d questions, the other %d", len(a.Rows), len(b.Rows))
	}
	differ, first := 0, ""
	for i := range a.Rows {
		x, y := &a.Rows[i], &b.Rows[i]
		if x.ID.text != y.ID.text || x.Missing != y.Missing {
			return fmt.Errorf("question %d is %s in one and %s in the other: they have answers to different questions",
				i, x.ID, y.ID)
		}
		if x.Prompt == y.Prompt {
			continue
		}
		if differ++; differ == 1 {
			first = fmt.Sprintf("question_id %s is asked %q and %q", x.ID, shortened(x.Prompt), shortened(y.Prompt))
		}
	}
	if differ > 0 {
		return fmt.Errorf("%d of %d prompts differ: %s", differ, len(a.Rows), first)
	}
	return nil
}

// differentFile says which file two runs have in different versions.
func differentFile(a, b *Run) string {
	hashes := map[string]string{}
	for _, source := range a.Result.Files {
		hashes[source.Name] = source.Hash
	}
	for _, source := range b.Result.Files {
		switch hash, ok := hashes[source.Name]; {
		case !ok:
			return fmt.Sprintf("only %s has %s", b.Path, source.Name)
		case hash != source.Hash:
			return fmt.Sprintf("%s is %.12s in one and %.12s in the other", source.Name, hash, source.Hash)
		}
	}
	return "one has more than the other"
}

// shortened is the beginning and end of a prompt.
func shortened(prompt string) string {
	const most = 60
	runes := []rune(prompt)
	if len(runes) <= 2*most {
		return prompt
	}
	return string(runes[:most]) + " … " + string(runes[len(runes)-most:])
}

func flips(a, b []Row) (list []Flip) {
	const right = 0.5
	for i := range a {
		before, after := a[i].Score >= right, b[i].Score >= right
		if before == after {
			continue
		}
		list = append(list, Flip{ID: a[i].ID, Image: a[i].Image, Prompt: a[i].Prompt, Label: a[i].Label,
			A: a[i].Answer, B: b[i].Answer, Fixed: after})
	}
	return list
}

// Lines is a comparison in words, for a terminal: its figures, and the first flips.
func (c *Comparison) Lines(most int) (lines []string) {
	for _, d := range c.Figures {
		line := fmt.Sprintf("%-22s %8.2f → %8.2f  %+.2f (95 %%: %+.2f to %+.2f)", d.Name, d.A, d.B, d.Change, d.Low,
			d.High)
		if d.McNemar > 0 {
			line += fmt.Sprintf("  %d fixed, %d broken, p = %.3g", d.Fixed, d.Broken, d.McNemar)
		}
		lines = append(lines, line)
	}
	for i, f := range c.Flips {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(c.Flips)-most))
			break
		}
		what := "broken"
		if f.Fixed {
			what = "fixed"
		}
		lines = append(lines, fmt.Sprintf("%s: question_id %s %s %q, right %q: %q → %q", what, f.ID, f.Image,
			shortened(f.Prompt), f.Label, shortened(f.A), shortened(f.B)))
	}
	return lines
}

// Verdict says in a word whether the first figure, which is quoted, differs.
func (c *Comparison) Verdict() string {
	if len(c.Figures) == 0 {
		return "nothing to compare"
	}
	d := c.Figures[0]
	switch {
	case d.Low > 0:
		return d.Name + " is higher in " + c.B
	case d.High < 0:
		return d.Name + " is lower in " + c.B
	}
	return "no difference in " + d.Name + " beyond chance"
}
