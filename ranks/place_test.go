package ranks

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// variables is an environment of pairs.
func variables(pairs ...string) map[string]string {
	env := map[string]string{}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		env[key] = value
	}
	return env
}

func find(env map[string]string) (Place, error) {
	return Find(func(key string) string { return env[key] })
}

var (
	torchrunEnv = []string{"RANK=3", "WORLD_SIZE=4", "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=2", "MASTER_ADDR=a",
		"MASTER_PORT=5", "TORCHELASTIC_RUN_ID=none", "TORCHELASTIC_USE_AGENT_STORE=True"}
	ompiEnv = []string{"OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_LOCAL_RANK=1",
		"OMPI_COMM_WORLD_LOCAL_SIZE=2", "MASTER_ADDR=h"}
	pmiEnv   = []string{"PMI_RANK=2", "PMI_SIZE=4", "MPI_LOCALRANKID=0", "MPI_LOCALNRANKS=2", "MASTER_ADDR=h"}
	slurmEnv = []string{"SLURM_PROCID=5", "SLURM_STEP_NUM_TASKS=7", "SLURM_LOCALID=1", "SLURM_NODEID=1",
		"SLURM_STEP_TASKS_PER_NODE=4,3", "SLURM_STEP_NODELIST=gpu[03-04]", "SLURM_JOB_ID=20007", "SLURM_STEP_ID=2"}
)

func TestFind(t *testing.T) {
	env := func(lists ...[]string) (all []string) {
		for _, list := range lists {
			all = append(all, list...)
		}
		return all
	}
	for name, c := range map[string]struct {
		env  []string
		want Place
	}{
		"alone":    {nil, Place{World: 1, Locals: 1}},
		"torchrun": {torchrunEnv, Place{"torchrun", 3, 4, 1, 2, "a", 5, true, false}},
		"torchrun, rank 0 serves": {env(torchrunEnv, []string{"TORCHELASTIC_USE_AGENT_STORE=False"}),
			Place{"torchrun", 3, 4, 1, 2, "a", 5, false, false}},
		"PyTorchJob": {[]string{"RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=j-master-0", "MASTER_PORT=23456"},
			Place{"the environment", 1, 2, 0, 1, "j-master-0", 23456, false, true}},
		"mpirun":  {ompiEnv, Place{"mpirun", 1, 4, 1, 2, "h", 29500, false, false}},
		"mpiexec": {pmiEnv, Place{"mpiexec", 2, 4, 0, 2, "h", 29500, false, false}},
		"srun":    {slurmEnv, Place{"srun", 5, 7, 1, 3, "gpu03", 20009, false, false}},
		"srun, with an address": {env(slurmEnv, []string{"MASTER_ADDR=b", "MASTER_PORT=7"}),
			Place{"srun", 5, 7, 1, 3, "b", 7, false, false}},
		"srun, with PMI": {env(slurmEnv, []string{"PMI_RANK=5", "PMI_SIZE=7"}),
			Place{"srun", 5, 7, 1, 3, "gpu03", 20009, false, false}},
		"mpirun on two hosts of Slurm": {env(slurmEnv, ompiEnv),
			Place{"mpirun", 1, 4, 1, 2, "h", 29500, false, false}},
		"mpiexec on two hosts of Slurm": {env(slurmEnv, pmiEnv),
			Place{"mpiexec", 2, 4, 0, 2, "h", 29500, false, false}},
		"torchrun started by srun": {env(slurmEnv, torchrunEnv),
			Place{"torchrun", 3, 4, 1, 2, "a", 5, true, false}},
		"a batch script without srun": {[]string{"SLURM_PROCID=0", "SLURM_NTASKS=8", "SLURM_STEP_NUM_TASKS=1"},
			Place{World: 1, Locals: 1}},
	} {
		if p, err := find(variables(c.env...)); p != c.want || err != nil {
			t.Errorf("%s: %+v, %v, want %+v", name, p, err, c.want)
		}
	}
}

