package torch_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	torchtest.RemoveFakes()
	os.Exit(code)
}

// emulated connects ranks by the NCCL of scripts/fake_nccl.cpp, with a fault of its own or none.
func emulated(t *testing.T, fault string) newGroup {
	t.Helper()
	t.Setenv("LLAVATRAIN_NCCL", torchtest.FakeNCCL(t))
	t.Setenv("FAKE_NCCL", fault)
	return ncclOn(torch.CPU)
}

// ncclOn connects ranks by NCCL, all on one device.
func ncclOn(device torch.Device) newGroup {
	return func(s *torch.Store, g torch.Gloo) (*torch.Comm, error) {
		return torch.NewNCCL(s, torch.NCCL{Rank: g.Rank, World: g.World, Name: g.Name, Device: device,
			Connect: g.Connect})
	}
}

// noErrors wants that all ranks ended well.
func noErrors(t *testing.T, results []error) {
	t.Helper()
	for rank, err := range results {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// odd are numbers whose sums are rounded.
func odd(n, rank int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.Sin(float64(3*i + rank)))
	}
	return out
}

// With two ranks there is one order to add in, so both engines give the same bits.
func TestTwoRanksGetTheSameBitsFromBothEngines(t *testing.T) {
	torchtest.NoLeaks(t)
	const n = 4099
	dtypes := []torch.Dtype{torch.Float32, torch.Float64, torch.BFloat16, torch.Float16}
	sums := map[string][][]byte{}
	for name, group := range map[string]newGroup{"Gloo": torch.NewGloo, "NCCL 2.28.9": emulated(t, "")} {
		noErrors(t, together(t, 2, long, group, func(s *torch.Scope, rank int, c *torch.Comm) {
			if c.Engine() != name {
				t.Errorf("engine %q, want %q", c.Engine(), name)
			}
			var list [][]byte
			for _, dtype := range dtypes {
				whole, part := of(s, odd(2*n, rank), dtype), of(s, odd(n, 0), dtype)
				c.ReduceScatter(part, whole).Wait()
				c.AllReduce(whole).Wait()
				list = append(list, whole.Bytes(), part.Bytes())
			}
			if rank == 1 {
				sums[name] = list
			}
		}))
	}
	for i, gloo := range sums["Gloo"] {
		if nccl := sums["NCCL 2.28.9"][i]; !slices.Equal(gloo, nccl) {
			t.Errorf("%v: Gloo and NCCL differ", dtypes[i/2])
		}
	}
}

// A call only queues: it returns before the others have come, and the tensors' memory stays theirs until Wait, even if
// nobody else holds them.
func TestCollectivesAreQueued(t *testing.T) {
	torchtest.NoLeaks(t)
	const n = 1 << 16
	begun := make(chan bool)
	noErrors(t, together(t, 2, long, emulated(t, ""), func(s *torch.Scope, rank int, c *torch.Comm) {
		if rank == 1 {
			select {
			case <-begun:
			case <-time.After(long):
				t.Error("a call waits for the other rank")
			}
		}
		var work *torch.Work
		s.Sub(func(s *torch.Scope) *torch.Tensor {
			work = c.AllReduce(of(s, values(n, rank), torch.Float32))
			return nil
		})
		other := torch.Zeros(s, []int64{n}, torch.Float32, torch.CPU)
		if rank == 0 {
			close(begun)
		}
		work.Wait()
		if got := torch.Read[float32](other); slices.Max(got) != 0 {
			t.Errorf("rank %d: a collective has written into another tensor's memory", rank)
		}
	}))
}

// The settings that make NCCL's sums repeat, and the one that keeps threads of several groups from c10d's recorder, are
// made before a group starts, and what is set already stays.
func TestSettingsOfGroups(t *testing.T) {
	names := []string{"NCCL_ALGO", "NCCL_NVLS_ENABLE", "TORCH_FR_BUFFER_SIZE"}
	if os.Getenv("PRINT_SETTINGS") != "" {
		c, err := torch.NewGloo(serve(t), torch.Gloo{World: 1, Name: "test/", Address: "127.0.0.1", Connect: long})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		for _, name := range names {
			fmt.Print(name, "=", os.Getenv(name), ";")
		}
		return
	}
	for set, want := range map[string]string{
		"NCCL_ALGO=":     "NCCL_ALGO=Ring;NCCL_NVLS_ENABLE=0;TORCH_FR_BUFFER_SIZE=0;",
		"NCCL_ALGO=Tree": "NCCL_ALGO=Tree;NCCL_NVLS_ENABLE=0;TORCH_FR_BUFFER_SIZE=0;",
	} {
		child := exec.Command(os.Args[0], "-test.run", "^TestSettingsOfGroups$")
		child.Env = append(os.Environ(), "PRINT_SETTINGS=1", "NCCL_NVLS_ENABLE=", "TORCH_FR_BUFFER_SIZE=", set)
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("with %s: %v\n%s\nwant %s", set, err, out, want)
		}
	}
}

