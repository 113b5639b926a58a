package ranks

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Options are how a process takes part in a job.
type Options struct {
	Facts    []Fact        // what all processes must have in common
	Patience time.Duration // until all have come
	// Fault is called once, by a goroutine of the watch, when another process is gone or has failed: err is a
	// *PeerError. It ends the process, since the goroutine that trains may be inside a collective that never ends.
	Fault  func(err error)
	Notice func(line string) // what it waits for, mostly on rank 0
}

// Group is the processes of a job. A process alone is a group too, without a store.
type Group struct {
	Place
	Members []Member // by rank

	store   *torch.Store
	control *torch.Comm
	watch   *watch
	notice  func(string)
}

const (
	connectWithin = time.Minute         // for processes that have all come
	noLimit       = 20 * 24 * time.Hour // of what the watch ends: waiting for data, for a file to be saved
	goodbye       = 5 * time.Second     // for all to say that they are done
)

// Join brings the processes of a job together. Who is missing, came twice or differs is a *PeerError of all; a port
// that is taken is an error of input.
func Join(p Place, o Options) (*Group, error) {
	if p.World == 1 {
		return &Group{Place: p, Members: []Member{newMember(p, o.Facts)}, notice: o.Notice}, nil
	}
	base, err := openStore(p, o)
	if err != nil {
		return nil, err
	}
	j := &joining{store: base, place: p, me: newMember(p, o.Facts), patience: o.Patience, notice: o.Notice}
	g := &Group{Place: p, notice: o.Notice}
	own, err := base.Another(connectWithin) // before the others can wait for a sign of life
	prefix := ""
	if err == nil {
		prefix, g.Members, err = j.join()
	}
	if err != nil {
		err = inJoin(p, err)
		writeErrorFile(err.Error())
		if p.Rank == 0 && !p.Served {
			time.Sleep(linger) // the others read why
		}
		base.Close()
		return nil, err
	}
	g.store = base.Prefixed(prefix)
	g.watch = startWatch(own.Prefixed(prefix), p, g.Members, o.Fault)
	if g.control, err = g.Gloo("control", noLimit); err != nil {
		return nil, g.Fail(err)
	}
	return g, nil
}

// openStore serves or reaches the job's store.
func openStore(p Place, o Options) (*torch.Store, error) {
	if p.Rank > 0 || p.Served {
		late := time.AfterFunc(lateNotice, func() {
			o.Notice(fmt.Sprintf("starting: %v does not reach the store at %s:%d yet; it waits for %v", p, p.Host,
				p.Port, o.Patience))
		})
		s, err := torch.ConnectStore(p.Host, p.Port, o.Patience)
		late.Stop()
		if err != nil {
			return nil, inJoin(p, err)
		}
		return s, nil
	}
	s, err := torch.ServeStore(p.Port)
	if err != nil && strings.Contains(err.Error(), "EADDRINUSE") {
		return nil, failure.Inputf("port %d of this host, at which rank 0 serves the store of the job, is taken, by "+
			"another job or by another process that says it is rank 0: set MASTER_PORT, to the same for all", p.Port)
	}
	return s, err
}

// inJoin names the store in errors of reaching it.
func inJoin(p Place, err error) error {
	var e *torch.Error
	if !errors.As(err, &e) || !e.Peers {
		return err
	}
	server := "rank 0"
	if p.Served {
		server = "the launcher"
	}
	return &PeerError{fmt.Sprintf("the store at %s:%d, which %s serves, cannot be reached (%s): check MASTER_ADDR, "+
		"MASTER_PORT and what became of %s", p.Host, p.Port, server, e.Msg, server)}
}

// Gloo connects all processes of the group for collectives, each of which may take as long as timeout. Name is one that
// no other group has; all make it at the same point of their work.
func (g *Group) Gloo(name string, timeout time.Duration) (*torch.Comm, error) {
	return torch.NewGloo(g.store, torch.Gloo{Rank: g.Rank, World: g.World, Name: name + "/", Address: g.address(),
		Connect: connectWithin, Timeout: timeout})
}

