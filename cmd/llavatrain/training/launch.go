package training

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/ranks"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// launchGrace is for ranks that hear within seconds that another has failed.
const launchGrace = 15 * time.Second

// NewLaunch returns the command launch.
func NewLaunch(p *program.Program) *cobra.Command {
	l := ranks.Launch{Out: p.Out, Err: p.Err, Grace: launchGrace}
	c := &cobra.Command{
		Use:   "launch --nproc N -- PROGRAM ARGUMENT…",
		Short: "Start a program several times, as the processes of one job",
		Long: "Start a program several times, as the processes of one job: one for each GPU. It gets the variables\n" +
			"that `torchrun --no-python` sets. On several hosts, start one launch on each, with the same --nproc,\n" +
			"--nnodes and --master. A rank that fails ends all; launch ends with its exit code. SIGINT and SIGTERM\n" +
			"are passed on.",
		Example: "  llavatrain launch --nproc 8 -- llavatrain finetune recipe.yaml\n" +
			"  llavatrain launch --nproc 8 --nnodes 2 --node-rank 1 --master gpu01 -- llavatrain finetune recipe.yaml",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l.Program = args
			if err := fromKubeflow(c.Flags()); err != nil {
				return err
			}
			if err := checkLaunch(&l); err != nil {
				return err
			}
			return l.Run()
		},
	}
	c.Flags().IntVar(&l.Procs, "nproc", 1, "processes on each host")
	c.Flags().IntVar(&l.Nodes, "nnodes", 1, "hosts; PET_NNODES if not given")
	c.Flags().IntVar(&l.Node, "node-rank", 0, "which of the hosts this is, from 0; PET_NODE_RANK if not given")
	c.Flags().StringVar(&l.Host, "master", "", "host 0, for several; PET_MASTER_ADDR if not given")
	c.Flags().IntVar(&l.Port, "port", 0, "port on host 0 by which the processes find each other; PET_MASTER_PORT if "+
		"not given, else any, or 29500 for several hosts")
	return c
}

// kubeflow are the variables that Kubeflow's TrainJob sets, by the flags that they stand for.
var kubeflow = map[string]string{"nnodes": "PET_NNODES", "node-rank": "PET_NODE_RANK", "master": "PET_MASTER_ADDR",
	"port": "PET_MASTER_PORT"}

// fromKubeflow sets flags that are not given from the environment.
func fromKubeflow(flags *pflag.FlagSet) error {
	for flag, key := range kubeflow {
		text := os.Getenv(key)
		if text == "" || flags.Changed(flag) {
			continue
		}
		if err := flags.Set(flag, text); err != nil {
			return failure.Inputf("the environment's %s is %q: give --%s", key, text, flag)
		}
	}
	return nil
}

// checkLaunch refuses what does not fit together, and sets what follows.
func checkLaunch(l *ranks.Launch) error {
	switch {
	case l.Procs < 1:
		return failure.Inputf("--nproc is %d: at least 1 process runs on each host", l.Procs)
	case l.Nodes < 1:
		return failure.Inputf("--nnodes is %d: it counts hosts, from 1", l.Nodes)
	case l.Node < 0 || l.Node >= l.Nodes:
		return failure.Inputf("--node-rank is %d: %d hosts are numbered from 0", l.Node, l.Nodes)
	case l.Port < 0 || l.Port > 65535:
		return failure.Inputf("--port is %d, which is no port", l.Port)
	case l.Nodes == 1:
		l.Host = "127.0.0.1"
	case l.Host == "":
		return failure.Inputf("--master is missing: with several hosts it names host 0, the same on all")
	case l.Port == 0:
		l.Port = 29500
	}
	return nil
}
