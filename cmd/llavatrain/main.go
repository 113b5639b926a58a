// Command llavatrain trains LLaVA models in two stages from one recipe.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

func init() { runtime.LockOSThread() } // main stays on one OS thread: the engine's state belongs to it

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// commands lists llavatrain's commands in the order of the help text. (A function, because the demo runs commands itself.)
func commands() []func(*program) *cobra.Command {
	return []func(*program) *cobra.Command{
		newPretrain, newFinetune, newCheck, newPreview, newPlan, newInit, newDemo, newGenerate, newScore, newExport, newMerge, newShard, newLedger, newDoctor, newBench, newVersion,
	}
}

// program is what commands share.
type program struct {
	out, err io.Writer
	command  func(ctx context.Context, args []string) error // runs a command line of llavatrain's, for commands that use others
	started  bool                                           // the command line was understood
	watching bool                                           // signals end the run in order
	signal   syscall.Signal                                 // the first that came, 0 for none
}

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) (code int) {
	p := &program{out: stdout, err: stderr}
	p.command = func(ctx context.Context, args []string) error { return root(p, args).ExecuteContext(ctx) }
	defer func() {
		if fault := recover(); fault != nil {
			fmt.Fprintf(stderr, "llavatrain: internal fault: %v\nPlease report this with the command that you ran.\n", fault)
			if os.Getenv("LLAVATRAIN_TRACE") != "" {
				stderr.Write(debug.Stack())
			}
			code = codeInternal
		}
	}()
	command, err := root(p, args).ExecuteContextC(context.Background())
	if err != nil {
		fmt.Fprintf(stderr, "llavatrain: %v\n", err)
	}
	if err != nil && !p.started { // the command line's own faults, in cobra's words
		fmt.Fprintf(stderr, "`%s --help` lists what there is\n", command.CommandPath())
	}
	return p.exitCode(err)
}

func root(p *program, args []string) *cobra.Command {
	root := &cobra.Command{
		Use:               "llavatrain",
		Short:             "Train LLaVA models: projector pretraining, then instruction tuning, from one recipe",
		Long:              "Train LLaVA models: projector pretraining, then instruction tuning, from one recipe.\n\n" + exitCodeHelp(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { p.started = true },
	}
	for _, command := range commands() {
		root.AddCommand(command(p))
	}
	root.SetArgs(args)
	root.SetOut(p.out)
	root.SetErr(p.err)
	return root
}

// printJSON prints what a command found, for programs to read.
func printJSON(out io.Writer, found any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(found)
}

// interruptible returns a context that the first SIGINT or SIGTERM cancels; the second ends the process at once. It is for commands
// that can save what they have; the others end at the first, as usual. A command run by another shares its context.
func (p *program) interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	if p.watching {
		return parent, func() {}
	}
	p.watching = true
	ctx, cancel := context.WithCancel(parent)
	arrived := make(chan os.Signal, 2)
	signal.Notify(arrived, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		first := <-arrived
		p.signal = first.(syscall.Signal)
		fmt.Fprintf(p.err, "\nllavatrain: %v: finishing this step and saving; once more ends at once\n", first)
		cancel()
		second := <-arrived
		os.Exit(signalCode(second.(syscall.Signal)))
	}()
	return ctx, func() { signal.Stop(arrived); cancel() }
}
