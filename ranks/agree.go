package ranks

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Notice is what a rank tells the others before they go on. Small ones take one exchange of noticeSize bytes.
type Notice struct {
	Stop   bool          `json:"stop,omitempty"`   // it was asked to stop after this step
	Failed string        `json:"failed,omitempty"` // why it cannot go on
	Counts []int64       `json:"counts,omitempty"` // what the caller counts: rows, tokens
	Took   time.Duration `json:"took,omitempty"`   // to come here
}

const (
	noticeSize = 256
	headSize   = 12 // of it: the step and the notice's length
)

// waitNotice is how often rank 0 says whom it waits for. (A variable, for tests.)
var waitNotice = time.Minute

// Agree tells the others mine, and returns what each rank tells, by rank. It waits for all, as long as they live. All
// must be at the same step.
func (g *Group) Agree(step int64, mine Notice) ([]Notice, error) {
	if g.watch == nil {
		return []Notice{mine}, nil
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, err
	}
	g.Say(waitingAt(step))
	stop := g.tellWhoIsLate(step)
	defer stop()
	texts, err := g.exchange(step, text)
	if err != nil {
		return nil, err
	}
	notices := make([]Notice, g.World)
	for rank, text := range texts {
		if err := json.Unmarshal(text, &notices[rank]); err != nil {
			return nil, fmt.Errorf("the notice of rank %d (%s) at step %d: %w", rank, g.Members[rank], step, err)
		}
	}
	return notices, nil
}

func waitingAt(step int64) string { return fmt.Sprintf("step %d, waiting for the others", step) }

// exchange is every rank's text. One that does not fit beside the head is sent again, whole.
func (g *Group) exchange(step int64, text []byte) ([][]byte, error) {
	head := binary.LittleEndian.AppendUint64(nil, uint64(step))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(text)))
	all, err := g.gather(append(head, text...), noticeSize)
	if err != nil {
		return nil, err
	}
	longest, lengths := 0, make([]int, g.World)
	for rank, one := range all {
		if other := int64(binary.LittleEndian.Uint64(one)); other != step {
			return nil, fmt.Errorf("rank %d (%s) is at step %d and rank %d at step %d", rank, g.Members[rank], other,
				g.Rank, step)
		}
		lengths[rank] = int(binary.LittleEndian.Uint32(one[8:]))
		longest = max(longest, lengths[rank])
	}
	first := headSize
	if headSize+longest > noticeSize {
		first = 0
		if all, err = g.gather(text, longest); err != nil {
			return nil, err
		}
	}
	for rank := range all {
		all[rank] = all[rank][first : first+lengths[rank]]
	}
	return all, nil
}

// gather is the first size bytes of every rank's data, padded with zeros.
func (g *Group) gather(data []byte, size int) ([][]byte, error) {
	padded := make([]byte, size)
	copy(padded, data)
	var list [][]byte
	err := torch.Do(func(s *torch.Scope) {
		mine := torch.From(s, padded, []int64{int64(size)}, torch.CPU)
		all := torch.Empty(s, []int64{int64(size * g.World)}, torch.Uint8, torch.CPU)
		g.control.AllGather(all, mine).Wait()
		together := torch.Read[uint8](all)
		for rank := range g.World {
			list = append(list, together[rank*size:(rank+1)*size])
		}
	})
	return list, err
}

// tellWhoIsLate lets rank 0 say whom it waits for, once in a while, until the returned function is called.
func (g *Group) tellWhoIsLate(step int64) (stop func()) {
	if g.Rank != 0 {
		return func() {}
	}
	over := make(chan struct{})
	go func() {
		every := time.NewTicker(waitNotice)
		defer every.Stop()
		for {
			select {
			case <-over:
				return
			case <-every.C:
				if late := g.late(step); late != "" {
					g.notice("waiting for " + late)
				}
			}
		}
	}()
	return func() { close(over) }
}

// late lists the ranks that are not yet waiting at a step, and what they do.
func (g *Group) late(step int64) string {
	var list []string
	for rank := range g.World {
		beat, _, err := g.watch.store.Look(beatKey(rank))
		_, word, _ := strings.Cut(beat, " ")
		if err == nil && word != waitingAt(step) {
			list = append(list, fmt.Sprintf("rank %d (%s): %s", rank, g.Members[rank].Host, word))
		}
	}
	return strings.Join(list, "; ")
}
