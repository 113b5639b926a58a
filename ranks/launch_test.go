package ranks

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (p *process) goOn(t *testing.T)      { t.Helper(); p.signal(t, syscall.SIGCONT) }
func (p *process) terminate(t *testing.T) { t.Helper(); p.signal(t, syscall.SIGTERM) }

func TestLaunchRunsAJob(t *testing.T) {
	t.Parallel()
	begin(t, "launch", "TEST_LAUNCHED=sums").ends(t, "launch", 0, "[0] left", "[1] left", "[2] left")
}

// The code is that of the rank that failed, not of those that ended because of it.
func TestLaunchReturnsTheCause(t *testing.T) {
	t.Parallel()
	for fault, code := range map[string]int{"1 killed": 137, "0 fails": 1} {
		p := begin(t, "launch", "TEST_LAUNCHED=work", "TEST_FAULT="+fault)
		rank, _, _ := strings.Cut(fault, " ")
		p.ends(t, fault, code, "rank "+rank+" ended with exit code "+strconv.Itoa(code), "] ended: rank "+rank+" (")
	}
}

func TestLaunchPassesSignalsOn(t *testing.T) {
	t.Parallel()
	p := begin(t, "launch", "TEST_LAUNCHED=work")
	for _, rank := range []string{"0", "1", "2"} {
		p.waitFor(t, "["+rank+"] at work")
	}
	p.terminate(t)
	p.ends(t, "launch", 143, "[0] ended: stopped after step", "[1] ended: stopped after step")
}

// No rank outlives its launcher.
func TestLaunchIsKilled(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	p := begin(t, "launch", "TEST_LAUNCHED=work", "TEST_PIDS="+folder)
	for _, rank := range []string{"0", "1", "2"} {
		p.waitFor(t, "["+rank+"] at work")
	}
	p.signal(t, syscall.SIGKILL)
	killed := time.Now()
	for _, rank := range []string{"0", "1", "2"} {
		pid, err := os.ReadFile(filepath.Join(folder, "rank"+rank))
		if err != nil {
			t.Fatal(err)
		}
		for alive(string(pid)) {
			if time.Since(killed) > long {
				t.Fatalf("rank %s lives", rank)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Logf("all were gone after %.1f s", time.Since(killed).Seconds())
}

func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// shell launches a script on two processes.
func shell(script string, grace time.Duration) (out, messages string, err error) {
	var stdout, stderr bytes.Buffer
	err = Launch{Program: []string{"/bin/sh", "-c", script}, Procs: 2, Nodes: 2, Node: 1, Host: "host", Port: 7,
		Out: &stdout, Err: &stderr, Grace: grace}.Run()
	return stdout.String(), stderr.String(), err
}

// Any program can be launched: it gets the variables that torchrun sets.
func TestLaunchSetsVariables(t *testing.T) {
	out, messages, err := shell(`echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT
		echo $TORCHELASTIC_USE_AGENT_STORE $GROUP_RANK >&2; printf 'no end of line'`, time.Second)
	for _, want := range []string{"[2] 2 4 0 2 host 7\n", "[3] 3 4 1 2 host 7\n", "[2] no end of line\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if err != nil || !strings.Contains(messages, "[3] True 1\n") {
		t.Errorf("%v\n%s", err, messages)
	}
}

// Those that do not end by themselves after one has failed are asked to, and killed if they do not.
func TestLaunchEndsTheOthers(t *testing.T) {
	for trap, want := range map[string]int{"true": 5, "trap '' TERM": 5} {
		_, messages, err := shell(trap+`; if [ $RANK = 2 ]; then exit 5; fi; while true; do sleep 0.1; done`,
			300*time.Millisecond)
		var ended *Ended
		if !errors.As(err, &ended) || ended.Code != want || ended.Rank != 2 ||
			!strings.Contains(messages, "launch: rank 2 ended with exit code 5") {
			t.Errorf("%s: %v\n%s", trap, err, messages)
		}
	}
	_, _, err := shell(`[ $RANK = 2 ] && exit 6; sleep 1; exit 4`, 20*time.Second)
	var ended *Ended
	if !errors.As(err, &ended) || ended.Code != 4 || ended.Rank != 3 {
		t.Errorf("%v, want the cause", err)
	}
}

func TestLaunchRefuses(t *testing.T) {
	err := Launch{Program: []string{"/no/such/program"}, Procs: 1, Nodes: 1, Host: "127.0.0.1"}.Run()
	if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), "/no/such/program") {
		t.Error(err)
	}
	store, _ := agent(t)
	err = Launch{Program: []string{"/bin/true"}, Procs: 1, Nodes: 2, Host: "127.0.0.1", Port: store.Port()}.Run()
	if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), "EADDRINUSE") {
		t.Error(err)
	}
}
