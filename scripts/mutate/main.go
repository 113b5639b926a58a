// Command mutate measures what the tests notice. It changes one thing in a source file (< to <=, a statement left out),
// runs the tests of the file's package, and records whether any failed. A mutant that survives shows a line that no
// test guards, or one whose change makes no difference; docs/mutations.md argues the latter.
//
// Usage: mutate RESULTS [ROOM...], in the repository's root; see the table of rooms. RESULTS gets one JSON line for
// each mutant. Run again with the same file, it tests those that have no line yet: remove a line to have its mutant
// tested again. The sources are never touched: go test reads the changed file through -overlay.
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
