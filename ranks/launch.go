package ranks

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Launch starts the processes of a job on this host, with the variables that torchrun sets.
type Launch struct {
	Program     []string // and its arguments
	Procs       int      // processes on each host
	Nodes, Node int      // hosts, and which this is
	Host        string   // of the store: the first host
	Port        int      // of the store; 0 with one host is any free one
	Out, Err    io.Writer
	// Grace is how long the others may take to end by themselves after one has failed; then they are asked to, and
	// after as long again killed.
	Grace time.Duration
}

// Ended is the end of a process that a launch started: the first that failed by itself.
type Ended struct {
	Rank int
	Code int // its exit code; as a shell counts, 128 + the signal that ended it
}

func (e *Ended) Error() string { return fmt.Sprintf("rank %d ended with exit code %d", e.Rank, e.Code) }

const codePeer = 6 // the exit code of a rank that ends because of another

// Run runs the job. It passes SIGINT and SIGTERM on to its processes, and returns an *Ended if one fails. If this
// process is killed, so are they.
func (l Launch) Run() error {
	store, err := l.serve()
	if err != nil {
		return err
	}
	if store != nil {
		l.Port = store.Port()
		defer store.Close()
	}
	runtime.LockOSThread() // the processes end with the thread that started them: see Pdeathsig
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	j := &job{Launch: l, ended: make(chan exit, l.Procs)}
	for local := range l.Procs {
		if err := j.start(local); err != nil {
			j.all(syscall.SIGKILL)
			return err
		}
	}
	if cause := j.wait(signals); cause != nil {
		if store != nil && l.Nodes > 1 {
			time.Sleep(linger) // ranks of other hosts read why
		}
		return cause
	}
	return nil
}

// serve serves the store, on the first host.
func (l Launch) serve() (*torch.Store, error) {
	if l.Node > 0 {
		return nil, nil
	}
	s, err := torch.ServeStore(l.Port)
	if err != nil {
		return nil, failure.Inputf("the port %d for the processes to find each other: %w", l.Port, err)
	}
	return s, nil
}

// job is the processes under way.
type job struct {
	Launch
	processes []*exec.Cmd
	ended     chan exit
	printing  sync.Mutex
}

type exit struct{ rank, code int }

func (j *job) start(local int) error {
	rank := j.Node*j.Procs + local
	c := exec.Command(j.Program[0], j.Program[1:]...)
	c.Env = append(os.Environ(), j.variables(rank, local)...)
	// A terminal's signals come by way of this process alone.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, messages := &lines{job: j, rank: rank, to: j.Out}, &lines{job: j, rank: rank, to: j.Err}
	c.Stdout, c.Stderr = out, messages
	c.WaitDelay = time.Second // for what its own children still print
	if err := c.Start(); err != nil {
		return failure.Inputf("the program cannot be started: %w", err)
	}
	j.processes = append(j.processes, c)
	go func() {
		_ = c.Wait() // its state says more
		out.end()
		messages.end()
		j.ended <- exit{rank, exitCode(c.ProcessState)}
	}()
	return nil
}

func (j *job) variables(rank, local int) []string {
	list := []string{fmt.Sprintf("RANK=%d", rank), fmt.Sprintf("WORLD_SIZE=%d", j.Nodes*j.Procs),
		fmt.Sprintf("LOCAL_RANK=%d", local), fmt.Sprintf("LOCAL_WORLD_SIZE=%d", j.Procs),
		fmt.Sprintf("GROUP_RANK=%d", j.Node), fmt.Sprintf("GROUP_WORLD_SIZE=%d", j.Nodes), "MASTER_ADDR=" + j.Host,
		fmt.Sprintf("MASTER_PORT=%d", j.Port), "TORCHELASTIC_USE_AGENT_STORE=True"}
	if os.Getenv("OMP_NUM_THREADS") == "" {
		list = append(list, fmt.Sprintf("OMP_NUM_THREADS=%d", max(1, runtime.NumCPU()/j.Procs)))
	}
	return list
}

// lines prints what a rank prints, whole lines with its number before them.
type lines struct {
	job  *job
	rank int
	to   io.Writer
	rest []byte // of a line that has not ended
}

func (l *lines) Write(text []byte) (int, error) {
	l.rest = append(l.rest, text...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 {
			return len(text), nil
		}
		l.print(l.rest[:end+1])
		l.rest = l.rest[end+1:]
	}
}

func (l *lines) end() {
	if len(l.rest) > 0 {
		l.print(append(l.rest, '\n'))
	}
}

func (l *lines) print(line []byte) {
	l.job.printing.Lock()
	defer l.job.printing.Unlock()
	fmt.Fprintf(l.to, "[%d] %s", l.rank, line)
}

func (j *job) all(s syscall.Signal) {
	for _, c := range j.processes {
		_ = c.Process.Signal(s) // one that has ended needs none
	}
}

// wait waits for all to end, and returns the first that failed, but rather the cause than a rank that ended because of
// it.
func (j *job) wait(signals <-chan os.Signal) *Ended {
	var cause *Ended
	var patience <-chan time.Time
	told, asked := false, false // signals were passed on; the others were asked to end
	for left := len(j.processes); left > 0; {
		select {
		case s := <-signals:
			told = true
			j.all(s.(syscall.Signal))
		case <-patience:
			if asked {
				j.all(syscall.SIGKILL)
				continue
			}
			asked = true
			j.all(syscall.SIGTERM)
			patience = time.After(j.Grace)
		case e := <-j.ended:
			left--
			if e.code == 0 {
				continue
			}
			if cause == nil || cause.Code == codePeer && e.code != codePeer && !asked {
				cause = &Ended{e.rank, e.code}
			}
			if patience == nil && !told && left > 0 {
				j.say("rank %d ended with exit code %d; the others have %v to end", e.rank, e.code, j.Grace)
				patience = time.After(j.Grace)
			}
		}
	}
	return cause
}

func (j *job) say(format string, args ...any) {
	j.printing.Lock()
	defer j.printing.Unlock()
	fmt.Fprintf(j.Err, "launch: "+format+"\n", args...)
}

func exitCode(state *os.ProcessState) int {
	if s, ok := state.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return state.ExitCode()
}
