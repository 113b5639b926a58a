package checkpoints

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// saves are what the fault tests interrupt, from a run that has steps 1 and 2.
var saves = map[string]struct {
	step int
	keep int
}{
	"a new step":            {3, 2},
	"a new step, keep one":  {3, 1},
	"over an existing step": {2, 2},
}

func twoSteps(t testing.TB, dir string) Run {
	t.Helper()
	r := Run{dir}
	must(t, saveStep(r, 1, 0))
	must(t, saveStep(r, 2, 0))
	return r
}

// failAt makes the nth operation end in act.
func failAt(n int, act func() error) (count *int) {
	count = new(int)
	fault = func(operation, path string) error {
		*count++
		if *count == n {
			return act()
		}
		return nil
	}
	return count
}

func noFault() { fault = func(string, string) error { return nil } }

// Each operation on the disk fails once: the run always has a good checkpoint, the error says it was the disk, and
// the next save works and cleans up.
func TestSaveWithFailingOperations(t *testing.T) {
	defer noFault()
	errnos := []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EDQUOT}
	for name, save := range saves {
		for n, done := 1, false; !done; n++ {
			r := twoSteps(t, t.TempDir())
			errno := errnos[n%len(errnos)]
			count := failAt(n, func() error { return &os.PathError{Op: "test", Path: "x", Err: errno} })
			err := saveStep(r, save.step, save.keep)
			done = *count < n
			noFault()
			if !done && !(errors.Is(err, failure.ErrStorage) && errors.Is(err, errno)) {
				t.Fatalf("%s, operation %d: %v", name, n, err)
			}
			checkNewest(t, r, 2, 3)
			must(t, saveStep(r, 4, 1))
			wantEqual(t, list(t, filepath.Join(r.Dir, "checkpoints")), []string{"latest", "step-000004"})
			if done && n < 15 {
				t.Fatalf("%s: only %d operations", name, n)
			}
		}
	}
}

// While the new checkpoint is not there yet, a failure leaves no trace.
func TestSaveFailureLeavesNoTrace(t *testing.T) {
	defer noFault()
	r := twoSteps(t, t.TempDir())
	before := list(t, filepath.Join(r.Dir, "checkpoints"))
	for n, done := 1, false; !done; n++ {
		failed := ""
		failAt(n, func() error { failed = "yes"; return syscall.ENOSPC })
		counting := fault
		fault = func(operation, path string) error {
			if strings.HasSuffix(path, "step-000003") { // the rename that makes it visible
				done = true
				return syscall.ENOSPC
			}
			return counting(operation, path)
		}
		err := saveStep(r, 3, 1)
		noFault()
		if !errors.Is(err, failure.ErrStorage) || failed == "" && !done {
			t.Fatal(n, err)
		}
		wantEqual(t, list(t, filepath.Join(r.Dir, "checkpoints")), before)
	}
}

// child starts this test binary to do one of children in dir.
func child(name, dir string, extra ...string) *exec.Cmd {
	command := exec.Command(os.Args[0], append([]string{dir}, extra...)...)
	command.Env = append(os.Environ(), childVariable+"="+name)
	return command
}

// SIGKILL before each operation on the disk.
func TestKilledAtOperations(t *testing.T) {
	for name, save := range saves {
		t.Run(name, func(t *testing.T) {
			kills := 0
			for n := 1; ; n++ {
				r := twoSteps(t, t.TempDir())
				err := child("save, killed at an operation", r.Dir, strconv.Itoa(n), strconv.Itoa(save.step),
					strconv.Itoa(save.keep)).Run()
				checkNewest(t, r, 2, 3)
				must(t, saveStep(r, 4, 1))
				wantEqual(t, list(t, filepath.Join(r.Dir, "checkpoints")), []string{"latest", "step-000004"})
				if err == nil {
					break
				}
				kills++
			}
			if kills < 15 {
				t.Errorf("only %d kills", kills)
			}
		})
	}
}

