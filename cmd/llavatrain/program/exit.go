package program

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/ranks"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train"
)

// Exit codes. An error that no package has classified is a fault of this program.
const (
	codeDone        = 0
	CodeInternal    = 1
	codeInput       = 2
	codeStorage     = 3
	codeEngine      = 4
	codeNumerics    = 5
	codeDistributed = 6
	codeRemote      = 7
	codeInterrupted = 130
	codeTerminated  = 143
)

var exitCodes = []struct {
	code    int
	meaning string
}{
	{codeDone, "done"},
	{CodeInternal, "internal fault"},
	{codeInput, "command line, recipe, data or model files"},
	{codeStorage, "storage"},
	{codeEngine, "device, engine or out of memory"},
	{codeNumerics, "numerics (diverged)"},
	{codeDistributed, "another process of the job"},
	{codeRemote, "remote end: key, quota, budget, outage"},
	{codeInterrupted, "interrupted and saved"},
	{codeTerminated, "terminated and saved"},
}

// ExitCodeHelp is what the help text says about how commands end.
func ExitCodeHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, row := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", row.code, row.meaning)
	}
	b.WriteString("Where a command takes --json, its error is JSON too, on the last line of standard error: " +
		`{"error": TEXT, "exit_code": CODE}` + ".\n")
	return b.String()
}

// ExitCode returns the code of a command that ended with err. If an error wraps several, the first row counts: a disk
// that fails while a run with bad input is saved is a storage failure, and a model that does not fit the engine's
// memory is an engine failure. What a launched program ended with is passed on.
func (p *Program) ExitCode(err error) int {
	var engine *torch.Error
	var peer *ranks.PeerError
	var ended *ranks.Ended
	switch {
	case err == nil:
		return codeDone
	case errors.As(err, &ended):
		return ended.Code
	case errors.As(err, &peer):
		return codeDistributed
	case errors.Is(err, runs.ErrInterrupted):
		return signalCode(p.signal)
	case errors.Is(err, train.ErrDiverged):
		return codeNumerics
	case failure.IsStorage(err):
		return codeStorage
	case errors.Is(err, failure.ErrRemote):
		return codeRemote
	case errors.Is(err, torch.ErrEngine), errors.As(err, &engine):
		return codeEngine
	case errors.Is(err, failure.ErrInput):
		return codeInput
	default:
		return CodeInternal
	}
}

// PassedOn says whether a fault is that of a program that a command has launched, and not this one's.
func PassedOn(fault any) bool {
	err, _ := fault.(error)
	var ended *ranks.Ended
	return errors.As(err, &ended)
}

func signalCode(s syscall.Signal) int {
	if s == syscall.SIGTERM {
		return codeTerminated
	}
	return codeInterrupted
}
