// Command mutate measures what the tests notice. It changes one thing in a source file (< to <=, a statement left out),
// runs the tests of the file's package, and records whether any failed. A surviving mutant shows a line that no test
// guards, or a change that makes no difference; docs/mutations.md argues which.
//
// Usage: mutate RESULTS [ROOM...], in the repository's root; see the table of rooms. RESULTS gets one JSON line for
// each mutant. A second run with the same file tests the mutants that have no line yet: remove a line to test its
// mutant again. The sources are never changed: go test reads the changed file through -overlay.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: mutate RESULTS [ROOM...]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := mutate(ctx, ".", os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func mutate(ctx context.Context, root, path string, names []string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	results, err := openResults(path)
	if err != nil {
		return err
	}
	defer results.Close()
	for _, r := range chosen {
		if err := r.run(ctx, root, results, limit, os.Stdout); err != nil {
			return fmt.Errorf("%s: %w", r.folder, err)
		}
	}
	return nil
}
