package synthesis

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth"
	"github.com/llavatrain/llavatrain/synth/caption"
	"github.com/llavatrain/llavatrain/synth/chat"
	"github.com/llavatrain/llavatrain/synth/convert"
	"github.com/llavatrain/llavatrain/synth/prompt"
)

func newBuild(p *program.Program) *cobra.Command {
	var set []string
	var limit int
	c := &cobra.Command{
		Use:   "build [RECIPE]",
		Short: "Make the rows again from the answers that are there, for nothing",
		Long: "Make the rows and the report again from the answers in the ledger: after another setting of language, " +
			"rows or exclude, or by a newer program's rules. Nothing is sent.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			recipe, err := program.LoadAnyRecipe(args, set)
			if err != nil {
				return err
			}
			terminal := program.NewTerminal(p.Err)
			defer terminal.Close()
			ctx, done := p.InterruptibleWhile(c.Context(), "ending")
			defer done()
			run, err := synth.Read(ctx, recipe, limit, &shown{Terminal: terminal})
			if err != nil {
				return interrupted(err)
			}
			defer run.Close()
			if !checkpoints.Exists(run.Folder) {
				return failure.Inputf("%s does not exist: `llavatrain synth %s` asks for answers", run.Folder,
					recipe.Path)
			}
			client, err := chat.Open(run.Folder, run.Settings(terminal.Say))
			if err != nil {
				return err
			}
			defer client.Close()
			return build(p, run, client)
		},
	}
	c.Flags().IntVar(&limit, "limit", 0, "make `N` rows in place of the recipe's number, of all kinds together")
	c.Flags().StringArrayVar(&set, "set", nil, "change a recipe key (may be repeated)")
	return c
}

func newPrompts(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "prompts FOLDER",
		Short: "Write the program's prompts into a folder, for editing",
		Long: "Write the program's own prompts into a new folder: for each kind a system message, examples and, for " +
			"descriptions, requests; and brief.txt, the requests of captions. Edited, they are used by a recipe with " +
			"synth.prompts: FOLDER, and by `synth captions --prompts FOLDER`.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := prompt.Write(args[0]); err != nil {
				return err
			}
			fmt.Fprintf(p.Out, "wrote %s; in the recipe: synth.prompts: %s\n", args[0], args[0])
			return nil
		},
	}
}

