package datasets

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"image/png"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

// NewPreview returns the command preview.
func NewPreview(p *program.Program) *cobra.Command {
	var set []string
	var plain, ids bool
	var page string
	var o input.PreviewOptions
	c := &cobra.Command{
		Use:   "preview [RECIPE]",
		Short: "Show one sample as the model will see it",
		Long: "Show one sample as the model will see it: its text decoded from the ids, supervised text in " +
			"green (with --plain in ⟦ ⟧),\n" +
			"each image with its number of positions and, on a terminal, the prepared images.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := program.LoadRecipe(args, set)
			if err != nil {
				return err
			}
			terminal := program.NewTerminal(p.Err)
			o.Report = terminal
			shown, err := input.OpenPreview(r, o)
			terminal.Close()
			if err != nil {
				return err
			}
			file, ok := p.Out.(*os.File)
			watched := ok && term.IsTerminal(int(file.Fd())) && !plain
			if err := showPreview(p.Out, shown, watched, ids); err != nil || page == "" {
				return err
			}
			return writePage(page, shown)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Stage, "stage", recipes.StageFinetune, "`NAME` of the stage: pretrain or finetune")
	f.StringVar(&o.Row, "row", "", "`ROW` of the first data set, from 0; DATA:ROW for another data set")
	f.StringVar(&o.ID, "id", "", "the first row with this `ID`")
	f.BoolVar(&o.Random, "random", false, "any row")
	f.BoolVar(&plain, "plain", false, "no colours and images, as when the output is not a terminal")
	f.BoolVar(&ids, "ids", false, "list position, id, label and piece of every token")
	f.StringVar(&page, "html", "", "also write an HTML page with the images to `FILE`")
	f.StringArrayVar(&set, "set", nil, "change a recipe key, such as `pretrain.image=pad` (may be repeated)")
	c.MarkFlagsMutuallyExclusive("row", "id", "random")
	c.MarkFlagsOneRequired("row", "id", "random")
	return c
}

func previewTitle(p input.Preview) string {
	title := fmt.Sprintf("%s, data[%d] %s, row %d", p.Stage, p.Data, p.Path, p.Row)
	if p.Record.ID != "" {
		title += fmt.Sprintf(" (id %q)", p.Record.ID)
	}
	return title
}

// previewCounts describes the sample in numbers.
func previewCounts(p input.Preview) string {
	supervised := 0
	for _, label := range p.Sample.Labels {
		if label != data.Ignore {
			supervised++
		}
	}
	text := fmt.Sprintf("%d positions, %d supervised, %d image(s)", p.Sample.Length(), supervised, len(p.Images))
	if p.Sample.Cut > 0 {
		text += fmt.Sprintf("; %d more were cut off (max_length)", p.Sample.Cut)
	}
	return text
}

func showPreview(out io.Writer, p input.Preview, watched, ids bool) error {
	fmt.Fprintln(out, previewTitle(p))
	if p.Skipped != nil {
		for _, turn := range p.Record.Turns {
			fmt.Fprintf(out, "  %s: %q\n", turn.Role, turn.Text)
		}
		return fmt.Errorf("data[%d] row %d is skipped in a run: %w", p.Data, p.Row, p.Skipped)
	}
	fmt.Fprintln(out, previewCounts(p))
	marks := [2]string{"⟦", "⟧"}
	if watched {
		marks = [2]string{"\x1b[32m", "\x1b[0m"}
	}
	for _, s := range p.Stretches {
		switch text := visible(s.Text); {
		case s.Image > 0:
			fmt.Fprintf(out, "[image %d: %q, %d positions]", s.Image, p.Images[s.Image-1], s.Positions)
		case s.Supervised:
			fmt.Fprint(out, marks[0]+text+marks[1])
		default:
			fmt.Fprint(out, text)
		}
	}
	fmt.Fprintln(out)
	for i, picture := range p.Sample.Images {
		fmt.Fprintf(out, "image %d: %q, %dx%d, prepared as %s\n", i+1, p.Images[i], picture.Width, picture.Height,
			preparation(picture.Layout, p.Sides))
		if watched {
			for _, sheet := range tileSheets(picture, p.Sides) {
				program.DrawBlocks(out, sheet)
			}
		}
	}
	if ids {
		listIDs(out, p)
	}
	return nil
}

// visible returns text that cannot move the cursor: control characters except line ends are escaped.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			fmt.Fprintf(&b, "\\x%02x", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// listIDs prints a line for each position, and one for all positions of an image.
func listIDs(out io.Writer, p input.Preview) {
	fmt.Fprintf(out, "%8s %7s %7s  piece\n", "position", "id", "label")
	at := 0
	for _, s := range p.Stretches {
		if s.Image > 0 {
			fmt.Fprintf(out, "%8d %7d %7d  image %d, to position %d\n", at, data.ImageToken, data.Ignore, s.Image,
				at+s.Positions-1)
			at += s.Positions
			continue
		}
		for range s.Positions {
			id := p.Sample.IDs[at]
			fmt.Fprintf(out, "%8d %7d %7d  %s\n", at, id, p.Sample.Labels[at],
				visible(strings.ReplaceAll(p.Tokenizer.Piece(id), "\n", "\\n")))
			at++
		}
	}
}

// writePage writes the sample as one HTML file that contains the images.
func writePage(path string, p input.Preview) error {
	var b bytes.Buffer
	fmt.Fprintf(&b,
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title>\n"+
			"<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"+
			"pre{white-space:pre-wrap}mark{background:#bfe6c4}"+
			"img{image-rendering:pixelated;vertical-align:top;margin-right:1em}</style></head><body>\n",
		html.EscapeString(previewTitle(p)))
	fmt.Fprintf(&b, "<h1>%s</h1>\n<p>%s. Supervised text is <mark>marked</mark>.</p>\n<pre>",
		html.EscapeString(previewTitle(p)), html.EscapeString(previewCounts(p)))
	for _, s := range p.Stretches {
		switch text := html.EscapeString(visible(s.Text)); {
		case s.Image > 0:
			fmt.Fprintf(&b, "<b>[image %d: %d positions]</b>", s.Image, s.Positions)
		case s.Supervised:
			fmt.Fprintf(&b, "<mark>%s</mark>", text)
		default:
			b.WriteString(text)
		}
	}
	b.WriteString("</pre>\n")
	for i, picture := range p.Sample.Images {
		b.WriteString("<figure>")
		for _, sheet := range tileSheets(picture, p.Sides) {
			source, err := pictureSource(sheet)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "<img src=\"%s\" alt=\"\">", source)
		}
		fmt.Fprintf(&b, "<figcaption>%s, %d×%d, prepared as %s</figcaption></figure>\n",
			html.EscapeString(p.Images[i]), picture.Width, picture.Height, preparation(picture.Layout, p.Sides))
	}
	b.WriteString("</body></html>\n")
	return failure.Storage(os.WriteFile(path, b.Bytes(), 0o666))
}

// pictureSource returns a prepared image as a data URL.
func pictureSource(sheet *picture.RGB) (string, error) {
	var file bytes.Buffer
	if err := png.Encode(&file, sheet.Image()); err != nil {
		return "", err
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(file.Bytes()), nil
}
