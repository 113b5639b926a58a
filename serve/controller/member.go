package controller

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/llavatrain/llavatrain/serve/llava"
)

const (
	beatEvery  = 15 * time.Second
	retryEvery = 5 * time.Second
)

// Member keeps a worker registered with a controller. A worker answers whether its controller does or not.
type Member struct {
	Controller llava.Peer
	Address    string              // of the worker, as its clients reach it
	Status     func() llava.Status // of the worker
	Log        io.Writer           // a line whenever the controller comes or goes; nil: none

	changed chan struct{} // holds a signal if a request has begun or ended
	gone    bool          // the controller did not answer last time
}

// NewMember makes one. Run registers.
func NewMember(controller llava.Peer, address string, status func() llava.Status, log io.Writer) *Member {
	return &Member{Controller: controller, Address: address, Status: status, Log: log, changed: make(chan struct{}, 1)}
}

// Changed says that a request has begun or ended, so that a heart beat is due. It never waits.
func (m *Member) Changed() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Run registers, and sends heart beats every 15 seconds and after Changed, until ctx ends. While the controller does
// not answer it tries again every 5 seconds.
func (m *Member) Run(ctx context.Context) {
	known := false
	for ctx.Err() == nil {
		var err error
		if known {
			known, err = m.Controller.Beat(ctx, llava.Beat{Worker: m.Address, Queue: m.Status().Queue})
		}
		if !known && err == nil {
			err = m.register(ctx)
			known = err == nil
		} else if err != nil {
			known = true // it may know us still
		}
		m.tell(ctx, err)
		wait, changed := beatEvery, m.changed
		if err != nil {
			wait, changed = retryEvery, nil
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-changed:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

func (m *Member) register(ctx context.Context) error {
	status := m.Status()
	return m.Controller.Register(ctx, llava.Registration{Worker: m.Address, CheckBeat: true, Status: &status})
}

// tell says once that the controller is gone, and that it is back.
func (m *Member) tell(ctx context.Context, err error) {
	if m.Log == nil || ctx.Err() != nil || m.gone == (err != nil) {
		return
	}
	if m.gone = err != nil; m.gone {
		fmt.Fprintf(m.Log, "The controller %s %v; requests are answered, and it is asked again every 5 seconds.\n",
			m.Controller.Address, err)
		return
	}
	fmt.Fprintf(m.Log, "The controller %s knows this worker now.\n", m.Controller.Address)
}
