package ranks

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Fact is something that must be the same in all processes of a job: the recipe, by its digest.
type Fact struct{ Name, Value string }

// Member is what a process says of itself when it joins.
type Member struct {
	Nonce   string // of this process alone
	Host    string
	PID     int
	Address string // from which its host reaches the store's
	Facts   []Fact
}

func (m Member) String() string { return fmt.Sprintf("%s, process %d", m.Host, m.PID) }

// world is of how many processes the member says it is one.
func (m Member) world() string {
	if len(m.Facts) == 0 {
		return "?"
	}
	return m.Facts[0].Value
}

// newMember describes this process.
func newMember(p Place, facts []Fact) Member {
	nonce := make([]byte, 8)
	_, _ = rand.Read(nonce) // it cannot fail
	m := Member{Nonce: hex.EncodeToString(nonce), PID: os.Getpid(),
		Facts: append([]Fact{{"number of processes", fmt.Sprint(p.World)}}, facts...)}
	m.Host, _ = os.Hostname()
	m.Address, _ = torch.LocalAddress(p.Host, p.Port) // without one, connecting to the store says why
	return m
}

// Facts are those of every command: the program, by its bytes, and the engine.
func Facts() ([]Fact, error) {
	engine, err := torch.Open()
	if err != nil {
		return nil, err
	}
	binary, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer binary.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, binary); err != nil {
		return nil, err
	}
	return []Fact{{"program", hex.EncodeToString(digest.Sum(nil)[:8])}, {"libtorch", engine.Version}}, nil
}

// differing says whose facts are not rank 0's, "" if all agree.
func differing(members []Member) string {
	for rank, m := range members {
		for i, fact := range members[0].Facts {
			other := Fact{fact.Name, "nothing"}
			if i < len(m.Facts) {
				other = m.Facts[i]
			}
			if other != fact {
				return fmt.Sprintf("rank %d (%s) and rank 0 (%s) differ in the %s: %s and %s; start all with the same",
					rank, m, members[0], fact.Name, other.Value, fact.Value)
			}
		}
	}
	return ""
}
