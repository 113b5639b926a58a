package datasets

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/check"
)

// NewCheck returns the command check.
func NewCheck(p *program.Program) *cobra.Command {
	var set []string
	var asJSON bool
	var o check.Options
	c := &cobra.Command{
		Use:   "check [RECIPE]",
		Short: "Check everything that a run would read: weights, tokenizer, every row, every image",
		Long: "Check everything that a run would read: the headers of the weights, the tokenizer, every row and " +
			"every image.\n" +
			"Rows are checked by the code that a run uses. Exits with 2 if a run would fail.\n\n" +
			"The results are cached: a second check of the same files is quick.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := program.LoadRecipe(args, set)
			if err != nil {
				return err
			}
			if o.Clean != "" && o.Stage == "" && r.Pretrain != nil && r.Finetune != nil {
				return failure.Inputf("--write-clean needs --stage: the recipe has two")
			}
			terminal := program.NewTerminal(p.Err)
			o.Report = terminal
			found, err := check.Check(r, o)
			terminal.Close()
			if err != nil {
				return err
			}
			if err := printChecked(p.Out, found, asJSON); err != nil {
				return err
			}
			if found.Failed() {
				return failure.Inputf("check: training with %s would fail", r.Path)
			}
			return nil
		},
	}
	addCheckFlags(c.Flags(), &o)
	c.Flags().BoolVar(&asJSON, "json", false, "print the results as JSON")
	c.Flags().StringArrayVar(&set, "set", nil, "change a recipe key, such as `pretrain.image=pad` (may be repeated)")
	return c
}

func addCheckFlags(f *pflag.FlagSet, o *check.Options) {
	f.StringVar(&o.Stage, "stage", "", "check only stage `NAME`: pretrain or finetune")
	f.BoolVar(&o.Decode, "decode", false, "decode every image in full, not only its header")
	f.BoolVar(&o.NoTokens, "no-tokens", false, "do not count lengths and supervised tokens: faster")
	f.StringArrayVar(&o.Accept, "accept", nil,
		"check a run that will be given the same --accept `KEY` (may be repeated)")
	f.StringVar(&o.Clean, "write-clean", "", "write the rows that a run can use to `FILE`, as a JSON array "+
		"(several data sets: clean-0.json, clean-1.json … for clean.json)")
	f.BoolVar(&o.Alike, "alike", false,
		"find pictures and captions that the data holds twice: decodes every image, slow the first time")
	f.StringArrayVar(&o.Against, "against", nil, "find pictures and questions of a benchmark: `FILE` of questions, "+
		"list of pictures or data set (may be repeated; with --alike pictures are compared by their looks too)")
	f.StringSliceVar(&o.Drop, "drop", nil, "with --write-clean, leave out `KINDS` of rows that --alike and --against "+
		"find: captions, pictures, against, questions")
}

func printChecked(out io.Writer, c check.Checked, asJSON bool) error {
	if asJSON {
		return program.PrintJSON(out, c)
	}
	said := map[string]bool{}
	for _, s := range c.Stages {
		size := "" // not known where files are missing
		if s.Rows > 0 {
			size = fmt.Sprintf(": %d rows, %d steps", s.Rows, s.Steps)
		}
		fmt.Fprintln(out, s.Stage+size)
		for i, d := range s.Data {
			printData(out, "data", i, d)
		}
		for i, d := range s.Eval {
			printData(out, "eval.data", i, d)
		}
		for i, b := range s.Benchmarks {
			fmt.Fprintf(out, "  eval.benchmarks[%d] %s: %d questions\n", i, b.Benchmark, b.Questions)
		}
		printAlike(out, s)
		for _, note := range s.Notes {
			fmt.Fprintf(out, "  note   %s\n", note)
		}
		printFails(out, s.Fails, said)
	}
	if !c.Failed() {
		fmt.Fprintln(out, "no problems found; of weights the headers alone were read, not the values")
	}
	return nil
}

// printFails says what would end a stage's run. Of what an earlier stage has said it repeats the key alone.
func printFails(out io.Writer, fails []string, said map[string]bool) {
	var again []string
	for _, fault := range fails {
		if said[fault] {
			key, _, _ := strings.Cut(fault, ": ")
			again = append(again, key)
			continue
		}
		said[fault] = true
		fmt.Fprintf(out, "  FAILS  %s\n", strings.ReplaceAll(fault, "\n", "\n         "))
	}
	if len(again) > 0 {
		fmt.Fprintf(out, "  FAILS  as above: %s\n", strings.Join(again, ", "))
	}
}

