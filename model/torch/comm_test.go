package torch_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

type newGroup = func(*torch.Store, torch.Gloo) (*torch.Comm, error)

// together runs f as each of several ranks, each on a thread of its own, and returns what Do returned to each.
func together(t *testing.T, world int, timeout time.Duration, group newGroup,
	f func(s *torch.Scope, rank int, c *torch.Comm)) []error {
	t.Helper()
	store := serve(t)
	results := make([]error, world)
	var all sync.WaitGroup
	for rank := range world {
		all.Go(func() {
			c, err := group(store, torch.Gloo{Rank: rank, World: world, Name: "test/", Address: "127.0.0.1",
				Connect: long, Timeout: timeout})
			if err != nil {
				results[rank] = err
				return
			}
			results[rank] = torch.Do(func(s *torch.Scope) { f(s, rank, c) })
			c.Close()
		})
	}
	all.Wait()
	return results
}

// values are numbers of a rank that every dtype holds, and whose sums it holds.
func values(n, rank int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32((i*7+rank*5)%16 + rank)
	}
	return out
}

func of(s *torch.Scope, numbers []float32, dtype torch.Dtype) *torch.Tensor {
	return on(s, numbers, dtype, torch.CPU)
}

func on(s *torch.Scope, numbers []float32, dtype torch.Dtype, device torch.Device) *torch.Tensor {
	return torch.To(s, torch.From(s, numbers, []int64{int64(len(numbers))}, device), dtype)
}

func inFp32(s *torch.Scope, x *torch.Tensor) []float32 {
	return torch.Read[float32](torch.To(s, x, torch.Float32))
}

// Collectives over 1 to 4 ranks give what one process computes alone, in every dtype that is sent, by way of a second
// buffer too.
func TestCollectives(t *testing.T) {
	torchtest.NoLeaks(t)
	for name, group := range map[string]newGroup{"direct": torch.NewGloo, "staged": torch.NewStagedGloo,
		"NCCL": emulated(t, "")} {
		for world := 1; world <= 4; world++ {
			collectives(t, name, group, world, torch.CPU)
		}
	}
}

// collectives makes each collective in each dtype, and compares with what one process computes alone.
func collectives(t *testing.T, name string, group newGroup, world int, device torch.Device) {
	t.Helper()
	const n = 1027
	sum, list := make([]float32, n*world), []float32(nil)
	for rank := range world {
		for i, x := range values(n*world, rank) {
			sum[i] += x
		}
		list = append(list, values(n, rank)...)
	}
	same := func(what string, dtype torch.Dtype, rank int, got, want []float32) {
		if !slices.Equal(got, want) {
			t.Errorf("%s of %v, %s, rank %d of %d: %v…, want %v…", what, dtype, name, rank, world, got[:5], want[:5])
		}
	}
	noErrors(t, together(t, world, long, group, func(s *torch.Scope, rank int, c *torch.Comm) {
		for _, dtype := range []torch.Dtype{torch.Float32, torch.Float64, torch.BFloat16, torch.Float16, torch.Int64,
			torch.Int32, torch.Uint8, torch.Int16} {
			all := torch.Zeros(s, []int64{int64(n * world)}, dtype, device)
			root := on(s, values(n, rank), dtype, device)
			gathered := c.AllGather(all, root)
			gathered.Wait()
			same("all-gather", dtype, rank, inFp32(s, all), list)
			c.Broadcast(root, world-1).Wait()
			same("broadcast", dtype, rank, inFp32(s, root), values(n, world-1))
			if dtype == torch.Int16 {
				continue // nobody sums them
			}
			whole, part := on(s, values(n*world, rank), dtype, device), on(s, values(n, 0), dtype, device)
			scattered := c.ReduceScatter(part, whole)
			reduced := on(s, values(n*world, rank), dtype, device)
			c.AllReduce(reduced).Wait() // waited for before the one that began earlier
			scattered.Wait()
			same("all-reduce", dtype, rank, inFp32(s, reduced), sum)
			same("reduce-scatter", dtype, rank, inFp32(s, part), sum[rank*n:(rank+1)*n])
			same("what was scattered", dtype, rank, inFp32(s, whole), values(n*world, rank))
		}
		c.Barrier().Wait()
	}))
}

