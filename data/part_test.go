package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/picture"
)

// torn is a corpus some of whose rows have a broken image, which is seen only when it is decoded.
type torn struct {
	corpus
	images map[int]bool // rows of broken images
}

func (c torn) prepare(ctx context.Context, source, row int) (Sample, error) {
	s, err := c.corpus.prepare(ctx, source, row)
	if err == nil && len(s.Images) > 0 && c.images[row] {
		return Sample{ID: s.ID}, picture.BadRow("image %d is torn", row)
	}
	return s, err
}

func (c torn) encode(ctx context.Context, source, row int) (Sample, error) {
	s, err := c.corpus.prepare(ctx, source, row)
	for i := range s.Images {
		s.Images[i].Pixels = nil
	}
	return s, err
}

// table is where processes tell each other things.
type table struct {
	turn   sync.Mutex
	world  int
	rounds []*exchanged
}

type exchanged struct {
	bad    []Skip
	failed []error
	came   int
	full   chan struct{}
}

// sit is the Exchange of one process.
func (t *table) sit() func(int, []Skip, error) ([]Skip, error) {
	next := 0
	return func(_ int, bad []Skip, failed error) ([]Skip, error) {
		t.turn.Lock()
		if next == len(t.rounds) {
			t.rounds = append(t.rounds, &exchanged{full: make(chan struct{})})
		}
		r := t.rounds[next]
		next++
		r.bad = append(r.bad, bad...)
		if failed != nil {
			r.failed = append(r.failed, failed)
		}
		if r.came++; r.came == t.world {
			close(r.full)
		}
		t.turn.Unlock()
		<-r.full
		if len(r.failed) > 0 {
			return nil, fmt.Errorf("another process: %w", r.failed[0])
		}
		return r.bad, nil
	}
}

// part is what one of several processes got.
type part struct {
	steps   []Step
	skipped []Skip
	err     error
}

// loadParts lets world processes load the same steps.
func loadParts(t *testing.T, world int, options func(rank int) LoaderOptions) []part {
	t.Helper()
	parts := make([]part, world)
	synctest.Test(t, func(t *testing.T) {
		together := &table{world: world}
		var all sync.WaitGroup
		for rank := range world {
			o := options(rank)
			o.Part.Rank, o.Part.World, o.Part.Exchange = rank, world, together.sit()
			all.Go(func() {
				l, p := NewLoader(t.Context(), o), &parts[rank]
				defer l.Close()
				for p.err == nil {
					var step Step
					if step, p.err = l.Next(); p.err == nil {
						p.steps = append(p.steps, step)
					}
				}
				p.skipped = l.Skipped()
			})
		}
		all.Wait()
	})
	return parts
}

// together puts the micro-batches of all processes into one step's order.
func together(parts []part, number int) (all []Batch) {
	next := make([]int, len(parts))
	for _, size := range parts[0].steps[number].Shared {
		all = append(all, parts[size.Rank].steps[number].Micro[next[size.Rank]])
		next[size.Rank]++
	}
	return all
}

// Whatever rows are bad, in their text or in their images, several processes have the steps of one: every field is the
// same for all, and their micro-batches are those of one, each once.
func TestPartsAreTheStepsOfOneProcess(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rows := rapid.IntRange(5, 20).Draw(rt, "rows")
		some := rapid.MapOfN(rapid.IntRange(0, rows-1), rapid.Just(true), 0, 4)
		c := torn{corpus{rows: rows, bad: some.Draw(rt, "bad")}, some.Draw(rt, "torn")}
		world := rapid.IntRange(1, 5).Draw(rt, "world")
		global := rapid.IntRange(1, rows).Draw(rt, "global")
		kind := rapid.SampledFrom([]string{"shuffled", "grouped"}).Draw(rt, "order")
		micro, tokens := rapid.IntRange(1, 4).Draw(rt, "micro"), rapid.SampledFrom([]int{0, 9}).Draw(rt, "tokens")
		options := func(int) LoaderOptions {
			o := c.options(rt, kind, global, 1.6)
			o.Prepare, o.Micro, o.Tokens, o.Limit = c.prepare, micro, tokens, Unlimited
			o.Part = &Part{Encode: c.encode}
			return o
		}
		alone := options(0)
		alone.Part = nil
		steps, skipped, err := loadAll(t, alone)
		if err != nil {
			rt.Fatal(err)
		}
		parts := loadParts(t, world, options)
		for rank, p := range parts {
			if p.err != io.EOF || len(p.steps) != len(steps) || !cmp.Equal(p.skipped, skipped) {
				rt.Fatalf("rank %d: %d steps, want %d; %v; %v", rank, len(p.steps), len(steps), p.err,
					cmp.Diff(skipped, p.skipped))
			}
		}
		same := cmpopts.IgnoreFields(Size{}, "Rank")
		for number, want := range steps {
			for rank, p := range parts {
				got := p.steps[number]
				if diff := cmp.Diff(want.Sizes(), got.Sizes(), same); diff != "" {
					rt.Fatalf("rank %d: %s", rank, diff)
				}
				got.Micro, got.Shared = want.Micro, nil
				if diff := cmp.Diff(want, got); diff != "" {
					rt.Fatalf("rank %d: %s", rank, diff)
				}
			}
			if diff := cmp.Diff(want.Micro, together(parts, number)); diff != "" {
				rt.Fatal(diff)
			}
		}
	})
}