func newCaptions(p *program.Program) *cobra.Command {
	var o caption.Options
	var out, prompts string
	c := &cobra.Command{
		Use:   "captions FILE… --phrases FILE|auto --out ROWS",
		Short: "Choose captions for stage 1 by their noun phrases",
		Long: "Choose captions for stage 1 as LLaVA's makers chose 595K of CC3M's: rare noun phrases keep all their " +
			"captions, common ones only some, and phrases below --min count for nothing. The answer of a row is the " +
			"caption, its question asks for a brief description.\n\n" +
			"Captions may be LLaVA's JSON, JSON lines with id, image and caption, or COCO's. --phrases names a file " +
			`with {"id": …, "phrases": […]} a line, from any tagger, or is auto for the program's own.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if o.Requests, err = prompt.Brief(prompts); err != nil {
				return err
			}
			ctx, done := p.InterruptibleWhile(c.Context(), "ending")
			defer done()
			var found *caption.Report
			err = checkpoints.WriteFile(out, func(w io.Writer) (err error) {
				found, err = caption.Filter(ctx, args, o, w)
				return err
			})
			if err != nil {
				return interrupted(err)
			}
			printCaptions(p.Out, found, out)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Phrases, "phrases", "", "`FILE` with the phrases of each caption, or auto")
	f.IntVar(&o.Min, "min", 3, "phrases in fewer captions than `N` count for nothing")
	f.IntVar(&o.Cap, "cap", 100, "of a phrase in more captions than `N`, as many are kept")
	f.IntVar(&o.Limit, "limit", 0, "keep `N` captions at most, from the rarest phrases on")
	f.Uint64Var(&o.Seed, "seed", 42, "`SEED` of the choice")
	f.StringVar(&out, "out", "", "`FILE` of the rows")
	f.StringVar(&prompts, "prompts", "", "`FOLDER` with the requests in brief.txt; default: the program's own")
	c.MarkFlagRequired("phrases")
	c.MarkFlagRequired("out")
	return c
}

func printCaptions(w io.Writer, r *caption.Report, out string) {
	count := func(n int) string { return runs.Grouped(int64(n)) }
	fmt.Fprintf(w, "%s of %s captions: %s\n", count(r.Kept), count(r.Captions), out)
	fmt.Fprintf(w, "phrases: %s, of which %s in enough captions; the kept ones have %s and %s of them\n",
		count(r.Phrases),
		count(r.Enough), count(r.Covered), count(r.EnoughCovered))
	for reason, n := range r.Skipped {
		fmt.Fprintf(w, "passed over: %s, %s\n", count(n), reason)
	}
	if r.Unmatched > 0 || r.Strangers > 0 {
		fmt.Fprintf(w, "captions without phrases: %s; phrases of unknown captions: %s\n", count(r.Unmatched),
			count(r.Strangers))
	}
	for _, end := range []struct {
		what    string
		phrases []caption.Count
	}{{"rarest", r.Rarest}, {"commonest", r.Commonest}} {
		var list []string
		for _, phrase := range end.phrases {
			list = append(list, fmt.Sprintf("%s (%s of %s)", phrase.Phrase, count(phrase.Kept), count(phrase.Captions)))
		}
		fmt.Fprintf(w, "%s: %s\n", end.what, strings.Join(list, ", "))
	}
}

func newConvert(p *program.Program) *cobra.Command {
	var o convert.Options
	var out, images string
	c := &cobra.Command{
		Use:   "convert FORMAT FILE… --out ROWS",
		Short: "Convert public question sets to rows",
		Long:  "Convert a public question set to rows as in LLaVA-1.5's mixture, a row for each image.\n\n" + formats(),
		Args:  cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if images != "" {
				opened, err := picture.OpenImages(images, picture.Options{})
				if err != nil {
					return err
				}
				defer opened.Close()
				o.Size = func(image string) (int, int, error) { return opened.Size(picture.Image{Path: image}) }
			}
			var found convert.Report
			err := checkpoints.WriteFile(out, func(w io.Writer) (err error) {
				found, err = convert.Convert(w, args[0], args[1:], o)
				return err
			})
			if err != nil {
				return err
			}
			printConverted(p.Out, found, out)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&out, "out", "", "`FILE` of the rows")
	f.StringVar(&images, "images", "", "`FOLDER` of the images, for their sizes where the files do not have them")
	f.StringVar(&o.Frame, "frame", "padded", "what boxes refer to: the `FRAME` padded, for a stage with image: pad, "+
		"or original")
	f.StringVar(&o.Prompt, "prompt", "first", "`WHICH` questions end with the line that names the answer's form: "+
		"first or every")
	f.StringVar(&o.Split, "split", "", "`SPLIT` of ScienceQA (default train)")
	f.IntVar(&o.Limit, "limit", 0, "take `N` images at most, chosen by the seed")
	f.Uint64Var(&o.Seed, "seed", 42, "`SEED` of the choices")
	c.MarkFlagRequired("out")
	return c
}

// formats is the table of formats for the help text.
func formats() string {
	var b strings.Builder
	for _, format := range convert.Formats() {
		var files []string
		for _, file := range format.Files {
			name := filepath.Base(file.Example)
			if file.Optional {
				name = "[" + name + "]"
			}
			files = append(files, name)
		}
		fmt.Fprintf(&b, "  %-14s %s: %s\n", format.Name, format.What, strings.Join(files, " "))
	}
	return b.String()
}

func printConverted(w io.Writer, r convert.Report, out string) {
	count := func(n int) string { return runs.Grouped(int64(n)) }
	fmt.Fprintf(w, "%s rows with %s questions about %s images: %s\n", count(r.Rows), count(r.Pairs), count(r.Pictures),
		out)
	if r.Dropped.Total() > 0 {
		fmt.Fprintf(w, "dropped: %s\n", r.Dropped)
	}
	if r.Passed.Total() > 0 {
		fmt.Fprintf(w, "not taken: %s\n", r.Passed)
	}
}
