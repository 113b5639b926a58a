package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// memory is what the tests of a mutant may allocate: a loop that appends forever must not take the machine's. Mapped
// files
// do not count.
const memory = 16 << 30

// run tests the mutants of a room that are drawn and have no result yet, and prints how many survived.
func (r room) run(ctx context.Context, root string, known *results, limit time.Duration, out io.Writer) error {
	list, err := draw(root, r)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	t := trial{root: root, room: r, work: work, limit: limit}
	counts := map[outcome]int{}
	var survivors []mutant
	for _, c := range list {
		if counts[killed]+counts[survived]+counts[timeout] == r.mutants {
			break
		}
		verdict, ok := known.known[c.mutant]
		if !ok {
			if verdict, err = t.test(ctx, c, known); err != nil {
				return err
			}
			fmt.Fprintf(out, "%s:%d: %s: %s: %s\n", c.File, c.Line, verdict, c.Operator, c.After)
		}
		counts[verdict]++
		if verdict == survived {
			survivors = append(survivors, c.mutant)
		}
	}
	fmt.Fprintf(out, "%s: %d candidates, %d did not build; of %d tested %d killed, %d timed out, %d survived\n",
		r.folder, len(list), counts[doesNotBuild],
		counts[killed]+counts[timeout]+counts[survived], counts[killed], counts[timeout], counts[survived])
	for _, m := range survivors {
		fmt.Fprintf(out, "survivor %s:%d:%d %s\n\t- %s\n\t+ %s\n", m.File, m.Line, m.Column, m.Operator, m.Before,
			m.After)
	}
	return nil
}

// trial builds and runs the tests of a room.
type trial struct {
	root  string
	room  room
	work  string        // a folder for what is built
	limit time.Duration // of a run of the tests
	flags []string      // of the test program; nil until the sources as they are have passed
}

// test records what the tests say of a mutant. Before the first, the sources as they are have to pass.
func (t *trial) test(ctx context.Context, c candidate, known *results) (outcome, error) {
	if t.flags == nil {
		if err := t.prepare(ctx); err != nil {
			return "", err
		}
	}
	began := time.Now()
	verdict, _, err := t.try(ctx, &c)
	if err != nil {
		return "", err
	}
	return verdict, known.add(result{c.mutant, verdict, math.Round(time.Since(began).Seconds()*10) / 10})
}

// prepare sets the flags and tests the sources as they are.
func (t *trial) prepare(ctx context.Context) error {
	imports, err := t.command(ctx, t.root, "go", "list", "-f", "{{.TestImports}} {{.XTestImports}}", "./"+t.room.folder)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, imports)
	}
	flags := []string{"-test.failfast", "-test.timeout=0"}
	if strings.Contains(string(imports), "pgregory.net/rapid") {
		flags = append(flags, "-rapid.nofailfile") // nothing is written beside the sources
	}
	t.flags = flags
	verdict, log, err := t.try(ctx, nil)
	if err == nil && verdict != survived {
		err = fmt.Errorf("the tests must pass before anything is changed: %s\n%s", verdict, log)
	}
	return err
}

// try builds and runs the tests with one file changed, or none.
func (t *trial) try(ctx context.Context, c *candidate) (outcome, []byte, error) {
	program := filepath.Join(t.work, "room.test")
	build := []string{"test", "-c", "-o", program}
	if c != nil {
		overlay, err := t.overlay(c)
		if err != nil {
			return "", nil, err
		}
		build = append(build, "-overlay", overlay)
	}
	if log, err := t.command(ctx, t.root, "go", append(build, "./"+t.room.folder)...); err != nil {
		return doesNotBuild, log, ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	log, err := t.command(limited, filepath.Join(t.root, t.room.folder), program, t.flags...)
	switch {
	case ctx.Err() != nil:
		return "", nil, ctx.Err()
	case limited.Err() != nil:
		return timeout, log, nil
	case err != nil:
		return killed, log, nil
	}
	return survived, log, nil
}

// overlay writes the changed file and the list that has it read in place of the original.
func (t *trial) overlay(c *candidate) (string, error) {
	changed, list := filepath.Join(t.work, "changed.go"), filepath.Join(t.work, "overlay.json")
	if err := os.WriteFile(changed, c.source, 0o666); err != nil {
		return "", err
	}
	original, err := filepath.Abs(filepath.Join(t.root, filepath.FromSlash(c.File)))
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	return list, os.WriteFile(list, text, 0o666)
}

// command runs a program, and ends it with all that it started when the context ends. Its temporary files are removed.
func (t *trial) command(ctx context.Context, folder, name string, arguments ...string) ([]byte, error) {
	temporary := filepath.Join(t.work, "tmp")
	if err := os.Mkdir(temporary, 0o777); err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	var log bytes.Buffer
	command := exec.CommandContext(ctx, name, arguments...)
	command.Dir, command.Stdout, command.Stderr = folder, &log, &log
	command.Env = append(os.Environ(), "TMPDIR="+temporary)
	if t.room.pure {
		command.Env = append(command.Env, "CGO_ENABLED=0")
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		return nil, err
	}
	err := unix.Prlimit(command.Process.Pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: memory, Max: memory}, nil)
	if waited := command.Wait(); waited != nil || err == unix.ESRCH { // ended before the limit was set
		err = waited
	}
	return log.Bytes(), err
}
