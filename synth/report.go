package synth

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/report/page"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/chat"
	"github.com/llavatrain/llavatrain/synth/prompt"
)

const (
	sampleRows     = 24 // shown with their images
	thumbnailBytes = 16_000
)

// writeReport writes a page that shows what was made, what was not and why, and what it cost.
func (r *Run) writeReport(w io.Writer, client *chat.Client, b *built, s *Summary) error {
	samples, err := r.samples(client, b)
	if err != nil {
		return err
	}
	rows, wanted := 0, 0
	for _, k := range s.Kinds {
		rows, wanted = rows+k.Rows, wanted+k.Target
	}
	p := page.Page{
		Title: "Instruction data",
		Lead: fmt.Sprintf("%s of %s rows, written by %s from captions and boxes. For training, images is %s.",
			number(rows),
			number(wanted), r.settings.Endpoint.Model, s.Images),
		Sections: []page.Section{
			{Title: "Rows", Blocks: []page.Block{r.figures(rows, s), kindTable(s), page.Histogram{
				Title: "Length of answers", X: "words", Y: "answers", Groups: r.groups(b)}}},
			{Title: "Samples", Blocks: []page.Block{samples}},
			{Title: "Not used", Blocks: notUsed(s)},
			{Title: "Cost", Blocks: r.cost(s)},
		},
	}
	return p.Write(w)
}

func number(n int) string { return runs.Grouped(int64(n)) }

func (r *Run) figures(rows int, s *Summary) page.Figures {
	requests := 0
	for _, k := range s.Kinds {
		requests += k.Requests
	}
	f := page.Figures{
		{Label: "Rows", Value: number(rows)},
		{Label: "Requests answered", Value: number(requests), Note: percent(rows, requests) + " became rows"},
		{Label: "Tokens", Value: runs.Grouped(s.Spent.Total()),
			Note: percent(int(s.Spent.Cached), int(s.Spent.Prompt)) + " of the prompts' from the endpoint's cache"},
	}
	if r.settings.Budget.Prices != nil {
		f = append(f, page.Figure{Label: "Money", Value: fmt.Sprintf("%.2f", s.Spent.Money),
			Note: fmt.Sprintf("and %.2f maybe", s.Maybe.Money)})
	}
	return append(f, page.Figure{Label: "Rows that may invent things", Value: percent(s.Invented.Rows, rows),
		Note: "they name a category that is in neither captions nor boxes"})
}

func percent(part, whole int) string {
	if whole == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(whole))
}

func kindTable(s *Summary) page.Table {
	t := page.Table{Title: "By kind", Columns: []page.Column{{Title: "Kind"}, {Title: "Rows", Number: true},
		{Title: "Wanted", Number: true}, {Title: "Requests", Number: true}, {Title: "Answers", Number: true},
		{Title: "Prompt tokens", Number: true}, {Title: "Answer tokens", Number: true}}}
	for _, name := range answer.Kinds {
		if k := s.Kinds[name]; k != nil {
			t.Rows = append(t.Rows, []string{string(name), number(k.Rows), number(k.Target), number(k.Requests),
				number(k.Answers), runs.Grouped(k.Tokens.Prompt), runs.Grouped(k.Tokens.Completion)})
		}
	}
	return t
}

func (r *Run) groups(b *built) (groups []page.Group) {
	for _, k := range r.kinds {
		groups = append(groups, page.Group{Name: string(k.name), Values: b.lengths[k.name]})
	}
	return groups
}