func TestNCCLThatIsMissingIsSaid(t *testing.T) {
	store := serve(t)
	engine, err := torch.Open()
	if err != nil {
		t.Fatal(err)
	}
	for library, words := range map[string]string{
		"/nowhere/libnccl.so.2": "engine: NCCL cannot be used (/nowhere/libnccl.so.2: cannot open shared object " +
			"file: No such file or directory): install PyTorch with CUDA, which brings it (nvidia-nccl-cu13), or set " +
			"LLAVATRAIN_NCCL to the path of a libnccl.so.2",
		engine.Path: "has no ncclGetVersion",
		"":          "engine: NCCL is between GPUs, and this group's tensors are the CPU's: use Gloo",
	} {
		t.Setenv("LLAVATRAIN_NCCL", library)
		_, err := torch.NewNCCL(store, torch.NCCL{World: 1, Name: "test/", Device: torch.CPU, Connect: long})
		if !errors.Is(err, torch.ErrEngine) || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want an error of the engine with %q", err, words)
		}
	}
}

func TestTwoRanksOnOneCardAreRefused(t *testing.T) {
	torchtest.NoLeaks(t)
	results := together(t, 2, long, emulated(t, "one-card"), func(*torch.Scope, int, *torch.Comm) {
		t.Error("they are connected")
	})
	for _, err := range results {
		var e *torch.Error
		want := "engine: connect: ncclCommInitRank: invalid usage: Duplicate GPU detected : rank 0 and rank 1 both " +
			"on CUDA device 65000; NCCL wants a GPU for each rank: start as many processes as there are GPUs, or " +
			"connect them by Gloo, which goes through the host's memory and is slow"
		if !errors.As(err, &e) || e.Peers || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// Whoever does not come, connecting ends in time, though NCCL itself waits for ever.
func TestConnectingGPUsHasADeadline(t *testing.T) {
	emulated(t, "")
	for rank, words := range []string{
		"connect: the GPUs of 2 ranks are not connected: ncclCommInitRank timed out after 1s",
		"connect: NCCL's id, which rank 0 makes, timed out after 1s",
	} {
		began := time.Now()
		_, err := torch.NewNCCL(serve(t), torch.NCCL{Rank: rank, World: 2, Name: "test/", Device: torch.CPU,
			Connect: time.Second})
		ofPeers(t, err, words)
		if took := time.Since(began); took > long {
			t.Errorf("after %v", took)
		}
	}
}

// What NCCL's threads report is seen by whoever asks, and then by the next call. The group is left as it is.
func TestAsyncError(t *testing.T) {
	torchtest.NoLeaks(t)
	results := together(t, 2, long, emulated(t, "breaks"), func(s *torch.Scope, rank int, c *torch.Comm) {
		x := of(s, values(8, rank), torch.Float32)
		c.AllReduce(x).Wait()
		c.AllReduce(x).Wait()
		if err := c.AsyncError(); err != nil || rank == 0 {
			if err != nil {
				t.Errorf("rank %d: %v before anything happened", rank, err)
			}
			return
		}
		c.AllReduce(x)
		began := time.Now()
		for c.AsyncError() == nil && time.Since(began) < long {
			time.Sleep(time.Millisecond)
		}
		ofPeers(t, c.AsyncError(), "NCCL: unhandled system error")
		c.AllReduce(x)
	})
	if results[0] != nil {
		t.Error(results[0])
	}
	ofPeers(t, results[1], "all-reduce: ncclAllReduce: invalid argument")
}

func TestGlooHasNoAsyncError(t *testing.T) {
	noErrors(t, together(t, 1, long, torch.NewGloo, func(s *torch.Scope, rank int, c *torch.Comm) {
		if err := c.AsyncError(); err != nil {
			t.Error(err)
		}
	}))
}

// The check sees sums in another order, and all ranks hear of it.
func TestSumsRepeat(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, c := range []struct {
		name  string
		group func() newGroup
		dtype torch.Dtype
		want  bool
	}{
		{"Gloo", func() newGroup { return torch.NewGloo }, torch.Float32, true},
		{"NCCL", func() newGroup { return emulated(t, "") }, torch.BFloat16, true},
		{"unstable", func() newGroup { return emulated(t, "unstable") }, torch.Float32, false},
		{"unstable", func() newGroup { return emulated(t, "unstable") }, torch.BFloat16, false},
	} {
		noErrors(t, together(t, 3, long, c.group(), func(s *torch.Scope, rank int, comm *torch.Comm) {
			if got := comm.SumsRepeat(s, c.dtype, torch.CPU); got != c.want {
				t.Errorf("%s, %v, rank %d: %v, want %v", c.name, c.dtype, rank, got, c.want)
			}
		}))
	}
}

// Our declarations are those of nccl.h, compiled beside it.
func TestDeclarationsOfNCCL(t *testing.T) {
	engine, err := torch.Open()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := checkpoints.CacheFolder()
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{filepath.Join(filepath.Dir(engine.Path), "../../nvidia/nccl/include"),
		filepath.Join(cache, "nccl")} {
		if _, err := os.Stat(filepath.Join(folder, "nccl.h")); err != nil {
			continue
		}
		out, err := exec.Command("g++", "-std=c++17", "-fsyntax-only", "-I", "testdata/nccl", "-I", folder,
			"-I", "shim", "testdata/nccl/check.cpp").CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	t.Skip("there is no nccl.h: scripts/nccl.sh fetches it")
}
