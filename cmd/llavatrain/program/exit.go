package program

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train"
)

// Exit codes. Anything that the user's recipe, data or command line can cause is codeUsage unless a row below says otherwise.
const (
	codeDone        = 0
	CodeInternal    = 1
	codeUsage       = 2
	codeStorage     = 3
	codeEngine      = 4
	codeNumerics    = 5
	codeDistributed = 6
	codeInterrupted = 130
	codeTerminated  = 143
)

var exitCodes = []struct {
	code    int
	meaning string
}{
	{codeDone, "done"},
	{CodeInternal, "internal fault"},
	{codeUsage, "usage, recipe or data"},
	{codeStorage, "storage"},
	{codeEngine, "device, engine or out of memory"},
	{codeNumerics, "numerics (diverged)"},
	{codeDistributed, "distributed peer"},
	{codeInterrupted, "interrupted and saved"},
	{codeTerminated, "terminated and saved"},
}

func ExitCodeHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, row := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", row.code, row.meaning)
	}
	return b.String()
}

func (p *Program) ExitCode(err error) int {
	var engine *torch.Error
	switch {
	case err == nil:
		return codeDone
	case errors.Is(err, runs.ErrInterrupted):
		return signalCode(p.signal)
	case errors.Is(err, runs.ErrInternal):
		return CodeInternal
	case errors.Is(err, train.ErrDiverged):
		return codeNumerics
	case errors.Is(err, failure.ErrStorage):
		return codeStorage
	case errors.Is(err, torch.ErrEngine), errors.As(err, &engine):
		return codeEngine
	default:
		return codeUsage
	}
}

func signalCode(s syscall.Signal) int {
	if s == syscall.SIGTERM {
		return codeTerminated
	}
	return codeInterrupted
}
