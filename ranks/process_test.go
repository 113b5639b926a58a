package ranks

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Tests of several processes run this test binary again, as a rank: TEST_PART says what it does there.

func TestMain(m *testing.M) {
	if part := os.Getenv("TEST_PART"); part != "" {
		runtime.LockOSThread()
		os.Exit(act(part))
	}
	code := m.Run()
	torchtest.RemoveFakes()
	os.Exit(code)
}

// parts are what a rank does once it has joined.
var parts = map[string]func(*Group) error{"leave": func(*Group) error { return nil }, "work": work, "sums": sums,
	"notices": notices, "steps": differentSteps, "failing": failing, "lagging": lagging, "gpus": gpus, "absent": absent}

// act is the main function of a rank. Exit codes are llavatrain's.
func act(part string) (code int) {
	report := func(err error) int {
		var peer *PeerError
		var stopped interrupted
		fmt.Fprintln(os.Stderr, "ended: "+err.Error())
		switch {
		case errors.As(err, &peer):
			return 6
		case errors.As(err, &stopped):
			return 143
		case errors.Is(err, failure.ErrInput):
			return 2
		}
		return 1
	}
	if part == "launch" {
		os.Setenv("TEST_PART", os.Getenv("TEST_LAUNCHED"))
		err := Launch{Program: os.Args[:1], Procs: 3, Nodes: 1, Host: "127.0.0.1", Out: os.Stdout, Err: os.Stderr,
			Grace: 20 * time.Second}.Run()
		var ended *Ended
		switch {
		case err == nil:
			return 0
		case errors.As(err, &ended):
			fmt.Fprintln(os.Stderr, err)
			return ended.Code
		}
		return report(err)
	}
	if folder := os.Getenv("TEST_PIDS"); folder != "" {
		name := filepath.Join(folder, "rank"+os.Getenv("RANK"))
		if err := os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())), 0o666); err != nil {
			return report(err)
		}
	}
	place, err := Find(os.Getenv)
	if err != nil {
		return report(err)
	}
	if late, err := time.ParseDuration(os.Getenv("TEST_LATE")); err == nil {
		lateNotice = late
	}
	patience, err := time.ParseDuration(os.Getenv("TEST_PATIENCE"))
	if err != nil {
		patience = time.Minute
	}
	group, err := Join(place, Options{Facts: []Fact{{"recipe", os.Getenv("TEST_RECIPE")}}, Patience: patience,
		Fault:  func(err error) { os.Exit(report(err)) },
		Notice: func(line string) { fmt.Fprintln(os.Stderr, line) }})
	if err != nil {
		return report(err)
	}
	if err := parts[part](group); err != nil {
		return report(group.Fail(err))
	}
	if err := group.Leave(); err != nil {
		return report(err)
	}
	fmt.Println("left")
	return 0
}

type interrupted struct{ step int64 }

func (i interrupted) Error() string { return fmt.Sprintf("stopped after step %d", i.step) }