// The images of other processes' micro-batches are not read.
func TestPartReadsItsOwnImages(t *testing.T) {
	c := torn{corpus: corpus{rows: 24}}
	read := make([]map[int]int, 3)
	parts := loadParts(t, 3, func(rank int) LoaderOptions {
		o, turn := c.options(t, "shuffled", 12, 1), sync.Mutex{}
		read[rank] = map[int]int{}
		o.Part = &Part{Encode: c.encode}
		o.Prepare = func(ctx context.Context, source, row int) (Sample, error) {
			turn.Lock()
			read[rank][row]++
			turn.Unlock()
			return c.prepare(ctx, source, row)
		}
		return o
	})
	for rank, p := range parts {
		own := map[int]int{}
		for _, step := range p.steps {
			for _, batch := range step.Micro {
				for _, tile := range batch.Tiles {
					own[batch.Origins[tile.Sample].Row]++
				}
			}
		}
		if diff := cmp.Diff(own, read[rank]); diff != "" {
			t.Errorf("rank %d: %s", rank, diff)
		}
	}
}

// Micro-batches are dealt evenly, in number and then in positions; a process without any is no fault.
func TestDealOut(t *testing.T) {
	for _, c := range []struct {
		positions []int
		world     int
		want      []int
	}{
		{[]int{5, 9, 7, 3}, 2, []int{1, 0, 1, 0}},
		{[]int{4, 4, 4, 4}, 4, []int{0, 1, 2, 3}},
		{[]int{2, 8, 1, 1}, 2, []int{1, 0, 1, 0}}, // two each, though the second would be done first
		{[]int{6, 7}, 3, []int{1, 0}},
		{nil, 2, nil},
	} {
		var got []int
		all := make([]Size, len(c.positions))
		for i, n := range c.positions {
			all[i].Positions = n
		}
		dealOut(all, c.world)
		for _, size := range all {
			got = append(got, size.Rank)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v to %d: %v, want %v", c.positions, c.world, got, c.want)
		}
	}
}

// One process's fault ends the step of all, each with its own words.
func TestAFaultOfOnePartEndsAll(t *testing.T) {
	broken := errors.New("the disk is gone")
	c := torn{corpus: corpus{rows: 24}}
	parts := loadParts(t, 3, func(rank int) LoaderOptions {
		o := c.options(t, "shuffled", 12, 1)
		o.Part = &Part{Encode: c.encode}
		o.Prepare = func(ctx context.Context, source, row int) (Sample, error) {
			if rank == 1 {
				return Sample{}, broken
			}
			return c.prepare(ctx, source, row)
		}
		return o
	})
	for rank, p := range parts {
		if told := fmt.Sprint(p.err); !errors.Is(p.err, broken) || (rank == 1) == (told[:7] == "another") {
			t.Errorf("rank %d: %v", rank, p.err)
		}
	}
}

// A row that only this process cannot read, after another has read it, is a fault of this process.
func TestAnImageThatOnlyOthersCanReadIsAFault(t *testing.T) {
	c := torn{corpus{rows: 9}, map[int]bool{0: true}}
	parts := loadParts(t, 2, func(rank int) LoaderOptions {
		o := c.options(t, "sequential", 9, 1)
		o.Part, o.Micro = &Part{Encode: c.encode}, 2
		o.Prepare = func(ctx context.Context, source, row int) (Sample, error) {
			if rank == 1 && row == 3 { // after row 0 is out it belongs to another micro-batch
				time.Sleep(time.Second)
				return Sample{}, picture.BadRow("no such file")
			}
			return c.prepare(ctx, source, row)
		}
		return o
	})
	if parts[0].err == nil && parts[1].err == nil {
		t.Error("nobody says so")
	}
}
