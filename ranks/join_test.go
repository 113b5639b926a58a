package ranks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

func TestProcessAloneIsAGroup(t *testing.T) {
	g, err := Join(Place{World: 1, Locals: 1}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	g.Say("working")
	all, err := g.Agree("step 1", Notice{Took: 3})
	if err != nil || len(all) != 1 || all[0].Took != 3 {
		t.Errorf("%v, %v", all, err)
	}
	own := fmt.Errorf("its own")
	if g.Fail(own) != own || g.Fail(nil) != nil || g.Leave() != nil || len(g.Members) != 1 {
		t.Error("a process alone ends otherwise than by its own error")
	}
}

// sums compares collectives with sums that each rank computes alone.
func sums(g *Group) error {
	data, err := g.Gloo("data", time.Minute)
	if err != nil {
		return err
	}
	defer data.Close()
	const n = 1000
	value := func(i, rank int) float32 { return float32((i*31+rank*17)%64) - 20 }
	return torch.Do(func(s *torch.Scope) {
		mine, want := make([]float32, n*g.World), make([]float32, n*g.World)
		for i := range mine {
			mine[i] = value(i, g.Rank)
			for rank := range g.World {
				want[i] += value(i, rank)
			}
		}
		whole := torch.From(s, mine, []int64{int64(len(mine))}, torch.CPU)
		part := torch.Empty(s, []int64{n}, torch.Float32, torch.CPU)
		all := torch.Empty(s, []int64{int64(len(mine))}, torch.Float32, torch.CPU)
		data.ReduceScatter(part, whole).Wait()
		data.AllGather(all, part).Wait()
		data.AllReduce(whole).Wait()
		data.Broadcast(part, g.World-1).Wait()
		last := torch.Read[float32](part)
		for i, x := range torch.Read[float32](whole) {
			if y := torch.Read[float32](all)[i]; x != want[i] || y != want[i] {
				panic(&torch.Error{Op: "sums", Msg: fmt.Sprintf("element %d: %v and %v, want %v", i, x, y, want[i])})
			}
		}
		for i, x := range last {
			if x != want[(g.World-1)*n+i] {
				panic(&torch.Error{Op: "sums", Msg: fmt.Sprintf("broadcast element %d: %v", i, x)})
			}
		}
	})
}

func TestCollectivesEqualSumsComputedAlone(t *testing.T) {
	for world := 2; world <= 4; world++ {
		for rank, p := range startAll(t, "sums", world, freePort(t)) {
			p.ends(t, fmt.Sprintf("rank %d of %d", rank, world), 0, "left")
		}
	}
}

// A store that outlives the processes, as torchrun's does, makes no difference to a later start: not after a run, not
// after one that was killed, not after one that never came together; and not if its processes start in any order.
func TestJoinAfterRestarts(t *testing.T) {
	t.Parallel()
	store, served := agent(t)
	for rank, p := range startAll(t, "leave", 3, store.Port(), served) {
		p.ends(t, fmt.Sprintf("first start, rank %d", rank), 0)
	}
	killed := startAll(t, "work", 3, store.Port(), served, "TEST_FAULT=1 killed")
	for rank, code := range []int{6, 137, 6} {
		killed[rank].ends(t, fmt.Sprintf("killed start, rank %d", rank), code)
	}
	early := []*process{start(t, "leave", 1, 3, store.Port(), served), start(t, "leave", 2, 3, store.Port(), served)}
	time.Sleep(2 * time.Second) // they see what the starts before have left
	for _, p := range append(early, start(t, "leave", 0, 3, store.Port(), served)) {
		p.ends(t, "restart", 0)
	}
	lonely := start(t, "leave", 0, 3, store.Port(), served, "TEST_PATIENCE=1s")
	lonely.ends(t, "rank 0 with two who have gone", 6, "rank 1, 2 (", "came, but does not answer")
	for _, p := range startAll(t, "leave", 3, store.Port(), served) {
		p.ends(t, "restart after a start that failed", 0)
	}
}

func TestJoinWaitsForALateRank(t *testing.T) {
	t.Parallel()
	for _, late := range []int{0, 2} { // rank 0 serves the store
		port := freePort(t)
		var all []*process
		for rank := range 3 {
			if rank != late {
				all = append(all, start(t, "leave", rank, 3, port))
			}
		}
		time.Sleep(3 * time.Second)
		for _, p := range append(all, start(t, "leave", late, 3, port)) {
			p.ends(t, fmt.Sprintf("with rank %d late", late), 0, "left")
		}
	}
}

func TestJoinNamesWhoNeverCame(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	report := filepath.Join(t.TempDir(), "error.json")
	for _, p := range []*process{start(t, "leave", 0, 3, port, "TEST_PATIENCE=3s", "TORCHELASTIC_ERROR_FILE="+report),
		start(t, "leave", 1, 3, port)} {
		p.ends(t, "one of two", 6, "of 3 processes rank 2 never came")
	}
	text, err := os.ReadFile(report)
	if err != nil || !strings.Contains(string(text), `"message":"of 3 processes rank 2`) {
		t.Errorf("torchrun is told %s, %v", text, err)
	}
	began := time.Now()
	start(t, "leave", 1, 3, freePort(t), "TEST_PATIENCE=3s", "TEST_LATE=200ms").ends(t, "without a store", 6,
		"starting: rank 1 of 3 does not reach the store at 127.0.0.1:", "yet; it waits for 3s",
		"which rank 0 serves, cannot be reached", "check MASTER_ADDR")
	t.Logf("a store that is not there: %.1f s with a patience of 1 s", time.Since(began).Seconds())
}

func TestJoinNamesWhoCameTwice(t *testing.T) {
	t.Parallel()
	store, served := agent(t)
	began := time.Now()
	for _, rank := range []int{0, 1, 1} {
		defer func(p *process) {
			p.ends(t, "one of three", 6, "two processes say that they are rank 1")
			t.Logf("rank 1 twice: %.1f s", p.after.Sub(began).Seconds())
		}(start(t, "leave", rank, 3, store.Port(), served))
	}

	port := freePort(t)
	first := start(t, "leave", 0, 2, port, "TEST_PATIENCE=20s")
	for { // until it serves
		if s, err := torch.ConnectStore("127.0.0.1", port, long); err == nil {
			s.Close()
			break
		}
	}
	start(t, "leave", 0, 2, port).ends(t, "the second rank 0", 2, "is taken", "set MASTER_PORT")
	start(t, "leave", 1, 2, port).ends(t, "rank 1", 0)
	first.ends(t, "the first rank 0", 0)
}

func TestJoinNamesWhoDiffers(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	for rank, recipe := range []string{"abc", "abc", "abd"} {
		defer func(p *process) {
			p.ends(t, fmt.Sprintf("rank %d", rank), 6, "rank 2 (", "differ in the recipe: abd and abc")
		}(start(t, "leave", rank, 3, port, "TEST_RECIPE="+recipe))
	}
	store, served := agent(t)
	for rank, p := range startAll(t, "leave", 2, store.Port(), served) {
		p.ends(t, fmt.Sprintf("rank %d of 2", rank), 0)
	}
	start(t, "leave", 2, 3, store.Port(), served, "TEST_PATIENCE=2s").ends(t, "rank 2 of 3", 6, "rank 0 (",
		"is one of 2 processes, and rank 2")
}

// The program's own facts tell one binary from another.
func TestFacts(t *testing.T) {
	torchtest.NoLeaks(t)
	facts, err := Facts()
	if err != nil || len(facts) != 2 || len(facts[0].Value) != 16 || !strings.HasPrefix(facts[1].Value, "2.") {
		t.Errorf("%v, %v", facts, err)
	}
	two := []Member{{Facts: []Fact{{"program", "a"}}}, {Host: "b", PID: 7, Facts: []Fact{{"program", "c"}}}}
	if why := differing(two); !strings.Contains(why, "rank 1 (b, process 7)") ||
		!strings.Contains(why, "differ in the program: c and a") {
		t.Error(why)
	}
	two[1].Facts = nil
	if why := differing(two); !strings.Contains(why, "nothing and a") {
		t.Error(why)
	}
	if why := differing(two[:1]); why != "" {
		t.Error(why)
	}
}

// Where the host of the store sees itself by an address that stays within the host, its ranks take the one by which
// they reach another host.
func TestAddress(t *testing.T) {
	for _, c := range []struct {
		addresses []string
		want      []string
	}{
		{[]string{"127.0.1.1", "127.0.1.1"}, []string{"127.0.1.1", "127.0.1.1"}},
		{[]string{"10.1.1.1", "10.1.1.2"}, []string{"10.1.1.1", "10.1.1.2"}},
		{[]string{"", "127.0.0.2"}, []string{"", "127.0.0.2"}},
	} {
		g := &Group{}
		for _, a := range c.addresses {
			g.Members = append(g.Members, Member{Address: a})
		}
		for g.Rank = range c.want {
			if got := g.address(); got != c.want[g.Rank] {
				t.Errorf("rank %d of %v: %q, want %q", g.Rank, c.addresses, got, c.want[g.Rank])
			}
		}
	}
	out, err := torch.LocalAddress("192.0.2.1", 29500) // reserved for examples; nothing is sent
	if err != nil || inside(out) {
		t.Skipf("this host has no way out: %q, %v", out, err)
	}
	g := &Group{Place: Place{Port: 29500}, Members: []Member{{Address: "127.0.1.1"}, {Address: "192.0.2.1"}}}
	if got := g.address(); got != out {
		t.Errorf("%q, want %q", got, out)
	}
}