func printData(out io.Writer, key string, index int, d check.DataChecked) {
	fmt.Fprintf(out, "  %s[%d] %s: %d rows, %d image files", key, index, d.Path, d.Rows, d.ImageFiles)
	if d.Tokens != nil {
		fmt.Fprintf(out, ", %d positions, %d of them supervised (%.1f %%)", *d.Tokens, *d.Supervised,
			100*float64(*d.Supervised)/float64(max(1, *d.Tokens)))
	}
	fmt.Fprintf(out, "\n    skipped in a run: %d\n", d.Skipped)
	for _, kind := range d.Reasons {
		fmt.Fprintf(out, "      %d × %s\n", kind.Count, kind.Reason)
		if kind.Advice != "" {
			fmt.Fprintf(out, "        to do: %s\n", kind.Advice)
		}
		printRows(out, kind)
	}
	if d.Cut != nil && d.Cut.Count > 0 {
		fmt.Fprintf(out, "    %s: %d\n", d.Cut.Reason, d.Cut.Count)
		printRows(out, *d.Cut)
	}
	for _, kind := range []struct {
		name string
		check.Kind
	}{
		{"rows with the images and turns of an earlier row", d.Duplicates},
		{"rows with the id of an earlier row", d.RepeatedIDs},
	} {
		if kind.Count > 0 {
			fmt.Fprintf(out, "    %s: %d\n", kind.name, kind.Count)
			printRows(out, kind.Kind)
		}
	}
	if len(d.UnusedKeys) > 0 {
		fmt.Fprintln(out, "    keys that are not read, and the rows that have them: "+unusedKeys(d.UnusedKeys))
	}
	if d.Turned > 0 {
		fmt.Fprintf(
			out,
			"    image files with an EXIF orientation: %d (the key orientation says whether they are turned)\n",
			d.Turned,
		)
	}
	printBins(out, "lengths in positions", d.Lengths)
	printBins(out, "image files by longer side in pixels", d.Sizes)
	printFolders(out, d)
}

func unusedKeys(keys []check.KeyCount) string {
	const shown = 10
	var texts []string
	for _, k := range keys[:min(len(keys), shown)] {
		texts = append(texts, fmt.Sprintf("%q %d", k.Key, k.Rows))
	}
	if more := len(keys) - shown; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more (--json lists them)", more))
	}
	return strings.Join(texts, ", ")
}

// printRows lists the first rows of a kind.
func printRows(out io.Writer, k check.Kind) {
	const shown = 3
	for _, row := range k.Rows[:min(len(k.Rows), shown)] {
		fmt.Fprintf(out, "        %s\n", row.Text())
	}
	if k.Count > shown {
		fmt.Fprintf(out, "        … (--json lists more)\n")
	}
}

// printBins draws a histogram with a bar of up to 40 characters.
func printBins(out io.Writer, title string, bins []check.Bin) {
	most := 0
	for _, b := range bins {
		most = max(most, b.Count)
	}
	if most == 0 {
		return
	}
	fmt.Fprintf(out, "    %s\n", title)
	for _, b := range bins {
		fmt.Fprintf(out, "      %7d to %7d %9d %s\n", b.UpTo/2+1, b.UpTo, b.Count,
			strings.Repeat("█", (40*b.Count+most-1)/most))
	}
}

func printFolders(out io.Writer, d check.DataChecked) {
	const shown = 20
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tfolder\trows\tskipped\tcut\tmean length\tsupervised\t")
	for _, f := range d.Folders[:min(len(d.Folders), shown)] {
		used := max(1, int64(f.Rows-f.Skipped))
		fmt.Fprintf(w, "\t%q\t%d\t%d\t%d\t%d\t%d\t\n", f.Folder, f.Rows, f.Skipped, f.Cut, f.Tokens/used, f.Supervised)
	}
	w.Flush()
	if more := len(d.Folders) - shown; more > 0 {
		fmt.Fprintf(out, "    and %d more folders (--json lists them)\n", more)
	}
}
