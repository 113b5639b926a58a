package serving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/answer"
)

// NewChat returns the command chat.
func NewChat(p *program.Program) *cobra.Command {
	var named answer.Named
	var images []string
	var how model.Sampling
	var system string
	c := &cobra.Command{
		Use:   "chat MODEL [--image FILE …]",
		Short: "Talk with a model about images, in the terminal",
		Long: "Talk with a model about images, in the terminal. A line is a question; the path of an image, typed or " +
			"dropped onto the terminal, shows it to the model with the next one. Ctrl-C stops an answer.\n\n" +
			chatHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if !(how.Temperature >= 0) || !(how.TopP > 0 && how.TopP <= 1) || how.MaxTokens < 1 {
				return failure.Inputf("--temperature must be 0 or more, --top-p above 0 and at most 1, --max-tokens " +
					"at least 1")
			}
			named.Path = args[0]
			return chat(p, named, images, &talk{how: how, system: system, out: p.Out})
		},
	}
	f := c.Flags()
	f.StringArrayVar(&images, "image", nil, "image `FILE` for the first question (may be repeated)")
	f.StringVar(&system, "system", "", "`TEXT` of the system message; default: the template's")
	f.IntVar(&how.MaxTokens, "max-tokens", 512, "longest answer, in `TOKENS`")
	f.Float64Var(&how.Temperature, "temperature", 0.2,
		"0 takes the most likely token; higher values sample more freely")
	f.Float64Var(&how.TopP, "top-p", 1, "sample from the most likely tokens that together have this probability")
	f.Uint64Var(&how.Seed, "seed", 42, "seed for sampling")
	program.NameFolders(f, &named)
	program.NameDtype(f, &named)
	return c
}

const chatHelp = `/image FILE         show an image with the next question (also: the file's path alone)
/new                begin a new conversation
/system TEXT        set the system message, and begin a new conversation
/temperature NUMBER 0 takes the most likely token
/save FILE          write the conversation into a file
/help               this list
/exit               end (also: Ctrl-D)`

func chat(p *program.Program, named answer.Named, images []string, t *talk) error {
	for _, image := range images {
		if err := t.show(image); err != nil {
			return err
		}
	}
	terminal := program.NewTerminal(p.Err)
	a, err := answer.OpenAnswerer(named, terminal)
	terminal.Close()
	if err != nil {
		return err
	}
	service, err := a.Serve(answer.ServiceOptions{Running: 1})
	if err != nil {
		a.Close()
		return err
	}
	defer service.Close()
	t.service = service
	lines := program.NewLines(os.Stdin, p.Out)
	for {
		line, err := lines.Next(t.prompt())
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if ended, err := t.line(strings.TrimSpace(line)); ended {
			return err
		} else if err != nil {
			fmt.Fprintln(p.Err, err)
		}
	}
}

// talk is a conversation in the terminal.
type talk struct {
	service *answer.Service
	out     io.Writer
	how     model.Sampling
	system  string

	turns    []data.ChatTurn
	pictures []*picture.RGB
	names    []string       // of the pictures
	next     []*picture.RGB // for the next question
	nextName []string
}

func (t *talk) prompt() string {
	if len(t.next) > 0 {
		return fmt.Sprintf("[%s] > ", strings.Join(t.nextName, ", "))
	}
	return "> "
}

// line does what a line says. An error is for the user to see, unless ended says that the conversation is over.
func (t *talk) line(line string) (ended bool, err error) {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case line == "":
		return false, nil
	case word == "/exit" || word == "/quit":
		return true, nil
	case word == "/help":
		fmt.Fprintln(t.out, chatHelp)
	case word == "/new":
		t.begin()
	case word == "/system":
		t.system = rest
		t.begin()
	case word == "/image":
		return false, t.show(unquoted(rest))
	case word == "/temperature":
		var x float64
		if _, err := fmt.Sscan(rest, &x); err != nil || !(x >= 0) {
			return false, fmt.Errorf("/temperature takes a number that is 0 or more, not %q", rest)
		}
		t.how.Temperature = x
	case word == "/save":
		return false, t.save(rest)
	case isFile(unquoted(line)):
		return false, t.show(unquoted(line))
	case strings.HasPrefix(word, "/"):
		return false, fmt.Errorf("%s is no command, and no file; /help lists the commands", word)
	default:
		return false, t.ask(line)
	}
	return false, nil
}

// begin begins a new conversation.
func (t *talk) begin() { t.turns, t.pictures, t.names = nil, nil, nil }

// isFile says whether a line is the path of a file.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// unquoted is a path as terminals write it when a file is dropped onto them: in quotes, or with escaped spaces.
func unquoted(path string) string {
	path = strings.TrimSpace(path)
	for _, quote := range []string{"'", `"`} {
		if inner, ok := strings.CutPrefix(path, quote); ok && strings.HasSuffix(inner, quote) {
			return strings.TrimSuffix(inner, quote)
		}
	}
	if isFile(path) {
		return path
	}
	return strings.ReplaceAll(path, `\ `, " ")
}

// show reads an image for the next question.
func (t *talk) show(given string) error {
	path, err := answer.ImagePath(given)
	if err != nil {
		return err
	}
	decoded, err := answer.ReadImage(path)
	if err != nil {
		return err
	}
	t.next, t.nextName = append(t.next, decoded), append(t.nextName, given)
	return nil
}

// ask asks a question, and prints the answer as it is made. Ctrl-C stops it; what was said stands.
func (t *talk) ask(text string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
	defer stop()
	turns := append(t.turns[:len(t.turns):len(t.turns)], data.ChatTurn{Text: text, Images: len(t.next)})
	pictures := append(t.pictures[:len(t.pictures):len(t.pictures)], t.next...)
	said, outcome, err := t.service.Whole(ctx, answer.Question{System: t.system, Turns: turns, Pictures: pictures,
		Sampling: t.how}, newPrinter(t.out).print)
	fmt.Fprintln(t.out)
	if err != nil && ctx.Err() == nil {
		return err
	}
	if ctx.Err() != nil {
		fmt.Fprintln(t.out, "(stopped)")
	}
	if outcome.End == model.EndLength {
		fmt.Fprintf(t.out, "(cut after %d tokens: --max-tokens)\n", outcome.Made)
	}
	turns[len(turns)-1].Answer = said
	t.turns, t.pictures, t.names = turns, pictures, append(t.names, t.nextName...)
	t.next, t.nextName = nil, nil
	return nil
}

// save writes the conversation as text.
func (t *talk) save(path string) error {
	if path == "" {
		return errors.New("/save takes the name of a file")
	}
	if isFile(path) {
		return fmt.Errorf("%s exists; nothing is overwritten", path)
	}
	var b strings.Builder
	at := 0
	for _, turn := range t.turns {
		for range turn.Images {
			fmt.Fprintf(&b, "[image %s]\n", t.names[at])
			at++
		}
		fmt.Fprintf(&b, "> %s\n%s\n\n", turn.Text, strings.TrimSpace(turn.Answer))
	}
	return failure.Storage(os.WriteFile(path, []byte(b.String()), 0o666))
}

// printer prints an answer's text without the white space before it, and with nothing that a terminal would obey.
type printer struct {
	out   io.Writer
	begun bool
}

func newPrinter(out io.Writer) *printer { return &printer{out: out} }

func (p *printer) print(text string) {
	if !p.begun {
		text = strings.TrimLeft(text, " \n")
		p.begun = text != ""
	}
	fmt.Fprint(p.out, program.Printable(text))
}