// Sums are rounded to their dtype once for each rank that is added; the same tensors give the same bits.
func TestSumsAreRoundedToTheirDtypeAndRepeat(t *testing.T) {
	torchtest.NoLeaks(t)
	const n, world = 4096, 3
	exact, size := make([]float64, n), make([]float64, n)
	odd := func(i, rank int) float32 { return float32(math.Sin(float64(i*world + rank))) }
	for i := range n {
		for rank := range world {
			x := odd(i, rank)
			exact[i] += float64(x)
			size[i] += math.Abs(float64(x))
		}
	}
	nccl := emulated(t, "")
	for _, c := range []struct {
		group newGroup
		dtype torch.Dtype
		bits  int // of a significand
	}{{torch.NewGloo, torch.Float32, 24}, {torch.NewGloo, torch.BFloat16, 8}, {nccl, torch.Float32, 24},
		{nccl, torch.BFloat16, 8}} {
		for _, err := range together(t, world, long, c.group, func(s *torch.Scope, rank int, comm *torch.Comm) {
			list := make([]float32, n)
			for i := range list {
				list[i] = odd(i, rank)
			}
			var first []byte
			for range 5 {
				x := of(s, list, c.dtype)
				comm.AllReduce(x).Wait()
				if first == nil {
					first = x.Bytes()
				} else if !slices.Equal(first, x.Bytes()) {
					t.Errorf("%v: a sum does not repeat", c.dtype)
				}
				for i, got := range inFp32(s, x) {
					// an input's rounding, and that of each sum
					if limit := size[i] * world * math.Ldexp(1, -c.bits); math.Abs(float64(got)-exact[i]) > limit {
						t.Errorf("%v: element %d is %v, not %v ± %v", c.dtype, i, got, exact[i], limit)
						return
					}
				}
			}
		}) {
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// A collective writes into weights that train, without a trace in autograd.
func TestCollectivesWriteIntoLeaves(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, group := range []newGroup{torch.NewGloo, emulated(t, "")} {
		writeIntoLeaves(t, group)
	}
}

func writeIntoLeaves(t *testing.T, group newGroup) {
	for _, err := range together(t, 2, long, group, func(s *torch.Scope, rank int, c *torch.Comm) {
		leaf := torch.Detach(s, of(s, values(8, rank), torch.Float32), true)
		c.AllReduce(leaf).Wait()
		c.AllGather(leaf, torch.Narrow(s, of(s, values(8, rank), torch.Float32), 0, 2, 4)).Wait()
		want := slices.Concat(values(8, 0)[2:6], values(8, 1)[2:6])
		if got := torch.Read[float32](leaf); !slices.Equal(got, want) || !leaf.RequiresGrad() {
			t.Errorf("rank %d: %v, want %v", rank, got, want)
		}
	}) {
		if err != nil {
			t.Error(err)
		}
	}
}

// What cannot be sent is refused before anything is, so that the group goes on.
func TestCollectivesRefuse(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, err := range together(t, 2, long, torch.NewGloo, func(s *torch.Scope, rank int, c *torch.Comm) {
		four, nine := of(s, values(4, rank), torch.Float32), of(s, values(9, rank), torch.Float32)
		column := torch.Narrow(s, torch.Reshape(s, nine, 3, 3), 1, 0, 1)
		for words, begin := range map[string]func(){
			"Short":          func() { c.AllReduce(of(s, values(4, rank), torch.Int16)) },
			"not 2 times 4":  func() { c.AllGather(nine, four) },
			"not 2 times 9":  func() { c.ReduceScatter(nine, four) },
			"contiguous":     func() { c.Broadcast(column, 0) },
			"one collective": func() { c.AllGather(of(s, values(8, rank), torch.BFloat16), four) },
		} {
			err := torch.Do(func(*torch.Scope) { begin() })
			var e *torch.Error
			if !errors.As(err, &e) || e.Peers || !strings.Contains(err.Error(), words) {
				t.Errorf("%v, want an engine's error with %q, and not of peers", err, words)
			}
		}
		c.AllReduce(four).Wait()
	}) {
		if err != nil {
			t.Error(err)
		}
	}
}

// A rank that leaves, and one that does not come, are errors of the others.
func TestCollectiveWithoutAPeerIsAnError(t *testing.T) {
	torchtest.NoLeaks(t)
	began := time.Now()
	left := together(t, 2, long, torch.NewGloo, func(s *torch.Scope, rank int, c *torch.Comm) {
		c.Barrier().Wait() // both are connected
		if rank == 0 {
			c.AllReduce(of(s, values(4, rank), torch.Float32)).Wait()
		}
	})
	ofPeers(t, left[0], "all-reduce: ")
	var over sync.WaitGroup
	over.Add(1)
	silent := together(t, 2, time.Second, torch.NewGloo, func(s *torch.Scope, rank int, c *torch.Comm) {
		if rank == 1 {
			over.Wait()
			return
		}
		defer over.Done()
		c.Barrier().Wait()
	})
	ofPeers(t, silent[0], "barrier: ")
	if took := time.Since(began); took > long {
		t.Errorf("after %v", took)
	}
	if left[1] != nil || silent[1] != nil {
		t.Error(left[1], silent[1])
	}
}

// quietThreads is how many threads of this process have SIGPIPE blocked.
func quietThreads(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		status, _ := os.ReadFile(file) // a thread may have ended
		_, mask, _ := strings.Cut(string(status), "SigBlk:")
		mask, _, _ = strings.Cut(strings.TrimSpace(mask), "\n")
		if bits, err := strconv.ParseUint(mask, 16, 64); err == nil && bits>>(syscall.SIGPIPE-1)&1 == 1 {
			n++
		}
	}
	return n
}

// Writing to a peer that has just gone is an error for the engine's threads, not SIGPIPE, which would end the process
// without a word. The moment cannot be chosen by a test: the threads are looked at.
func TestEngineThreadsIgnoreBrokenPipes(t *testing.T) {
	torchtest.NoLeaks(t)
	before := quietThreads(t)
	store := serve(t)
	if after := quietThreads(t); after < before+1 {
		t.Errorf("the store's thread: %d of them after %d", after, before)
	}
	before = quietThreads(t)
	c, err := torch.NewGloo(store, torch.Gloo{World: 1, Name: "test/", Address: "127.0.0.1", Connect: long,
		Timeout: long})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if after := quietThreads(t); after < before+2 {
		t.Errorf("the group's threads: %d of them after %d", after, before)
	}
	before = quietThreads(t)
	nccl, err := emulated(t, "")(store, torch.Gloo{World: 1, Name: "test/", Connect: long})
	if err != nil {
		t.Fatal(err)
	}
	defer nccl.Close()
	if after := quietThreads(t); after < before+1 {
		t.Errorf("NCCL's thread: %d of them after %d", after, before)
	}
}

func TestGroupWaitsForALateRank(t *testing.T) {
	store := serve(t)
	var all sync.WaitGroup
	for rank := range 2 {
		all.Go(func() {
			time.Sleep(time.Duration(rank) * 3 * time.Second)
			c, err := torch.NewGloo(store, torch.Gloo{Rank: rank, World: 2, Name: "test/", Address: "127.0.0.1",
				Connect: long, Timeout: long})
			if err != nil {
				t.Errorf("rank %d: %v", rank, err)
				return
			}
			c.Close()
		})
	}
	all.Wait()
}

func TestGroupThatIsNotCompleteIsAnError(t *testing.T) {
	began := time.Now()
	_, err := torch.NewGloo(serve(t), torch.Gloo{World: 2, Name: "test/", Address: "127.0.0.1", Connect: time.Second})
	ofPeers(t, err, "connect: ")
	_, err = torch.NewGloo(serve(t), torch.Gloo{World: 1, Name: "test/", Address: "192.0.2.1", Connect: time.Second})
	ofPeers(t, err, "connect: ")
	if took := time.Since(began); took > long {
		t.Errorf("after %v", took)
	}
}

func TestLocalAddress(t *testing.T) {
	if got, err := torch.LocalAddress("127.0.0.1", 29500); got != "127.0.0.1" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_, err := torch.LocalAddress("no-such-host.invalid", 29500)
	ofPeers(t, err, "no-such-host.invalid")
}