// notUsed says what became of answers and scenes that gave no rows, and what was mended in those that did.
func notUsed(s *Summary) []page.Block {
	tables := []struct {
		title, of string
		counts    map[string]int
	}{{"Scenes left out", "Reason", s.Skipped}, {"Captions and boxes that went", "Reason", s.Dropped}}
	for _, name := range answer.Kinds {
		if k := s.Kinds[name]; k != nil {
			tables = append(tables, struct {
				title, of string
				counts    map[string]int
			}{"Answers rejected, " + string(name), "Reason", k.Rejected}, struct {
				title, of string
				counts    map[string]int
			}{"Answers mended, " + string(name), "Repair", k.Repairs})
		}
	}
	tables = append(tables, struct {
		title, of string
		counts    map[string]int
	}{"Categories that may be invented", "Category", s.Invented.Names})
	blocks := page.Columns{}
	for _, table := range tables {
		if len(table.counts) > 0 {
			blocks = append(blocks, countTable(table.title, table.of, table.counts))
		}
	}
	if len(blocks) == 0 {
		return []page.Block{page.Text("Every scene that was asked about became a row.")}
	}
	return []page.Block{blocks}
}

// countTable lists counts, the largest first, twenty at most.
func countTable(title, of string, counts map[string]int) page.Table {
	t := page.Table{Title: title, Columns: []page.Column{{Title: of}, {Title: "Number", Number: true}}}
	for i, reason := range byCount(counts) {
		if i == 20 {
			t.Note = fmt.Sprintf("The 20 commonest of %d.", len(counts))
			break
		}
		t.Rows = append(t.Rows, []string{reason, number(counts[reason])})
	}
	return t
}

func (r *Run) cost(s *Summary) []page.Block {
	t := page.Table{Title: "Tokens and money", Columns: []page.Column{{Title: "For"}, {Title: "Prompt", Number: true},
		{Title: "of it cached", Number: true}, {Title: "Answers", Number: true}, {Title: "Money", Number: true}}}
	for _, row := range []struct {
		what string
		cost chat.Cost
	}{{"answers", s.Spent}, {"faults and lost requests, perhaps", s.Maybe},
		{"requests in batch files, about", s.Waiting}} {
		if row.cost.Total() == 0 && row.what != "answers" {
			continue
		}
		t.Rows = append(t.Rows, []string{row.what, runs.Grouped(row.cost.Prompt), runs.Grouped(row.cost.Cached),
			runs.Grouped(row.cost.Completion), fmt.Sprintf("%.2f", row.cost.Money)})
	}
	blocks := []page.Block{t}
	if len(s.Faults) > 0 {
		faults := map[string]int{}
		for class, n := range s.Faults {
			faults[string(class)] = n
		}
		blocks = append(blocks, countTable("Faults of the endpoint", "Class", faults))
	}
	if len(s.Served) > 0 {
		blocks = append(blocks, countTable("Answers by models of other names", "Model", s.Served))
	}
	return blocks
}

// samples are the first rows of each kind with their images.
func (r *Run) samples(client *chat.Client, b *built) (page.Samples, error) {
	images, err := picture.OpenImages(r.images, picture.Options{})
	if err != nil {
		return nil, err
	}
	defer images.Close()
	var samples page.Samples
	left := map[answer.Kind]int{}
	for _, k := range r.kinds {
		left[k.name] = sampleRows / len(r.kinds)
	}
	for _, row := range b.rows {
		if left[row.name] == 0 {
			continue
		}
		left[row.name]--
		_, worth, err := r.turns(client, row)
		if err != nil {
			return nil, err
		}
		about := r.scenes[row.scene]
		one := page.Sample{Title: about.ID, Tags: append([]string{string(row.name)}, worth.Repairs...)}
		if img, err := images.Decode(picture.Image{Path: about.Image}); err == nil {
			// Without it the sample still says much.
			one.Picture, _ = page.Thumbnail(img.Image(), about.ID, thumbnailBytes)
		}
		for _, turn := range worth.Turns {
			one.Parts = append(one.Parts, page.Part{Name: "question", Text: turn.Question},
				page.Part{Name: "answer", Text: turn.Answer})
		}
		one.Parts = append(one.Parts, page.Part{Name: "what the model was given",
			Text:   about.Context(prompt.Boxes(row.name)),
			Folded: true})
		samples = append(samples, one)
	}
	return samples, nil
}

// byCount sorts names by their counts, the largest first.
func byCount(counts map[string]int) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		if a < b {
			return -1
		}
		return 1
	})
}
