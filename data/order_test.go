package data

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var orderKinds = []string{"sequential", "shuffled", "grouped"}

func newOrder(t interface{ Fatal(...any) }, kind string, m *Mixture, global int, lengths ...[]int32) *Order {
	o, err := OpenOrder(kind, m, global, func() ([][]int32, error) { return lengths, nil })
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOrderTakesEveryRowOnceAnEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lengths := drawLengths(t)
		seed := rapid.Uint64().Draw(t, "seed")
		m, err := NewMixture(seed, []Share{{len(lengths), 1}})
		if err != nil {
			t.Fatal(err)
		}
		kind := rapid.SampledFrom(orderKinds).Draw(t, "kind")
		global := rapid.IntRange(1, 40).Draw(t, "global")
		o := newOrder(t, kind, m, global, lengths)
		first := rapid.Int64Range(0, 1000).Draw(t, "epoch") * int64(len(lengths))
		var rows []int
		for i := range len(lengths) {
			_, row := o.At(first + int64(i))
			rows = append(rows, row)
		}
		again := newOrder(t, kind, m, global, lengths)
		for i := len(rows) - 1; i >= 0; i -= 3 {
			again.At(rapid.Int64Range(0, first+1).Draw(t, "elsewhere"))
			if _, row := again.At(first + int64(i)); row != rows[i] {
				t.Fatalf("position %d: row %d, asked by itself %d", i, rows[i], row)
			}
		}
		slices.Sort(rows)
		for i, row := range rows {
			if row != i {
				t.Fatalf("%s: the epoch's rows are %v", kind, rows)
			}
		}
	})
}

func drawLengths(t *rapid.T) []int32 {
	modality := rapid.SampledFrom([][2]int32{{-90, 90}, {1, 90}, {-90, -1}}).Draw(t, "modality")
	return rapid.SliceOfN(rapid.Int32Range(modality[0], modality[1]), 1, 300).Draw(t, "lengths")
}

func TestOrderSequentialIsTheFile(t *testing.T) {
	o := newOrder(t, "sequential", newMixture(t, 9, Share{Rows: 3, Weight: 1}), 2)
	var got []int
	for position := range int64(7) {
		_, row := o.At(position)
		got = append(got, row)
	}
	if diff := cmp.Diff([]int{0, 1, 2, 0, 1, 2, 0}, got); diff != "" {
		t.Error(diff)
	}
}

// The numbers are part of the contract: a run resumed by a later version must find the same rows.
func TestOrderIsPinned(t *testing.T) {
	lengths := []int32{5, -3, 7, 9, -2, 4, 6, -8, 1, 12}
	for _, test := range []struct {
		kind string
		want []int
	}{
		{"sequential", []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"shuffled", []int{7, 2, 8, 9, 5, 6, 1, 0, 3, 4, 8, 9, 4, 2, 5, 6, 0, 7, 1, 3}},
		{"grouped", []int{9, 6, 8, 3, 2, 0, 1, 4, 5, 7, 1, 4, 6, 0, 5, 9, 3, 2, 7, 8}},
	} {
		o := newOrder(t, test.kind, newMixture(t, 42, Share{Rows: 10, Weight: 1}), 3, lengths)
		var got []int
		for position := range int64(20) {
			_, row := o.At(position)
			got = append(got, row)
		}
		if !slices.Equal(test.want, got) {
			t.Errorf("%s: %v, want %v", test.kind, got, test.want)
		}
	}
}

func TestOrderChangesWithSeedAndEpoch(t *testing.T) {
	lengths := make([]int32, 100)
	for i := range lengths {
		lengths[i] = int32(i%7 - 3)
	}
	for _, kind := range []string{"shuffled", "grouped"} {
		seen := map[string]bool{}
		for seed := range uint64(3) {
			o := newOrder(t, kind, newMixture(t, seed, Share{Rows: 100, Weight: 1}), 10, lengths)
			for epoch := range int64(3) {
				var rows []int
				for i := range int64(100) {
					_, row := o.At(epoch*100 + i)
					rows = append(rows, row)
				}
				seen[fmt.Sprint(rows)] = true
			}
		}
		if len(seen) != 9 {
			t.Errorf("%s: %d different orders for 3 seeds × 3 epochs", kind, len(seen))
		}
	}
}