func TestFindRefuses(t *testing.T) {
	for words, env := range map[string][]string{
		"set both, or neither":        {"RANK=0"},
		"has only one":                {"WORLD_SIZE=4", "MASTER_ADDR=a"},
		`RANK must be a whole number`: {"RANK=x\x1b[2J", "WORLD_SIZE=4", "MASTER_ADDR=a"},
		"LOCAL_RANK must be a whole":  {"RANK=0", "WORLD_SIZE=4", "LOCAL_RANK=-1", "MASTER_ADDR=a"},
		"rank 4 of 4 processes":       {"RANK=4", "WORLD_SIZE=4", "MASTER_ADDR=a"},
		"rank 0 of 0 processes":       {"RANK=0", "WORLD_SIZE=0", "MASTER_ADDR=a"},
		"process 2 of 2 on its host": {"RANK=3", "WORLD_SIZE=4", "LOCAL_RANK=2", "LOCAL_WORLD_SIZE=2",
			"MASTER_ADDR=a"},
		"process 0 of 8 on its host": {"RANK=3", "WORLD_SIZE=4", "LOCAL_WORLD_SIZE=8", "MASTER_ADDR=a"},
		"MASTER_PORT is 65536":       {"RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=a", "MASTER_PORT=65536"},
		"no MASTER_ADDR: set it":     {"RANK=0", "WORLD_SIZE=2"},
		"mpirun -x MASTER_ADDR=HOST": {"OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=2",
			"OMPI_COMM_WORLD_LOCAL_SIZE=2", "OMPI_COMM_WORLD_LOCAL_RANK=1"},
		"SLURM_STEP_NUM_TASKS must be a": {"SLURM_PROCID=0", "SLURM_STEP_NUM_TASKS=many"},
		"srun says that this is process 0": {"SLURM_PROCID=0", "SLURM_STEP_NUM_TASKS=2",
			"SLURM_STEP_TASKS_PER_NODE=(x"},
	} {
		p, err := find(variables(env...))
		if err == nil || !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), words) ||
			strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%v: %+v, %v, want an error of input with %q", env, p, err, words)
		}
	}
}

// Whatever the variables hold: a place that fits together, or an error.
func TestFindGivesAPlaceOrAnError(t *testing.T) {
	all := variables(append(append(append(append([]string{}, torchrunEnv...), ompiEnv...), pmiEnv...), slurmEnv...)...)
	rapid.Check(t, func(t *rapid.T) {
		env := maps.Clone(all)
		for key := range env {
			switch rapid.IntRange(0, 3).Draw(t, "kind of "+key) {
			case 0:
				delete(env, key)
			case 1:
				env[key] = rapid.SampledFrom([]string{"0", "1", "-1", "7", "99999999999999999999", "a[", "a[]", "2(x3)",
					"(x", "]", ",", "[3-"}).Draw(t, key)
			}
		}
		p, err := find(env)
		if err == nil && (p.Rank < 0 || p.Rank >= p.World || p.Local < 0 || p.Local >= p.Locals || p.Locals > p.World ||
			p.World > 1 && (p.Host == "" || p.Port < 1 || p.Port > 65535)) {
			t.Fatalf("%v: %+v", env, p)
		}
	})
}

func TestSlurmLists(t *testing.T) {
	for list, want := range map[string]string{"gpu[03-05,9],login1": "gpu03", "a,b[1-2]": "a", "n7": "n7",
		"c[1,3]-ib": "c1-ib", "rack[2-3]gpu[04-07],x": "rack2gpu04", "": "", "a[": "a", "a[12": "a12"} {
		if got := firstHost(list); got != want {
			t.Errorf("first host of %q: %q, want %q", list, got, want)
		}
	}
	for _, c := range []struct {
		list       string
		node, want int
	}{{"4(x2),3", 0, 4}, {"4(x2),3", 1, 4}, {"4(x2),3", 2, 3}, {"4(x2),3", 3, 0}, {"2", 0, 2}, {"", 0, 0},
		{"4(xa)", 0, 0}} {
		if got := slurmLocals(c.list, c.node); got != c.want {
			t.Errorf("tasks of node %d of %q: %d, want %d", c.node, c.list, got, c.want)
		}
	}
}

func TestCard(t *testing.T) {
	place := Place{Launcher: "torchrun", Rank: 3, World: 4, Local: 1, Locals: 2}
	perPod := Place{Launcher: "the environment", Rank: 1, World: 2, Locals: 1, PerPod: true}
	for _, c := range []struct {
		place         Place
		visible, want int
		fault         error
		words         string
	}{
		{place, 2, 1, nil, ""}, {place, 8, 1, nil, ""}, {place, 1, 0, nil, ""}, {place, 0, 0, nil, ""},
		{Place{Launcher: "srun", World: 4, Local: 2, Locals: 3}, 2, 0, torch.ErrEngine,
			"3 processes on this host, which has 2 GPUs"},
		{perPod, 1, 0, nil, ""}, {perPod, 8, 0, failure.ErrInput, "llavatrain launch --nproc 8"},
		{Place{World: 1, Locals: 1}, 4, 0, nil, ""},
	} {
		got, err := c.place.Card(c.visible)
		if got != c.want || !errors.Is(err, c.fault) || err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%+v with %d GPUs: %d, %v, want %d, %v", c.place, c.visible, got, err, c.want, c.fault)
		}
	}
}
