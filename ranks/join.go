package ranks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

const (
	firstPause = 20 * time.Millisecond // between two looks at the store while joining; it grows to
	longPause  = 250 * time.Millisecond
	clashGrace = 2 * time.Second // in which a process whose rank another one has tells it to all
)

// lateNotice is between two lines about who has not come. (A variable, for tests.)
var lateNotice = 30 * time.Second

// joining is a process on its way into a group.
//
// The store may hold keys of an earlier start: torchrun's agent keeps it over restarts, and its count of restarts
// differs between hosts. So each process lays down a card with a number of its own; rank 0 lists the cards that it
// sees, again whenever one changes; a process answers a list that has its own number, which no dead one can; when all
// have answered one list, its hash names the group, and no key of another start has that prefix.
type joining struct {
	store    *torch.Store
	place    Place
	me       Member
	patience time.Duration
	notice   func(string)

	answered string    // the list that this process has answered last
	clash    string    // what is wrong if another process has this one's rank
	since    time.Time // when that was seen
}

func cardKey(rank int) string                { return fmt.Sprintf("card/%d", rank) }
func answerKey(list string, rank int) string { return fmt.Sprintf("answer/%s/%d", list, rank) }
func goKey(list string) string               { return "go/" + list }
func refusedKey(nonce string) string         { return "refused/" + nonce } // said to rank 0, by its own number
func overKey(nonce string) string            { return "over/" + nonce }    // said by rank 0, to each by its own

// join returns the prefix of keys that only this group has, and who is in it.
func (j *joining) join() (prefix string, members []Member, err error) {
	card, err := json.Marshal(j.me)
	if err == nil {
		err = j.store.Set(cardKey(j.place.Rank), string(card))
	}
	if err != nil {
		return "", nil, err
	}
	began, pause, told := time.Now(), firstPause, time.Now()
	for {
		list, members, err := j.look()
		if err != nil || members != nil {
			return list + "/", members, err
		}
		if time.Since(began) >= j.patience {
			return "", nil, j.refuse(j.missing())
		}
		if j.place.Rank == 0 && time.Since(told) >= lateNotice {
			j.notice("starting: " + j.missing())
			told = time.Now()
		}
		time.Sleep(pause)
		pause = min(pause*3/2, longPause)
	}
}

// look takes one look at the store, and does what it asks of this process. members is nil until all have answered.
func (j *joining) look() (list string, members []Member, err error) {
	if err := j.standing(); err != nil {
		return "", nil, err
	}
	if j.place.Rank == 0 {
		if err := j.publish(); err != nil {
			return "", nil, err
		}
	}
	text, _, err := j.store.Look("cards")
	if err != nil {
		return "", nil, err
	}
	members = parseMembers(text)
	if len(members) != j.place.World || members[j.place.Rank].Nonce != j.me.Nonce {
		return "", nil, nil
	}
	list = listName(text)
	if j.answered != list {
		if err := j.store.Set(answerKey(list, j.place.Rank), "yes"); err != nil {
			return "", nil, err
		}
		j.answered = list
	}
	if complete, err := j.complete(list); err != nil || !complete {
		return "", nil, err
	}
	if why := differing(members); why != "" {
		return "", nil, &PeerError{why}
	}
	return list, members, nil
}

// standing is an error if this start has been refused, or another process has this one's rank.
func (j *joining) standing() error {
	why, over, err := j.store.Look(overKey(j.me.Nonce))
	if err == nil && !over && j.place.Rank == 0 {
		if why, over, err = j.store.Look(refusedKey(j.me.Nonce)); over {
			j.tellAll(why)
		}
	}
	if err != nil {
		return err
	}
	if over {
		return &PeerError{why}
	}
	holder, there, err := j.member(j.place.Rank)
	if err != nil || there && holder.Nonce == j.me.Nonce {
		return err
	}
	if j.clash == "" {
		j.clash = fmt.Sprintf("two processes say that they are rank %d: %s and %s; give each a rank of its own",
			j.place.Rank, j.me, holder)
		j.since = time.Now()
	}
	if time.Since(j.since) >= clashGrace {
		return j.refuse(j.clash)
	}
	return nil
}