func TestOrderOfAMixtureGroupsByTheLengthOfEachRow(t *testing.T) {
	m := newMixture(t, 5, Share{Rows: 90, Weight: 0.5}, Share{Rows: 20, Weight: 2})
	lengths := [][]int32{make([]int32, 90), make([]int32, 20)}
	for i := range lengths[0] {
		lengths[0][i] = int32(100 + i)
	}
	for i := range lengths[1] {
		lengths[1][i] = int32(-1 - i)
	}
	o := newOrder(t, "grouped", m, 10, lengths...)
	for epoch := range int64(4) { // 85 items: 5 of 8 or 9 steps lie within the blocks whatever the lead
		single := 0
		for step := (epoch*85 + 9) / 10; step*10+10 <= (epoch+1)*85; step++ {
			sources := map[int]bool{}
			for i := range int64(10) {
				source, _ := o.At(step*10 + i)
				sources[source] = true
			}
			if len(sources) == 1 {
				single++
			}
		}
		if single < 5 {
			t.Errorf("epoch %d: %d steps of one modality", epoch, single)
		}
	}
}

func TestOpenOrderRefuses(t *testing.T) {
	m := newMixture(t, 1, Share{Rows: 3, Weight: 1})
	broken := errors.New("index is broken")
	none := func() ([][]int32, error) { return nil, broken }
	want := `order must be one of grouped, sequential, shuffled, not "random"`
	if _, err := OpenOrder("random", m, 1, none); err == nil || err.Error() != want {
		t.Errorf("unknown kind: %v", err)
	}
	if _, err := OpenOrder("shuffled", m, 0, none); err == nil {
		t.Error("a global batch of 0 is accepted")
	}
	if _, err := OpenOrder("grouped", m, 1, none); !errors.Is(err, broken) {
		t.Errorf("lengths fail: %v", err)
	}
	if _, err := OpenOrder("shuffled", m, 1, none); err != nil {
		t.Errorf("shuffled asks for lengths: %v", err)
	}
}

func TestPlan(t *testing.T) {
	for _, test := range []struct {
		name  string
		plan  Plan
		steps int
		last  int64 // samples in the last step
		epoch float64
	}{
		{"whole steps", PlanEpochs(8, 4, 1), 2, 4, 1},
		{"short last step", PlanEpochs(10, 4, 1), 3, 2, 1},
		{"steps cross epochs", PlanEpochs(10, 4, 3), 8, 2, 3},
		{"part of an epoch", PlanEpochs(10, 4, 0.5), 2, 1, 0.5},
		{"a part of a sample counts as one", PlanEpochs(3, 1, 0.4), 2, 1, 2.0 / 3},
		{"a product above what is meant", PlanEpochs(50, 1, 1.1), 55, 1, 1.1},
		{"mix665k", PlanEpochs(665_298, 128, 1), 5198, 82, 1},
		{"steps", PlanSteps(10, 4, 3), 3, 4, 1.2},
		{"more than the data", PlanSteps(3, 8, 2), 2, 8, 16.0 / 3},
	} {
		steps := test.plan.Steps()
		first, end := test.plan.Span(steps - 1)
		if steps != test.steps || end-first != test.last || test.plan.Epoch(steps-1) != test.epoch {
			t.Errorf("%s: %d steps, the last of %d, %v epochs; want %d, %d, %v",
				test.name, steps, end-first, test.plan.Epoch(steps-1), test.steps, test.last, test.epoch)
		}
	}
}

func TestPlanSpansFollowEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := PlanEpochs(rapid.IntRange(1, 200).Draw(t, "items"), rapid.IntRange(1, 50).Draw(t, "global"),
			rapid.Float64Range(0.01, 4).Draw(t, "epochs"))
		next := int64(0)
		for step := range p.Steps() {
			first, end := p.Span(step)
			if first != next || end <= first || end-first > int64(p.Global) {
				t.Fatalf("step %d is [%d, %d) after %d", step, first, end, next)
			}
			next = end
		}
		if next != p.Samples {
			t.Fatalf("the steps end at %d of %d", next, p.Samples)
		}
	})
}

// An epoch of mix665k: what one look at a new epoch costs.
func BenchmarkOrder(b *testing.B) {
	const n = 665_298
	lengths := make([]int32, n)
	for i := range lengths {
		lengths[i] = int32(mix64(uint64(i))%400) - 25
	}
	for _, kind := range orderKinds {
		b.Run("kind="+kind, func(b *testing.B) {
			o := newOrder(b, kind, newMixture(b, 1, Share{Rows: n, Weight: 1}), 128, lengths)
			b.ReportAllocs()
			for epoch := int64(0); b.Loop(); epoch++ {
				o.At(epoch * n)
			}
		})
	}
}
