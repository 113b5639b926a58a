package models

import (
	"bufio"
	"cmp"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/answer"
)

// NewGenerate returns the command generate.
func NewGenerate(p *program.Program) *cobra.Command {
	var images []string
	var prompt string
	var named answer.Named
	var how model.Sampling
	var stream bool
	var batch answer.Questionnaire
	c := &cobra.Command{
		Use:   "generate MODEL {--prompt TEXT [--image FILE …] | --batch FILE}",
		Short: "Answer a question about an image, or a file of questions",
		Long: "Answer a question about an image, or a file of questions. MODEL is a run folder, a checkpoint, a " +
			"LLaVA folder or its adapters (LoRA). Only the answers go to standard output.\n\n" +
			"Several --image are taken in their order: where the question has <image>, or else before it.\n\n" +
			"--batch takes LLaVA's question file, one JSON object per line with question_id, image (a path or a " +
			"list, none for text only) and text, and writes LLaVA's answer file, in the same order.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !(how.Temperature >= 0) || !(how.TopP > 0 && how.TopP <= 1) || how.MaxTokens < 1 || batch.Size < 1 {
				return failure.Inputf("--temperature must be 0 or more, --top-p above 0 and at most 1, --max-tokens " +
					"and --batch-size at least 1")
			}
			named.Path = args[0]
			if batch.Questions != "" {
				batch.Images, batch.How = cmp.Or(batch.Images, filepath.Dir(batch.Questions)), how
				terminal := program.NewTerminal(p.Err)
				defer terminal.Close()
				ctx, stop := p.InterruptibleWhile(c.Context(), "the answers that are there are kept")
				defer stop()
				return batch.Run(ctx, p.Out, terminal, named)
			}
			if batch.Images != "" || batch.Out != "" {
				return failure.Inputf("--images and --out belong to --batch; one question takes --image and answers " +
					"on standard output")
			}
			return generate(p, named, images, prompt, how, stream)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&images, "image", nil, "image `FILE` (may be repeated); without it the question has no image")
	f.StringVar(&prompt, "prompt", "", "the question, `TEXT`")
	f.StringVar(&batch.Questions, "batch", "", "`FILE` of questions, one JSON object per line")
	f.IntVar(&batch.Size, "batch-size", 8, "number of --batch questions that are answered together")
	f.StringVar(&batch.Images, "images", "",
		"`FOLDER` with the images of --batch; default: the folder of its file")
	f.StringVar(&batch.Out, "out", "",
		"`FILE` that the answers of --batch are appended to; questions that it already answers are skipped")
	f.IntVar(&how.MaxTokens, "max-tokens", 512, "longest answer, in `TOKENS`")
	f.Float64Var(&how.Temperature, "temperature", 0, "0 takes the most likely token; higher values sample more freely")
	f.Float64Var(&how.TopP, "top-p", 1, "sample from the most likely tokens that together have this probability")
	f.Uint64Var(&how.Seed, "seed", 42, "seed for sampling")
	f.BoolVar(&stream, "stream", true, "print the answer as it is made; =false: when it is whole")
	f.BoolVar(&batch.SkipBad, "skip-bad", false,
		"for a --batch question that cannot be asked, write the reason in place of the answer, and go on")
	program.NameFolders(f, &named)
	program.NameDtype(f, &named)
	c.MarkFlagsOneRequired("prompt", "batch")
	c.MarkFlagsMutuallyExclusive("prompt", "batch")
	c.MarkFlagsMutuallyExclusive("image", "batch")
	return c
}

// generate answers one question.
func generate(p *program.Program, named answer.Named, images []string, prompt string, how model.Sampling,
	stream bool) error {
	paths := make([]string, len(images))
	for i, image := range images { // before the model is loaded
		var err error
		if paths[i], err = answer.ImagePath(image); err != nil {
			return err
		}
	}
	terminal := program.NewTerminal(p.Err)
	defer terminal.Close()
	a, err := answer.OpenAnswerer(named, terminal)
	if err != nil {
		return err
	}
	defer a.Close()
	var about []picture.Picture
	for _, image := range paths {
		loaded, err := a.OpenPicture(image, len(paths) > 1)
		if err != nil {
			return err
		}
		about = append(about, loaded)
	}
	first, out := true, bufio.NewWriter(p.Out)
	defer out.Flush()
	err = a.Answer(about, prompt, how, func(text string) {
		if first {
			text = strings.TrimLeft(text, " \n")
			first = text == ""
		}
		fmt.Fprint(out, text)
		if stream {
			out.Flush()
		}
	})
	if err == nil {
		fmt.Fprintln(out)
	}
	return err
}
