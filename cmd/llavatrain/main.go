// Command llavatrain trains LLaVA models in two stages from one recipe.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/benchmarking"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/datasets"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/looking"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/models"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/serving"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/synthesis"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/training"
	"github.com/llavatrain/llavatrain/runs/failure"
)

func init() {
	runtime.LockOSThread()             // main stays on one OS thread: the engine's state belongs to it
	cobra.EnableCommandSorting = false // help keeps the order of groups
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// newCommand makes one of llavatrain's commands.
type newCommand = func(*program.Program) *cobra.Command

// group is commands that the help text lists together.
type group struct {
	title    string
	commands []newCommand
}

// groups lists llavatrain's commands in the order of the help text. (A function, because the demo runs commands
// itself.)
func groups() []group {
	return []group{
		{"Training", []newCommand{training.NewPretrain, training.NewFinetune, training.NewSweep, training.NewPlan,
			training.NewReport, training.NewWatch, training.NewInit, training.NewDemo, training.NewLaunch}},
		{"Data", []newCommand{datasets.NewCheck, datasets.NewPreview, datasets.NewShard, datasets.NewLedger,
			synthesis.NewSynth}},
		{"Models", []newCommand{models.NewGenerate, serving.NewChat, serving.NewServe, models.NewScore,
			models.NewExport, models.NewMerge, benchmarking.NewBenchmark}},
		{"This machine", []newCommand{looking.NewDoctor, newBench, looking.NewVersion}},
	}
}

// newBench returns the command bench, of training, and below it the one of a server.
func newBench(p *program.Program) *cobra.Command {
	c := looking.NewBench(p)
	c.AddCommand(serving.NewBenchServe(p))
	return c
}

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) (code int) {
	p := &program.Program{Out: stdout, Err: stderr, Exit: os.Exit}
	p.Command = func(ctx context.Context, args []string) error { return root(p, args).ExecuteContext(ctx) }
	asJSON := wantsJSON(args)
	defer func() {
		if fault := recover(); fault != nil {
			code = program.CodeInternal
			report(stderr, code, fault, asJSON)
			if os.Getenv("LLAVATRAIN_TRACE") != "" {
				stderr.Write(debug.Stack())
			}
		}
	}()
	command, err := root(p, args).ExecuteContextC(context.Background())
	if err == nil {
		return p.ExitCode(nil)
	}
	if !p.Started { // faults of the command line, in cobra's words
		err = failure.Input(err)
	}
	code = p.ExitCode(err)
	report(stderr, code, err, asJSON)
	if !p.Started && !asJSON {
		fmt.Fprintf(stderr, "see `%s --help`\n", command.CommandPath())
	}
	return code
}

// wantsJSON says whether a command line asks for JSON. It is asked before cobra reads the line, whose faults are
// reported too.
func wantsJSON(args []string) (wanted bool) {
	for _, arg := range args {
		if arg == "--" {
			break
		}
		if arg == "--json" {
			wanted = true
		} else if value, ok := strings.CutPrefix(arg, "--json="); ok {
			wanted, _ = strconv.ParseBool(value)
		}
	}
	return wanted
}

// report prints what ended a command: an error, or the value of a panic. Its JSON is a contract with scripts: one
// object, on the last line of standard error.
func report(stderr io.Writer, code int, fault any, asJSON bool) {
	message, after := fmt.Sprint(fault), ""
	if code == program.CodeInternal && !program.PassedOn(fault) {
		message, after = "internal fault: "+message, "Please report this with the command that you ran.\n"
	}
	if asJSON {
		lines := json.NewEncoder(stderr)
		lines.SetEscapeHTML(false) // <image> stays readable
		lines.Encode(struct {
			Error    string `json:"error"`
			ExitCode int    `json:"exit_code"`
		}{message, code})
		return
	}
	fmt.Fprintf(stderr, "llavatrain: %s\n%s", message, after)
}

func root(p *program.Program, args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "llavatrain",
		Short: "Train LLaVA models: projector pretraining, then instruction tuning, from one recipe",
		Long: "Train LLaVA models: projector pretraining, then instruction tuning, from one recipe.\n\n" +
			program.ExitCodeHelp(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	for _, g := range groups() {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		root.SetHelpCommandGroupID(g.title) // the last one's
		for _, command := range g.commands {
			c := starting(p, command(p))
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	root.SetArgs(args)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	return root
}

// starting records that a command has started: cobra has parsed the whole command line by then. Flags of a single value
// are refused if they are repeated: the last one would win without a word.
func starting(p *program.Program, command *cobra.Command) *cobra.Command {
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if _, list := f.Value.(pflag.SliceValue); !list {
			f.Value = &once{Value: f.Value}
		}
	})
	for _, below := range command.Commands() {
		starting(p, below)
	}
	work := command.RunE
	command.RunE = func(c *cobra.Command, args []string) error {
		p.Started = true
		return work(c, args)
	}
	return command
}

// once is a flag's value that may be given once.
type once struct {
	pflag.Value
	given bool
}

func (o *once) Set(text string) error {
	if o.given {
		return errors.New("it is given twice")
	}
	o.given = true
	return o.Value.Set(text)
}
