package training

import (
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

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
		Long: "Start a program several times, as the processes of one job: one for each GPU. It gets the variables that\n" +
			"`torchrun --no-python` sets. On several hosts, start one launch on each, with the same --nproc, --nnodes and\n" +
			"--master. A rank that fails ends all; launch ends with its exit code. SIGINT and SIGTERM are passed on.",
		Example: "  llavatrain launch --nproc 8 -- llavatrain finetune recipe.yaml\n" +
			"  llavatrain launch --nproc 8 --nnodes 2 --node-rank 1 --master gpu01 -- llavatrain finetune recipe.yaml",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			l.Program = args
			if err := checkLaunch(&l); err != nil {
				return err
			}
			return l.Run()
		},
	}
	// Kubeflow's TrainJob sets the variables.
	nodes, node, port := number("PET_NNODES", 1), number("PET_NODE_RANK", 0), number("PET_MASTER_PORT", 0)
	c.Flags().IntVar(&l.Procs, "nproc", 1, "processes on each host")
	c.Flags().IntVar(&l.Nodes, "nnodes", nodes, "hosts; default $PET_NNODES, or 1")
	c.Flags().IntVar(&l.Node, "node-rank", node, "which of the hosts this is, from 0; default $PET_NODE_RANK, or 0")
	c.Flags().StringVar(&l.Host, "master", os.Getenv("PET_MASTER_ADDR"),
		"name or address of host 0, for several; default $PET_MASTER_ADDR")
	c.Flags().IntVar(&l.Port, "port", port,
		"port on host 0 by which processes find each other; default $PET_MASTER_PORT, or 29500, or with one host any")
	return c
}

// number is a variable's value; -1, which is refused, if it is none.
func number(key string, fallback int) int {
	text := os.Getenv(key)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// checkLaunch refuses what does not fit together, and sets what follows.
func checkLaunch(l *ranks.Launch) error {
	switch {
	case l.Procs < 1:
		return failure.Inputf("--nproc is %d: at least 1 process runs on each host", l.Procs)
	case l.Nodes < 1:
		return failure.Inputf("--nnodes, or PET_NNODES, is %d: it counts hosts, from 1", l.Nodes)
	case l.Node < 0 || l.Node >= l.Nodes:
		return failure.Inputf("--node-rank, or PET_NODE_RANK, is %d: %d hosts are numbered from 0", l.Node, l.Nodes)
	case l.Port < 0 || l.Port > 65535:
		return failure.Inputf("--port, or PET_MASTER_PORT, is %d, which is no port", l.Port)
	case l.Nodes == 1:
		l.Host = "127.0.0.1"
	case l.Host == "":
		return failure.Inputf("--master is missing: with several hosts it names host 0, the same on all")
	case l.Port == 0:
		l.Port = 29500
	}
	return nil
}
