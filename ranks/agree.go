package ranks

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Notice is what a rank tells the others before they go on. Small ones take one exchange of noticeSize bytes.
type Notice struct {
	Stop   bool            `json:"stop,omitempty"`   // it was asked to stop after this step
	Failed string          `json:"failed,omitempty"` // why it cannot go on
	Took   time.Duration   `json:"took,omitempty"`   // to come here
	Text   json.RawMessage `json:"text,omitempty"`   // the caller's own
}

const (
	noticeSize = 256
	headSize   = 12 // of it: a hash of where the rank is, and the notice's length
)

// waitNotice is how often rank 0 says whom it waits for. (A variable, for tests.)
var waitNotice = time.Minute

// Agree tells the others mine, and returns what each rank tells, by rank. It waits for all, as long as they live. All
// must be at the same point of their work, which at names. If another rank has failed, Agree returns a *PeerError
// that says why.
func (g *Group) Agree(at string, mine Notice) ([]Notice, error) {
	if g.watch == nil {
		return []Notice{mine}, nil
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, err
	}
	g.Say(waitingAt(at))
	stop := g.tellWhoIsLate(at)
	defer stop()
	texts, err := g.exchange(at, text)
	if err != nil {
		return nil, err
	}
	notices := make([]Notice, g.World)
	for rank, text := range texts {
		if err := json.Unmarshal(text, &notices[rank]); err != nil {
			return nil, fmt.Errorf("the notice of rank %d (%s) at %s: %w", rank, g.Members[rank], at, err)
		}
	}
	for rank, notice := range notices {
		if notice.Failed != "" && rank != g.Rank {
			return nil, &PeerError{fmt.Sprintf("%s: %s", g.watch.name(rank), notice.Failed)}
		}
	}
	return notices, nil
}

func waitingAt(at string) string { return at + ", waiting for the others" }

// exchange is every rank's text. One that does not fit beside the head is sent again, whole.
func (g *Group) exchange(at string, text []byte) ([][]byte, error) {
	point := fnv.New64a()
	point.Write([]byte(at))
	head := binary.LittleEndian.AppendUint64(nil, point.Sum64())
	head = binary.LittleEndian.AppendUint32(head, uint32(len(text)))
	all, err := g.gather(append(head, text...), noticeSize)
	if err != nil {
		return nil, err
	}
	longest, lengths := 0, make([]int, g.World)
	for rank, one := range all {
		if binary.LittleEndian.Uint64(one) != point.Sum64() {
			return nil, fmt.Errorf("rank %d (%s) is at another point than rank %d, which is at %s: %s", rank,
				g.Members[rank], g.Rank, at, g.watch.words())
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
func (g *Group) tellWhoIsLate(at string) (stop func()) {
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
				if late := g.late(at); late != "" {
					g.notice("waiting for " + late)
				}
			}
		}
	}()
	return func() { close(over) }
}

// late lists the ranks that are not yet waiting at a point, and what they do.
func (g *Group) late(at string) string {
	var list []string
	for rank := range g.World {
		beat, _, err := g.watch.store.Look(beatKey(rank))
		_, word, _ := strings.Cut(beat, " ")
		if err == nil && word != waitingAt(at) {
			list = append(list, fmt.Sprintf("rank %d (%s): %s", rank, g.Members[rank].Host, word))
		}
	}
	return strings.Join(list, "; ")
}
