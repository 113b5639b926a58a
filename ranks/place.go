package ranks

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Place is where a process stands among those of its job, and where their store is.
type Place struct {
	Launcher      string // "" for a process alone
	Rank, World   int
	Local, Locals int    // the same among the processes of its host
	Host          string // of the store
	Port          int
	Served        bool // the launcher serves the store: rank 0 connects to it like the others
	PerPod        bool // nothing says which of the host's processes this one is
}

const defaultPort = 29500 // torch.distributed's

// Find reads the environment that a launcher made, by getenv. The first launcher that is recognised counts. Without
// one the process is alone, rank 0 of 1. What does not fit together is an error of input.
func Find(getenv func(string) string) (Place, error) {
	e := &environment{get: getenv}
	for _, launcher := range launchers {
		if p := launcher(e); p != nil {
			return p.checked(e)
		}
	}
	return Place{World: 1, Locals: 1}, e.err
}

// launchers recognise their environment, in this order: mpirun under Slurm has Slurm's variables too.
var launchers = []func(*environment) *Place{torchrun, openMPI, mpich, slurm}

// environment reads variables and keeps the first fault.
type environment struct {
	get func(string) string
	err error
}

func (e *environment) has(keys ...string) bool {
	for _, key := range keys {
		if e.get(key) == "" {
			return false
		}
	}
	return true
}

// number is a variable's value, or fallback if it is not set.
func (e *environment) number(key string, fallback int) int {
	text := e.get(key)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if (err != nil || n < 0) && e.err == nil {
		e.err = failure.Inputf("the environment's %s must be a whole number, not %q", key, text)
	}
	return n
}

// place reads rank, number of ranks and the same on the host from variables.
func (e *environment) place(launcher, rank, world, local, locals string) *Place {
	return &Place{Launcher: launcher, Rank: e.number(rank, 0), World: e.number(world, 1), Local: e.number(local, 0),
		Locals: e.number(locals, 1), Host: e.get("MASTER_ADDR"), Port: e.number("MASTER_PORT", defaultPort)}
}

// torchrun, and whatever sets torch.distributed's variables: PyTorchJob, TrainJob, our own launch, scripts.
func torchrun(e *environment) *Place {
	rank, world := e.has("RANK"), e.has("WORLD_SIZE")
	if !rank && !world {
		return nil
	}
	if rank != world {
		e.err = failure.Inputf("of RANK and WORLD_SIZE the environment has only one: set both, or neither for a " +
			"process alone")
	}
	p := e.place("the environment", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
	if e.has("TORCHELASTIC_RUN_ID") {
		p.Launcher = "torchrun"
	}
	p.Served = e.get("TORCHELASTIC_USE_AGENT_STORE") == "True" // as torch.distributed compares
	p.PerPod = !e.has("LOCAL_RANK")
	return p
}

func openMPI(e *environment) *Place {
	if !e.has("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE") {
		return nil
	}
	return e.place("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
		"OMPI_COMM_WORLD_LOCAL_SIZE")
}

// mpich is MPICH's and Intel's mpiexec. srun, asked for PMI, sets its two variables too, and then counts as srun, which
// knows the host.
func mpich(e *environment) *Place {
	if !e.has("PMI_RANK", "PMI_SIZE") ||
		e.get("PMI_RANK") == e.get("SLURM_PROCID") && e.get("PMI_SIZE") == e.get("SLURM_STEP_NUM_TASKS") {
		return nil
	}
	return e.place("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
}

// slurm is srun. A batch script that runs without it has SLURM_PROCID and SLURM_NTASKS too, and is alone.
func slurm(e *environment) *Place {
	if !e.has("SLURM_PROCID") || e.number("SLURM_STEP_NUM_TASKS", 1) < 2 {
		return nil
	}
	p := e.place("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "")
	p.Locals = slurmLocals(e.get("SLURM_STEP_TASKS_PER_NODE"), e.number("SLURM_NODEID", 0))
	if p.Host == "" {
		p.Host = firstHost(e.get("SLURM_STEP_NODELIST"))
	}
	if !e.has("MASTER_PORT") { // jobs and steps on one host get ports of their own
		p.Port = 20000 + e.number("SLURM_JOB_ID", 0)%20000 + e.number("SLURM_STEP_ID", 0)%1000
	}
	return p
}

// slurmLocals is how many tasks a node has of a list such as "4(x2),3": 4, 4, 3. A list that cannot be read gives 0.
func slurmLocals(list string, node int) int {
	for part := range strings.SplitSeq(list, ",") {
		count, times, repeated := strings.Cut(strings.TrimSuffix(part, ")"), "(x")
		tasks, err := strconv.Atoi(count)
		nodes := 1
		if repeated && err == nil {
			nodes, err = strconv.Atoi(times)
		}
		if err != nil {
			return 0
		}
		if node < nodes {
			return tasks
		}
		node -= nodes
	}
	return 0
}

// firstHost is the first of a list of hosts such as "rack1gpu[03-05,9],login": rack1gpu03.
func firstHost(list string) string {
	var host strings.Builder
	for list != "" {
		end := strings.IndexAny(list, "[,")
		if end < 0 {
			return host.String() + list
		}
		host.WriteString(list[:end])
		if list[end] == ',' {
			break
		}
		inside, rest, _ := strings.Cut(list[end+1:], "]")
		if first := strings.IndexAny(inside, ",-"); first >= 0 {
			inside = inside[:first]
		}
		host.WriteString(inside)
		list = rest
	}
	return host.String()
}

// checked refuses what does not fit together.
func (p *Place) checked(e *environment) (Place, error) {
	switch {
	case e.err != nil:
		return Place{}, e.err
	case p.World < 1 || p.Rank >= p.World:
		return Place{}, failure.Inputf("%s says that this is rank %d of %d processes: ranks count from 0", p.Launcher,
			p.Rank, p.World)
	case p.Local >= p.Locals || p.Locals > p.World:
		return Place{}, failure.Inputf("%s says that this is process %d of %d on its host, of %d in all: they count "+
			"from 0", p.Launcher, p.Local, p.Locals, p.World)
	case p.Port < 1 || p.Port > 65535:
		return Place{}, failure.Inputf("the environment's MASTER_PORT is %d, which is no port", p.Port)
	case p.World > 1 && p.Host == "":
		how := "set it to the host of rank 0"
		if p.Launcher == "mpirun" {
			how = "start with `mpirun -x MASTER_ADDR=HOST`, the host of rank 0"
		}
		return Place{}, failure.Inputf("%s started %d processes, and the environment has no MASTER_ADDR: %s",
			p.Launcher, p.World, how)
	}
	return *p, nil
}

// Card is which of the GPUs that a process sees is its own. A launcher may show each process one alone.
func (p Place) Card(visible int) (int, error) {
	switch {
	case visible <= 1:
		return 0, nil // without any, the engine says why
	case p.PerPod:
		return 0, failure.Inputf("%s counts hosts, not GPUs: rank %d of %d sees %d GPUs, and LOCAL_RANK is not set; "+
			"run `llavatrain launch --nproc %d -- llavatrain …` there, which starts a process for each", p.Launcher,
			p.Rank, p.World, visible, visible)
	case p.Locals > visible:
		return 0, fmt.Errorf("%w: %s started %d processes on this host, which has %d GPUs: start one for each",
			torch.ErrEngine, p.Launcher, p.Locals, visible)
	}
	return p.Local, nil
}

func (p Place) String() string { return fmt.Sprintf("rank %d of %d", p.Rank, p.World) }
