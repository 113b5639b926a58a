package models

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/answer"
	"github.com/llavatrain/llavatrain/train/score"
)

// NewScore returns the command score.
func NewScore(p *program.Program) *cobra.Command {
	var images, out string
	var named answer.Named
	c := &cobra.Command{
		Use:   "score MODEL DATA",
		Short: "Compute a model's loss and perplexity on each row of a data set",
		Long: "Compute a model's loss and perplexity on each row of a data set. MODEL is a run folder, a checkpoint " +
			"or a LLaVA folder, DATA a LLaVA JSON file.\n" +
			"One JSON object per row goes to standard output, a table by source and modality to standard error. Rows " +
			"are read as in training.",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			named.Path = args[0]
			if info, err := os.Stat(args[1]); err != nil { // before the model is loaded
				return failure.Inputf("data: %w", err)
			} else if info.IsDir() {
				return failure.Inputf("data: %s is a folder; give the JSON file", args[1])
			}
			terminal := program.NewTerminal(p.Err)
			defer terminal.Close()
			a, err := answer.OpenAnswerer(named, terminal)
			if err != nil {
				return err
			}
			defer a.Close()
			to, closeOut, err := resultFile(p, out)
			if err != nil {
				return err
			}
			o := score.Options{
				Model: a.Model, Template: a.Notes.Template,
				Image: cmp.Or(a.Notes.Aspect, "square"), Turn: a.Notes.Turn, MaxPixels: a.Notes.MaxPixels,
				Data: recipes.Data{Path: args[1], Images: cmp.Or(images, filepath.Dir(args[1])), Weight: 1},
			}
			var table scoreTable
			lines := json.NewEncoder(to)
			err = score.Score(c.Context(), a.LLaVA, a.Preprocessor, o, terminal, func(row score.RowScore) error {
				table.add(row)
				if err := lines.Encode(row); err != nil {
					return fmt.Errorf("%w: %w", failure.ErrStorage, err)
				}
				return nil
			})
			if closeErr := closeOut(); err == nil {
				err = closeErr
			}
			if err != nil {
				return err
			}
			terminal.Close()
			if table.all.Samples == 0 {
				return failure.Inputf("data: none of the %d rows of %s can be scored; their lines give the reasons",
					table.skipped, args[1])
			}
			table.print(p.Err)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&images, "images", "",
		"`FOLDER` that the rows' image paths are relative to; default: the folder of DATA")
	f.StringVar(&out, "out", "", "`FILE` for the JSON lines, instead of standard output")
	program.NameFolders(f, &named)
	return c
}

// resultFile returns where results go: the named file, created or emptied, or standard output for "".
func resultFile(p *program.Program, path string) (to io.Writer, closeFile func() error, err error) {
	if path == "" {
		return p.Out, func() error { return nil }, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", failure.ErrStorage, err)
	}
	return file, func() error {
		if err := file.Close(); err != nil {
			return fmt.Errorf("%w: %w", failure.ErrStorage, err)
		}
		return nil
	}, nil
}

// scoreTable sums scores for the table at the end of the command.
type scoreTable struct {
	sources, modalities map[scoreGroup]score.Total
	all                 score.Total
	skipped             int
}

type scoreGroup struct{ source, modality string }

func (t *scoreTable) add(row score.RowScore) {
	if row.Scored == nil {
		t.skipped++
		return
	}
	if t.sources == nil {
		t.sources, t.modalities = map[scoreGroup]score.Total{}, map[scoreGroup]score.Total{}
	}
	source, modality := scoreGroup{row.Source, row.Modality}, scoreGroup{"all", row.Modality}
	t.sources[source] = t.sources[source].Add(*row.Scored)
	t.modalities[modality] = t.modalities[modality].Add(*row.Scored)
	t.all = t.all.Add(*row.Scored)
}

// print writes a line for each source, then for each modality, then for all.
func (t *scoreTable) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "source\tmodality\tsamples\ttokens\tloss\tperplexity")
	line := func(g scoreGroup, total score.Total) {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.4f\t%.4g\n", g.source, g.modality, total.Samples, total.SupervisedTokens,
			total.Mean(), math.Exp(total.Mean()))
	}
	for _, groups := range []map[scoreGroup]score.Total{t.sources, t.modalities, {{"all", "both"}: t.all}} {
		for _, g := range slices.SortedFunc(maps.Keys(groups), scoreGroup.compare) {
			line(g, groups[g])
		}
	}
	w.Flush()
	if t.skipped > 0 {
		fmt.Fprintf(out, "%d rows were skipped; their lines give the reasons\n", t.skipped)
	}
}

func (g scoreGroup) compare(other scoreGroup) int {
	return cmp.Or(cmp.Compare(g.source, other.source), cmp.Compare(g.modality, other.modality))
}
