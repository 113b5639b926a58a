package program

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Version is the version of llavatrain.
const Version = "0.1.0"

// Program is the state that commands share.
type Program struct {
	Out, Err io.Writer
	Exit     func(code int) // ends the process
	// runs a llavatrain command line, for commands that use others
	Command  func(ctx context.Context, args []string) error
	Started  bool           // the command line has been parsed
	watching bool           // signals end the run after saving
	signal   syscall.Signal // the first signal received, 0 for none
}

// PrintJSON prints what a command found, for programs to read.
func PrintJSON(out io.Writer, found any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(found)
}

// Interruptible returns a context that the first SIGINT or SIGTERM cancels; the second ends the process at once. It is
// for commands that can save what they have; the others end at the first signal, as usual. A command run by another
// shares its context.
func (p *Program) Interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	return p.InterruptibleWhile(parent, "finishing this step and saving")
}

// InterruptibleWhile is Interruptible for a command that does something else after the first signal, which doing names.
func (p *Program) InterruptibleWhile(parent context.Context, doing string) (context.Context, context.CancelFunc) {
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
		fmt.Fprintf(p.Err, "\nllavatrain: %v: %s; a second signal ends at once\n", first, doing)
		cancel()
		second := <-arrived
		p.Exit(signalCode(second.(syscall.Signal)))
	}()
	return ctx, func() { signal.Stop(arrived); cancel() }
}