// work is a run: an agreement and a collective a step, over Gloo or what TEST_ENGINE says. TEST_FAULT is "RANK KIND",
// what befalls a rank at its third step.
func work(g *Group) error {
	connect := g.Gloo
	if os.Getenv("TEST_ENGINE") == "NCCL" {
		connect = g.NCCL
	}
	data, err := connect("data", 4*time.Second)
	if err != nil {
		return err
	}
	var asked atomic.Bool
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() { <-signals; asked.Store(true) }()
	rank, kind, _ := strings.Cut(os.Getenv("TEST_FAULT"), " ")
	for step := int64(1); ; step++ {
		if rank == strconv.Itoa(g.Rank) && step == 3 {
			fmt.Printf("fault at %d\n", time.Now().UnixMilli())
			if err := befall(g, kind); err != nil {
				return err
			}
		}
		all, err := g.Agree(fmt.Sprint("step ", step), Notice{Stop: asked.Load()})
		if err != nil {
			return err
		}
		for _, notice := range all {
			if notice.Stop {
				if err := g.Leave(); err != nil {
					return err
				}
				return interrupted{step}
			}
		}
		g.Say(fmt.Sprintf("step %d, computing", step))
		err = torch.Do(func(s *torch.Scope) {
			data.AllReduce(torch.Ones(s, []int64{1000}, torch.Float32, torch.CPU)).Wait()
		})
		if err != nil {
			return err
		}
		if step == 3 {
			fmt.Println("at work")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func befall(g *Group, kind string) error {
	switch kind {
	case "killed":
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "stopped":
		return syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "fails":
		return errors.New("no memory, for example")
	case "behind": // it agrees, and does not come to the collective
		if _, err := g.Agree("step 3", Notice{}); err != nil {
			return err
		}
		g.Say("step 3, lost in a loop")
		select {}
	}
	return nil
}

// process is a rank under test.
type process struct {
	*exec.Cmd
	output *output
	ended  chan struct{}
	after  time.Time // when it ended
}

type output struct {
	turn sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.turn.Lock()
	defer o.turn.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.turn.Lock()
	defer o.turn.Unlock()
	return o.text.String()
}

// cleared is the environment without what a launcher of this test may have set.
func cleared() (env []string) {
	for _, pair := range os.Environ() {
		key, _, _ := strings.Cut(pair, "=")
		_, known := launcherKeys[key]
		if !known && !strings.HasPrefix(key, "TEST_") && !strings.HasPrefix(key, "SLURM_") {
			env = append(env, pair)
		}
	}
	return append(env, "OMP_NUM_THREADS=1")
}

var launcherKeys = variables(append(append(append([]string{"TORCHELASTIC_ERROR_FILE="}, torchrunEnv...), ompiEnv...),
	pmiEnv...)...)

func begin(t *testing.T, part string, env ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0]), output: &output{}, ended: make(chan struct{})}
	p.Env = append(append(cleared(), "TEST_PART="+part), env...)
	p.Stdout, p.Stderr = p.output, p.output
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		p.after = time.Now()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL)
		<-p.ended
	})
	return p
}

// start starts a rank whose store is at a port of this host.
func start(t *testing.T, part string, rank, world, port int, env ...string) *process {
	t.Helper()
	return begin(t, part, append([]string{fmt.Sprintf("RANK=%d", rank), fmt.Sprintf("WORLD_SIZE=%d", world),
		fmt.Sprintf("LOCAL_RANK=%d", rank), fmt.Sprintf("LOCAL_WORLD_SIZE=%d", world), "MASTER_ADDR=127.0.0.1",
		fmt.Sprintf("MASTER_PORT=%d", port)}, env...)...)
}

func startAll(t *testing.T, part string, world, port int, env ...string) (all []*process) {
	t.Helper()
	for rank := range world {
		all = append(all, start(t, part, rank, world, port, env...))
	}
	return all
}

// long is when a test gives up: everything here is promised within ten seconds on a machine that has them.
const long = 90 * time.Second

// ends wants a process to end with a code, and its output to contain words.
func (p *process) ends(t *testing.T, what string, code int, words ...string) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(long):
		t.Fatalf("%s has not ended:\n%s", what, p.output)
	}
	if got := exitCode(p.ProcessState); got != code {
		t.Errorf("%s: exit code %d, want %d:\n%s", what, got, code, p.output)
	}
	p.says(t, what, words...)
}

func (p *process) says(t *testing.T, what string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(p.output.String(), word) {
			t.Errorf("%s does not say %q:\n%s", what, word, p.output)
		}
	}
}

// waitFor waits until a process has printed a text.
func (p *process) waitFor(t *testing.T, text string) {
	t.Helper()
	for began := time.Now(); !strings.Contains(p.output.String(), text); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.ended:
			t.Fatalf("it ended before it said %q:\n%s", text, p.output)
		default:
		}
		if time.Since(began) > long {
			t.Fatalf("it has not said %q:\n%s", text, p.output)
		}
	}
}

var ports atomic.Int64

// freePort is a port that is free, below those that the system gives to connections: it is still free when a rank comes
// to serve there.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 20000 + (int64(os.Getpid())*101+ports.Add(1))%12000
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			l.Close()
			return int(port)
		}
	}
	t.Fatal("no free port")
	return 0
}

// agent serves a store as torchrun's agent does: it outlives the ranks.
func agent(t *testing.T) (store *torch.Store, env string) {
	t.Helper()
	s, err := torch.ServeStore(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, "TORCHELASTIC_USE_AGENT_STORE=True"
}