// NCCL connects the GPUs of all processes of the group, each its own (see Device), for collectives on a stream beside
// that of other operations. Name is as for Gloo, and connecting may take as long as patience. From then on the watch
// looks after the group: a fault of NCCL's own ends the job, since no collective may ever end after it.
func (g *Group) NCCL(name string, patience time.Duration) (*torch.Comm, error) {
	device, err := g.Device()
	if err != nil {
		return nil, err
	}
	g.Say("connecting GPUs")
	c, err := torch.NewNCCL(g.store, torch.NCCL{Rank: g.Rank, World: g.World, Name: name + "/", Device: device,
		Connect: patience})
	if err != nil {
		return nil, err
	}
	g.watch.look(name, c)
	return c, nil
}

// Device is this process's GPU, among those that it sees, or the CPU if it sees none.
func (g *Group) Device() (torch.Device, error) {
	engine, err := torch.Open()
	if err != nil || engine.CUDADevices == 0 {
		return torch.CPU, err
	}
	card, err := g.Card(engine.CUDADevices)
	return torch.Device(card), err
}

// address is where the others reach this host. On the host of the store the way there is within the host, which says
// nothing to others: there it is the way to one of them.
func (g *Group) address() string {
	mine := g.Members[g.Rank].Address
	if inside(mine) {
		for _, m := range g.Members {
			if m.Address != "" && !inside(m.Address) {
				if outward, err := torch.LocalAddress(m.Address, g.Port); err == nil {
					return outward
				}
			}
		}
	}
	return mine
}

func inside(address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && a.IsLoopback()
}

// Say tells the others what this rank is doing, to be named by if it is not heard of again.
func (g *Group) Say(word string) {
	if g.watch != nil {
		g.watch.word.Store(word)
	}
}

// Expect says that this rank will be done with what it does within a time; if it is not, all end. 0 takes that back.
func (g *Group) Expect(within time.Duration) {
	switch {
	case g.watch == nil:
	case within == 0:
		g.watch.due.Store(0)
	default:
		g.watch.due.Store(time.Now().Add(within).UnixNano())
	}
}

// Fail ends the job because this rank cannot go on, and returns the error that its process ends with. If what failed is
// a collective, another rank is the cause: the watch will say which, and then Options.Fault is called.
func (g *Group) Fail(err error) error {
	if g.watch == nil || err == nil {
		return err
	}
	var peer *PeerError
	if errors.As(err, &peer) { // the rank that it names tells all
		writeErrorFile(peer.Why)
		g.watch.over.Store(true)
		g.watch.linger()
		return err
	}
	var collective *torch.Error
	if !errors.As(err, &collective) || !collective.Peers {
		own := fmt.Sprintf("%s: %v", g.watch.name(g.Rank), err)
		g.watch.over.Store(true)
		g.watch.tell(own)
		writeErrorFile(own)
		g.watch.linger()
		return err
	}
	if !timedOut(collective) { // otherwise all live, and one is behind
		select {
		case <-g.watch.ended:
			g.watch.linger()
			return &PeerError{g.watch.why} // Options.Fault gets the same, and may be first
		case <-time.After(hearWhy):
		}
	}
	why := g.watch.tell(fmt.Sprintf("%s: %v; where all are: %s", g.watch.name(g.Rank), err, g.watch.words()))
	g.watch.over.Store(true)
	writeErrorFile(why)
	g.watch.linger()
	return &PeerError{why}
}

func timedOut(e *torch.Error) bool {
	text := strings.ToLower(e.Msg)
	return strings.Contains(text, "timed out") || strings.Contains(text, "timeout")
}

// Leave ends the job once all have come to its end. Without it a rank that is done first would be missed by the others,
// and the store would go with rank 0.
func (g *Group) Leave() error {
	if g.watch == nil {
		return nil
	}
	g.Say("done")
	barrier := func(*torch.Scope) { g.control.Barrier().Wait() }
	if err := torch.Do(barrier); err != nil {
		return g.Fail(err)
	}
	g.watch.stop()
	through := make(chan error, 1)
	go func() { through <- torch.Do(barrier) }() // nobody watches any more: now the store may go
	select {
	case err := <-through:
		if err == nil {
			g.control.Close()
		}
	case <-time.After(goodbye):
	}
	g.store.Close()
	return nil
}
