package ranks

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

const (
	beatEvery = 500 * time.Millisecond
	silence   = 5 * time.Second // without a beat, after which a rank is gone
	hearWhy   = 2 * silence     // for the watch to name the rank because of which collectives fail
	linger    = 3 * beatEvery   // of the store's host, so that the others read why
	faultKey  = "fault"
)

// watch tells the others that this rank lives, and sees when another does not. Each rank watches the next one, so that
// the store's work grows with their number; what one sees, all read. It has a connection and a goroutine of its own,
// for the one that trains may be inside a collective.
type watch struct {
	store   *torch.Store
	place   Place
	members []Member
	fault   func(error)

	word  atomic.Value  // a string: what this rank is doing
	due   atomic.Int64  // when it should be done with that, in nanoseconds since 1970; 0: nobody knows
	comms commList      // of NCCL
	over  atomic.Bool   // nothing more is said or believed
	ended chan struct{} // closed once this rank ends because of another, before fault is called
	why   string        // it does; written before
	done  chan struct{} // closed when the goroutine is through
}

// startWatch starts a watch over a connection that no one else uses.
func startWatch(own *torch.Store, p Place, members []Member, fault func(error)) *watch {
	w := &watch{store: own, place: p, members: members, fault: fault, ended: make(chan struct{}),
		done: make(chan struct{})}
	w.word.Store("starting")
	go w.run()
	return w
}

func beatKey(rank int) string { return fmt.Sprintf("beat/%d", rank) }

// name is a rank as messages name it.
func (w *watch) name(rank int) string { return fmt.Sprintf("rank %d (%s)", rank, w.members[rank]) }

func (w *watch) run() {
	defer close(w.done)
	next := (w.place.Rank + 1) % w.place.World
	heard, silent, last := "", time.Duration(0), time.Now()
	for n := 0; !w.over.Load(); n++ {
		fault, beat, err := w.round(n, next)
		// A process that was itself stopped has not listened meanwhile, and accuses nobody of it.
		silent += min(time.Since(last), 2*beatEvery)
		last = time.Now()
		if beat != heard {
			heard, silent = beat, 0
		}
		switch {
		case w.over.Load():
		case err != nil:
			w.end(fmt.Sprintf("the store at %s:%d, which %s serves, is gone: %v", w.place.Host, w.place.Port,
				w.storeHost(), reason(err)))
		case fault != "":
			w.end(fault)
		case w.overdue():
			w.end(w.tell(fmt.Sprintf("%s takes far longer than usual; where all are: %s", w.name(w.place.Rank),
				w.words())))
		case silent > silence:
			_, word, _ := strings.Cut(heard, " ")
			claimed, err := w.store.CompareSet(faultKey, "", fmt.Sprintf("%s has not been heard of for %.1f s; "+
				"it was at: %s", w.name(next), silent.Seconds(), word))
			if err == nil { // else the next round meets it
				w.end(claimed)
			}
		default:
			if why := w.comms.broken(); why != "" {
				w.end(w.tell(fmt.Sprintf("%s: %s; where all are: %s", w.name(w.place.Rank), why, w.words())))
				return
			}
			time.Sleep(beatEvery)
		}
	}
}

// overdue says whether this rank takes longer than it said it would.
func (w *watch) overdue() bool {
	due := w.due.Load()
	return due != 0 && time.Now().UnixNano() > due
}

// look makes the watch ask a group over NCCL for faults.
func (w *watch) look(name string, c *torch.Comm) {
	w.comms.turn.Lock()
	defer w.comms.turn.Unlock()
	w.comms.list = append(w.comms.list, watched{name: name, comm: c})
}

// commList is groups whose engine has threads of its own, which fail without a word to a call.
type commList struct {
	turn sync.Mutex
	list []watched
}

type watched struct {
	name  string
	comm  *torch.Comm
	since time.Time // when it was seen to have failed
}

// broken is what has failed. It waits until the others have had the time to name a cause: if a rank is gone, the
// connections of all fail, and say nothing about it.
func (c *commList) broken() string {
	c.turn.Lock()
	defer c.turn.Unlock()
	for i := range c.list {
		w := &c.list[i]
		err := w.comm.AsyncError()
		if err == nil {
			continue
		}
		if w.since.IsZero() {
			w.since = time.Now()
		}
		if time.Since(w.since) >= hearWhy {
			return fmt.Sprintf("NCCL's group %q has failed: %s", w.name, reason(err))
		}
	}
	return ""
}

// round says that this rank lives, and reads what it must know.
func (w *watch) round(n, next int) (fault, beat string, err error) {
	if err := w.store.Set(beatKey(w.place.Rank), fmt.Sprintf("%d %s", n, w.word.Load())); err != nil {
		return "", "", err
	}
	if fault, _, err = w.store.Look(faultKey); err != nil || fault != "" {
		return fault, "", err
	}
	beat, _, err = w.store.Look(beatKey(next))
	return "", beat, err
}

func (w *watch) storeHost() string {
	if w.place.Served {
		return "the launcher"
	}
	return w.name(0)
}

// end ends this rank because of another.
func (w *watch) end(why string) {
	if w.over.Swap(true) {
		return
	}
	writeErrorFile(why)
	w.why = why
	close(w.ended)
	w.linger()
	w.fault(&PeerError{why})
}

// tell makes all end because of this rank, and returns what they end by: something else if that came first.
func (w *watch) tell(why string) string {
	if claimed, err := w.store.CompareSet(faultKey, "", why); err == nil {
		why = claimed
	}
	return why
}

// linger lets the others read what this rank knows where the store ends with it.
func (w *watch) linger() {
	if w.place.Rank == 0 && !w.place.Served {
		time.Sleep(linger)
	}
}

// words are what all ranks said last.
func (w *watch) words() string {
	var list []string
	for rank := range w.place.World {
		beat, _, err := w.store.Look(beatKey(rank))
		if err != nil {
			return err.Error()
		}
		_, word, _ := strings.Cut(beat, " ")
		list = append(list, fmt.Sprintf("rank %d: %s", rank, word))
	}
	return strings.Join(list, "; ")
}

// stop ends the watch without a fault.
func (w *watch) stop() {
	w.over.Store(true)
	select {
	case <-w.done:
		w.store.Close()
	case <-time.After(silence):
	}
}
