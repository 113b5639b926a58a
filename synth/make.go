package synth

import (
	"context"
	"fmt"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/chat"
)

// trial is how many requests of each kind go first. If half of them are of no use, the rest would be no better.
const trial = 10

// Observer is told how a run goes.
type Observer interface {
	Say(text string)  // what the user should know; quoted where it repeats what was received
	Progress(p State) // after each answer
}

// State is how far a run is.
type State struct {
	Rows, Target int            // accepted, and wanted
	Asked        int            // requests with an answer that counts
	Rejected     map[string]int // by reason
	Spent        chat.Cost
	Rate         float64 // rows a second since the start
}

// Make asks for answers until each kind has its rows or no scene is left. unchecked goes on even if the first answers
// are of no use. The error is the context's, or one of chat.Client.Run; whatever it is, all answers are kept.
func (r *Run) Make(ctx context.Context, client *chat.Client, unchecked bool, o Observer) error {
	m := r.maker(client, o)
	m.unchecked = unchecked || client.Summary().Answers > trial*len(r.kinds)
	err := client.Run(ctx, m.next, m.done)
	if m.stop != nil {
		return m.stop
	}
	if err == nil {
		m.tellShort()
	}
	return err
}

// WriteBatches writes the open requests as batch files into a folder, as many as rows are missing.
func (r *Run) WriteBatches(client *chat.Client, folder string, o Observer) (files []string, err error) {
	m := r.maker(client, o)
	m.unchecked = true
	files, err = client.BatchOut(folder, m.next, m.done)
	if m.stop != nil {
		return files, m.stop
	}
	return files, err
}

// making is the state of one kind while it is asked for.
type making struct {
	*candidates
	rows     answer.Rows
	asked    int // requests so far
	open     int // of them, those without an outcome yet
	accepted int // different rows
	rejected map[string]int
	empty    bool // there is no scene left
}

// maker hands requests to the client and reads the answers. The client calls it from one goroutine.
type maker struct {
	client    *chat.Client
	kinds     []*making
	asked     map[string]*making // the kind of each request under way
	unchecked bool               // whether the trial counts
	stop      error
	observer  Observer
	began     time.Time
	fresh     int // rows since then
}

func (r *Run) maker(client *chat.Client, o Observer) *maker {
	m := &maker{client: client, asked: map[string]*making{}, observer: o, began: time.Now()}
	for _, k := range r.kinds {
		m.kinds = append(m.kinds, &making{candidates: r.candidates(k), rejected: map[string]int{}})
	}
	return m
}

// tellShort says which kinds have fewer rows than they should, although every scene was asked about.
func (m *maker) tellShort() {
	for _, k := range m.kinds {
		if k.empty && k.open == 0 && k.accepted < k.target {
			m.observer.Say(fmt.Sprintf("%s: %d of %d rows, and all scenes were asked about (answers of no use: %s)",
				k.name,
				k.accepted, k.target, listed(k.rejected)))
		}
	}
}

// next is the request that is asked next: of the kind that is furthest behind.
func (m *maker) next() (chat.Request, bool) {
	for m.stop == nil {
		k := m.furthestBehind()
		if k == nil {
			break
		}
		one, ok, err := k.take()
		if err != nil {
			m.stop = err
			break
		}
		if !ok {
			k.empty = true
			continue
		}
		if one.skip != "" {
			continue
		}
		k.asked++
		k.open++
		m.asked[one.request.Key] = k
		return one.request, true
	}
	return chat.Request{}, false
}

// furthestBehind is the kind that has asked for the smallest part of its rows, of those that need more requests; nil if
// none does now.
func (m *maker) furthestBehind() (least *making) {
	tried := m.tried()
	for _, k := range m.kinds {
		needs := !k.empty && k.accepted+k.open < k.target && (tried || k.asked < trial)
		if needs && (least == nil || k.asked*least.target < least.asked*k.target) {
			least = k
		}
	}
	return least
}

// tried says whether the first requests of each kind have their outcomes, and ends the run if these are bad.
func (m *maker) tried() bool {
	if m.unchecked {
		return true
	}
	for _, k := range m.kinds {
		if settled := k.asked - k.open; settled < trial && (k.open > 0 || !k.empty && k.accepted < k.target) {
			return false
		}
	}
	for _, k := range m.kinds {
		if k.accepted*2 < min(k.asked, trial) && m.stop == nil {
			m.stop = failure.Inputf("of the first %d answers for %s %d are of use (the others: %s); rejected.jsonl "+
				"shows them. Look at the prompts and the model; --yes goes on all the same", k.asked, k.name,
				k.accepted,
				listed(k.rejected))
		}
	}
	m.unchecked = true
	return m.stop == nil
}

// done reads an answer.
func (m *maker) done(a chat.Answer) chat.Verdict {
	k := m.asked[a.Key]
	switch a.Outcome {
	case chat.Waiting:
		return chat.Done // it stays open: what it will be is not known
	case chat.Failed:
		k.settle("failed")
	default:
		worth := k.verdict(a)
		switch {
		case worth.Outcome == answer.Retry && !a.Last:
			return chat.Again
		case worth.Outcome != answer.Accept:
			k.settle(worth.Reason)
		case !k.rows.Add(k.name, worth.Turns):
			k.settle(answer.Duplicate)
		default:
			k.open--
			k.accepted++
			if !a.Recorded {
				m.fresh++
			}
		}
	}
	delete(m.asked, a.Key)
	m.observer.Progress(m.state())
	return chat.Done
}

func (k *making) settle(reason string) {
	k.open--
	k.rejected[reason]++
}

func (m *maker) state() State {
	s := State{Rejected: map[string]int{}, Spent: m.client.Summary().Spent}
	for _, k := range m.kinds {
		s.Rows += k.accepted
		s.Target += k.target
		s.Asked += k.asked - k.open
		for reason, n := range k.rejected {
			s.Rejected[reason] += n
		}
	}
	if passed := time.Since(m.began).Seconds(); passed > 0 {
		s.Rate = float64(m.fresh) / passed
	}
	return s
}

// String is what became of the answers, in one line. How many rows there are is shown beside it.
func (s State) String() string {
	rejected := 0
	for _, n := range s.Rejected {
		rejected += n
	}
	text := fmt.Sprintf("%d rejected", rejected)
	if rejected > 0 {
		most := byCount(s.Rejected)[0]
		text += fmt.Sprintf(" (%d %s)", s.Rejected[most], most)
	}
	return text
}