// refuse tells all why this start cannot be, by way of rank 0, and returns the error. Whose card is still that of an
// earlier start does not hear of it, and need not.
func (j *joining) refuse(why string) error {
	if j.place.Rank == 0 {
		j.tellAll(why)
	} else if first, there, err := j.member(0); err == nil && there {
		_ = j.store.Set(refusedKey(first.Nonce), why) // else they find it out by themselves
	}
	return &PeerError{why}
}

func (j *joining) tellAll(why string) {
	for rank := range j.place.World {
		if m, there, err := j.member(rank); err == nil && there {
			_ = j.store.Set(overKey(m.Nonce), why) // as above
		}
	}
}

// member is the process that laid down the card of a rank last.
func (j *joining) member(rank int) (m Member, there bool, err error) {
	text, there, err := j.store.Look(cardKey(rank))
	if err == nil && there {
		there = json.Unmarshal([]byte(text), &m) == nil // what is no card is none
	}
	return m, there, err
}

// listName is the hash of a list, by which keys name it.
func listName(text string) string {
	hash := sha256.Sum256([]byte(text))
	return hex.EncodeToString(hash[:8])
}

func parseMembers(text string) (members []Member) {
	if json.Unmarshal([]byte(text), &members) != nil {
		return nil
	}
	return members
}

// publish lists the cards once all are there, and again if one has changed.
func (j *joining) publish() error {
	cards := make([]json.RawMessage, j.place.World)
	for rank := range cards {
		text, there, err := j.store.Look(cardKey(rank))
		if err != nil || !there || !json.Valid([]byte(text)) {
			return err
		}
		cards[rank] = json.RawMessage(text)
	}
	list, err := json.Marshal(cards)
	if err != nil {
		return err
	}
	if now, _, err := j.store.Look("cards"); err != nil || now == string(list) {
		return err
	}
	return j.store.Set("cards", string(list))
}

// complete says whether all have answered a list: rank 0 counts, the others wait for its word.
func (j *joining) complete(list string) (bool, error) {
	if j.place.Rank > 0 {
		_, there, err := j.store.Look(goKey(list))
		return there, err
	}
	for rank := range j.place.World {
		if _, there, err := j.store.Look(answerKey(list, rank)); err != nil || !there {
			return false, err
		}
	}
	return true, j.store.Set(goKey(list), "go")
}

// missing says why the group is not complete, as far as this process can see.
func (j *joining) missing() string {
	var absent, silent []string
	var last Member
	for rank := range j.place.World {
		m, there, err := j.member(rank)
		switch {
		case err != nil:
			return err.Error()
		case !there:
			absent = append(absent, fmt.Sprint(rank))
			continue
		case rank == 0 && j.place.Rank > 0 && m.world() != j.me.world():
			return fmt.Sprintf("rank 0 (%s) is one of %s processes, and rank %d (%s) one of %s: start all with the "+
				"same number", m, m.world(), j.place.Rank, j.me, j.me.world())
		}
		text, _, err := j.store.Look("cards")
		if err != nil {
			return err.Error()
		}
		if _, answered, err := j.store.Look(answerKey(listName(text), rank)); err == nil && !answered {
			silent, last = append(silent, fmt.Sprint(rank)), m
		}
	}
	switch {
	case j.clash != "":
		return j.clash
	case len(absent) > 0:
		return fmt.Sprintf("of %d processes rank %s never came; look at its output, or at whether it was started",
			j.place.World, strings.Join(absent, ", "))
	case len(silent) > 0:
		return fmt.Sprintf("of %d processes rank %s (%s) came, but does not answer", j.place.World,
			strings.Join(silent, ", "), last)
	}
	return fmt.Sprintf("%d processes came and do not agree on who they are", j.place.World)
}
