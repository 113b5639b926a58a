package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
)

func newGenerate(p *program) *cobra.Command {
	var image, prompt string
	var how model.Sampling
	c := &cobra.Command{
		Use:   "generate MODEL --prompt TEXT [--image FILE]",
		Short: "Answer a question about a picture",
		Long:  "Answer a question about a picture. MODEL is a run folder, a checkpoint or an exported folder. The answer alone goes to standard output.",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if !(how.Temperature >= 0) || !(how.TopP > 0 && how.TopP <= 1) || how.MaxTokens < 1 {
				return fmt.Errorf("--temperature must be 0 or more, --top-p above 0 and at most 1, --max-tokens at least 1")
			}
			terminal := newTerminal(p.err)
			defer terminal.close()
			a, err := openAnswerer(args[0], terminal)
			if err != nil {
				return err
			}
			defer a.close()
			var picture *data.Picture
			if image != "" {
				loaded, err := a.picture(image)
				if err != nil {
					return err
				}
				picture = &loaded
			}
			first := true
			err = a.answer(picture, prompt, how, func(text string) {
				if first {
					text = strings.TrimLeft(text, " \n")
					first = text == ""
				}
				fmt.Fprint(p.out, text)
			})
			if err == nil {
				fmt.Fprintln(p.out)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&image, "image", "", "picture `FILE`; without it the question is about text alone")
	f.StringVar(&prompt, "prompt", "", "the question, `TEXT`")
	f.IntVar(&how.MaxTokens, "max-tokens", 512, "longest answer, in `TOKENS`")
	f.Float64Var(&how.Temperature, "temperature", 0, "0 takes the likeliest token; higher samples more freely")
	f.Float64Var(&how.TopP, "top-p", 1, "sample from the likeliest tokens that together have this probability")
	f.Uint64Var(&how.Seed, "seed", 42, "seed of the sampling")
	c.MarkFlagRequired("prompt")
	return c
}
