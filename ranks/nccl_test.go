package ranks

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// gpus makes each collective once, and wants what one process computes alone.
func gpus(g *Group) error {
	c, err := g.NCCL("gradients", time.Minute)
	if err != nil {
		return err
	}
	device, err := g.Device()
	if err != nil {
		return err
	}
	const n = 1000
	whole := func(rank int) (list []float32) {
		for i := range n * g.World {
			list = append(list, float32(i%13+rank))
		}
		return list
	}
	sum, gathered := make([]float32, n*g.World), []float32(nil)
	for rank := range g.World {
		for i, x := range whole(rank) {
			sum[i] += x
		}
		gathered = append(gathered, whole(rank)[:n]...)
	}
	wrong := ""
	err = torch.Do(func(s *torch.Scope) {
		shape := []int64{int64(n * g.World)}
		reduced, all := torch.From(s, whole(g.Rank), shape, device), torch.Zeros(s, shape, torch.Float32, device)
		part := torch.From(s, whole(g.Rank)[:n], []int64{n}, device)
		first, second := c.AllReduce(reduced), c.AllGather(all, part)
		second.Wait()
		c.ReduceScatter(part, torch.From(s, whole(g.Rank), shape, device)).Wait()
		first.Wait()
		c.Barrier().Wait()
		same := torch.From(s, whole(g.Rank), shape, device)
		c.Broadcast(same, g.World-1).Wait()
		for what, pair := range map[string][2][]float32{
			"all-reduce":     {torch.Read[float32](reduced), sum},
			"all-gather":     {torch.Read[float32](all), gathered},
			"reduce-scatter": {torch.Read[float32](part), sum[g.Rank*n : (g.Rank+1)*n]},
			"broadcast":      {torch.Read[float32](same), whole(g.World - 1)},
		} {
			if !slices.Equal(pair[0], pair[1]) {
				wrong += what + " "
			}
		}
	})
	c.Close()
	if err == nil && wrong != "" {
		err = fmt.Errorf("wrong: %s", wrong)
	}
	return err
}

// absent is a job whose rank 1 does something else when the others connect.
func absent(g *Group) error {
	if g.Rank == 1 {
		g.Say("lost in a loop")
		select {}
	}
	_, err := g.NCCL("gradients", 2*time.Second)
	return err
}

func emulated(t *testing.T, fault string) []string {
	t.Helper()
	return []string{"TEST_ENGINE=NCCL", "LLAVATRAIN_NCCL=" + torchtest.FakeNCCL(t), "FAKE_NCCL=" + fault}
}

func TestNCCLOfSeveralProcesses(t *testing.T) {
	for world := 2; world <= 4; world++ {
		for rank, p := range startAll(t, "gpus", world, freePort(t), emulated(t, "")...) {
			p.ends(t, fmt.Sprintf("rank %d of %d", rank, world), 0, "left")
		}
	}
}

// Over NCCL, too, all ranks end and say why, though the thread that trains never returns from its collective.
func TestFaultsOverNCCL(t *testing.T) {
	for _, c := range []struct {
		part, fault, nccl string
		ends              []int // the code of each rank
		words             []string
	}{
		{"work", "1 killed", "", []int{6, 137, 6}, []string{"rank 1 (", ") has not been heard of for"}},
		{"work", "2 fails", "", []int{6, 6, 1}, []string{"rank 2 (", "): no memory, for example"}},
		{"work", "", "breaks", []int{6, 6, 6}, []string{"rank 2 (", `): NCCL's group "data" has failed: unhandled ` +
			"system error; where all are: rank 0: step 3, computing; rank 1: step 3, computing; rank 2: step 3, " +
			"computing"}},
		{"absent", "", "", []int{6, 6, 6}, []string{"the GPUs of 3 ranks are not connected: ncclCommInitRank timed " +
			"out after 2s", "rank 0: connecting GPUs; rank 1: lost in a loop; rank 2: connecting GPUs"}},
	} {
		t.Run(strings.TrimSpace(c.part+" "+c.fault+c.nccl), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			all := startAll(t, c.part, 3, freePort(t), append(emulated(t, c.nccl), "TEST_FAULT="+c.fault)...)
			for rank, p := range all {
				p.ends(t, fmt.Sprintf("rank %d", rank), c.ends[rank])
				if c.ends[rank] == 6 {
					p.says(t, fmt.Sprintf("rank %d", rank), c.words...)
				}
			}
			t.Logf("all were gone after %.1f s: %s", time.Since(began).Seconds(), lastLine(all[0].output.String()))
		})
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func TestDeviceOfAGroup(t *testing.T) {
	engine, err := torch.Open()
	if err != nil {
		t.Fatal(err)
	}
	g := &Group{Place: Place{World: 1, Locals: 1}}
	want := torch.CPU
	if engine.CUDADevices > 0 {
		want = 0
	}
	if device, err := g.Device(); device != want || err != nil {
		t.Errorf("%v, %v, want %v", device, err, want)
	}
}