func saveAndDie(dir string) {
	number := func(i int) int { n, _ := strconv.Atoi(os.Args[i]); return n }
	failAt(number(2), func() error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) })
	if err := saveStep(Run{dir}, number(3), number(4)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// SIGKILL at random moments of a process that does nothing but save.
func TestKilledAtRandom(t *testing.T) {
	r := twoSteps(t, t.TempDir())
	atLeast := 2
	for range 25 {
		command := child("save without end", r.Dir, strconv.Itoa(atLeast+1))
		must(t, command.Start())
		time.Sleep(time.Duration(20+rand.IntN(100)) * time.Millisecond)
		must(t, command.Process.Kill())
		command.Wait()
		newest, bad, ok, err := r.Newest()
		if err != nil || !ok || len(bad) > 0 || newest.Step < atLeast {
			t.Fatalf("after step %d: %+v %v %v %v", atLeast, newest, bad, ok, err)
		}
		atLeast = newest.Step
	}
	if atLeast == 2 {
		t.Error("nothing was saved between the kills")
	}
}

func saveWithoutEnd(dir string) {
	step, _ := strconv.Atoi(os.Args[2])
	for ; ; step++ {
		if err := saveStep(Run{dir}, step, 1+step%3); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// The kernel refuses to write more than a limit, in the middle of a tensor.
func TestSaveUnderSizeLimit(t *testing.T) {
	r := twoSteps(t, t.TempDir())
	before := list(t, filepath.Join(r.Dir, "checkpoints"))
	if out, err := child("save under a size limit", r.Dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantEqual(t, list(t, filepath.Join(r.Dir, "checkpoints")), before)
	checkNewest(t, r, 2)
}

func saveUnderLimit(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}); err != nil {
		panic(err)
	}
	big := Tensor{Info{"x", U8, []int64{1 << 20}}, make([]byte, 1<<20)}
	writers := []func(tmp string) error{
		func(tmp string) error { return WriteSafetensors(filepath.Join(tmp, "x"), nil, []Tensor{big}) },
		func(tmp string) error {
			w, err := NewWriter(tmp, "model", 1<<30, []Info{big.Info})
			if err != nil {
				return err
			}
			return errors.Join(w.Write("x", big.Data), w.Close())
		},
	}
	for _, write := range writers {
		if err := (Run{dir}).Save(3, 1, write); !errors.Is(err, failure.ErrStorage) || !errors.Is(err, syscall.EFBIG) {
			panic(fmt.Sprint("not a storage error: ", err))
		}
	}
	// A log line that does not fit leaves no part of itself.
	path := filepath.Join(dir, "metrics.jsonl")
	log, err := OpenJSONL(path)
	for err == nil {
		err = log.Append(strings.Repeat("x", 1000))
	}
	text, _ := os.ReadFile(path)
	if !errors.Is(err, failure.ErrStorage) || len(text) != 65*1003 {
		panic(fmt.Sprint(len(text), " bytes in the log: ", err))
	}
}

// A power cut loses what was not flushed, which no kill shows. So the order of operations is held here: content before
// manifest, manifest before the folder, the folder before its name, the name before the removal of others.
func TestSaveOrder(t *testing.T) {
	defer noFault()
	r := twoSteps(t, t.TempDir())
	var trace []string
	random := regexp.MustCompile(`\.(tmp|trash)-\w+`)
	fault = func(operation, path string) error {
		name, _ := filepath.Rel(r.Dir, path)
		trace = append(trace, operation+" "+strings.TrimPrefix(random.ReplaceAllString(name, ".$1"), "checkpoints/"))
		return nil
	}
	must(t, saveStep(r, 3, 2))
	wantEqual(t, trace, []string{
		"write step-000003.tmp/weights.safetensors.tmp",
		"flush step-000003.tmp/weights.safetensors.tmp",
		"rename step-000003.tmp/weights.safetensors",
		"flush step-000003.tmp",
		"write step-000003.tmp/state.json.tmp",
		"flush step-000003.tmp/state.json.tmp",
		"rename step-000003.tmp/state.json",
		"flush step-000003.tmp",
		"flush step-000003.tmp/state.json",
		"flush step-000003.tmp/weights.safetensors",
		"write step-000003.tmp/manifest.json",
		"flush step-000003.tmp/manifest.json",
		"flush step-000003.tmp",
		"rename step-000003",
		"flush checkpoints",
		"remove step-000003.tmp",
		"write latest.tmp",
		"flush latest.tmp",
		"rename latest",
		"flush checkpoints",
		"rename step-000001.trash",
		"remove step-000001.trash",
	})
}
