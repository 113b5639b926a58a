package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type samplerFile struct {
	Lengths  []int32 `json:"modality_lengths"`
	Randperm []struct {
		Seed   uint32
		N      int
		Values []int32
	}
	Rows []samplerRow
}

type samplerRow struct {
	Seed            uint32
	Set             string
	Batch           int
	WorldSize       int     `json:"world_size"`
	ModalityGrouped []int32 `json:"modality_grouped"`
	LengthGrouped   []int32 `json:"length_grouped"`
}

func readSampler(t *testing.T) samplerFile {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "shared", "parity", "sampler.json"))
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Skipf("recorded samplers are absent: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var file samplerFile
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

func (f samplerFile) lengthsOf(t *testing.T, set string) []int32 {
	t.Helper()
	keep, ok := map[string]func(int32) bool{
		"mixed":      func(int32) bool { return true },
		"image only": func(length int32) bool { return length > 0 },
		"text only":  func(length int32) bool { return length < 0 },
	}[set]
	if !ok {
		t.Fatalf("set %q is unknown", set)
	}
	var lengths []int32
	for _, length := range f.Lengths {
		if keep(length) {
			lengths = append(lengths, length)
		}
	}
	return lengths
}

func TestTorchRandperm(t *testing.T) {
	for _, test := range readSampler(t).Randperm {
		if diff := cmp.Diff(test.Values, newTorchRandom(test.Seed).perm(test.N)); diff != "" {
			t.Errorf("seed %d, n %d: %s", test.Seed, test.N, diff)
		}
	}
}

// With the original's own random permutations the composition rule gives the original's order: to the item in one
// process, and with the same samples in each step in several.
func TestGroupingIsTheOriginals(t *testing.T) {
	file := readSampler(t)
	for _, row := range file.Rows {
		t.Run(fmt.Sprintf("seed=%d/set=%s/batch=%d/world=%d", row.Seed, row.Set, row.Batch, row.WorldSize),
			func(t *testing.T) {
				lengths := file.lengthsOf(t, row.Set)
				global := row.Batch * row.WorldSize
				asRecorded := func(order []int32) []int32 {
					if row.WorldSize == 1 {
						return order
					}
					return sortedSteps(order, global)
				}
				got := groupByModality(lengths, global, 0, newTorchRandom(row.Seed).perm)
				if diff := cmp.Diff(asRecorded(row.ModalityGrouped), asRecorded(got)); diff != "" {
					t.Errorf("by modality: %s", diff)
				}
				items := make([]int32, len(lengths))
				magnitudes := make([]int32, len(lengths))
				for i := range items {
					items[i], magnitudes[i] = int32(i), magnitude(lengths[i])
				}
				blocks := groupByLength(items, magnitudes, global, 0, newTorchRandom(row.Seed).perm)
				if diff := cmp.Diff(asRecorded(row.LengthGrouped), asRecorded(slices.Concat(blocks...))); diff != "" {
					t.Errorf("by length: %s", diff)
				}
			})
	}
}

func sortedSteps(order []int32, global int) []int32 {
	var out []int32
	for step := range slices.Chunk(order, global) {
		out = append(out, slices.Sorted(slices.Values(step))...)
	}
	return out
}

func TestGroupingKeepsTheDrawnOrderOfEqualLengths(t *testing.T) {
	lengths := slices.Repeat([]int32{7, 8}, 50)
	drawn := newTorchRandom(1).perm(100)
	isLong := func(item int32) bool { return lengths[item] == 8 }
	want := slices.Concat(slices.DeleteFunc(slices.Clone(drawn), func(item int32) bool {
		return !isLong(item)
	}), slices.DeleteFunc(drawn, isLong))
	if got := groupByModality(lengths, 100, 0, newTorchRandom(1).perm); !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

// In any epoch, whether or not a step crosses into it, every step is of one modality with the longest sample first, but
// for the last ones: two blocks at most are set aside.
func TestGroupedStepsHaveOneModality(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lengths := drawLengths(t)
		n := len(lengths)
		global := rapid.IntRange(1, 40).Draw(t, "global")
		m, err := NewMixture(rapid.Uint64().Draw(t, "seed"), []Share{{n, 1}})
		if err != nil {
			t.Fatal(err)
		}
		o := newOrder(t, "grouped", m, global, lengths)
		epoch := rapid.IntRange(0, 50).Draw(t, "epoch")
		first := (epoch*n + global - 1) / global // the first step that lies in this epoch alone
		last := (epoch + 1) * n / global         // the one after the last such step
		for step := first; step < last-2; step++ {
			var inStep []int32
			for i := range global {
				_, row := o.At(int64(step*global + i))
				inStep = append(inStep, lengths[row])
			}
			if slices.Min(inStep) <= 0 && slices.Max(inStep) > 0 {
				t.Fatalf("step %d of %d to %d is of both modalities: %v", step, first, last, inStep)
			}
			if !slices.IsSortedFunc(inStep, func(a, b int32) int { return int(magnitude(b) - magnitude(a)) }) {
				t.Fatalf("step %d of %d to %d is not sorted by length: %v", step, first, last, inStep)
			}
		}
	})
}

// torchRandom is the CPU generator of PyTorch: the Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998) seeded with
// 32 bits.
type torchRandom struct {
	state [624]uint32
	next  int
}

func newTorchRandom(seed uint32) *torchRandom {
	r := &torchRandom{next: 624}
	r.state[0] = seed
	for i := 1; i < len(r.state); i++ {
		previous := r.state[i-1]
		r.state[i] = 1812433253*(previous^previous>>30) + uint32(i)
	}
	return r
}

func (r *torchRandom) uint32() uint32 {
	if r.next == len(r.state) {
		r.twist()
	}
	y := r.state[r.next]
	r.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

func (r *torchRandom) twist() {
	const n, m = 624, 397
	for i := range n {
		y := r.state[i]&0x80000000 | r.state[(i+1)%n]&0x7fffffff
		r.state[i] = r.state[(i+m)%n] ^ y>>1 ^ y&1*0x9908b0df
	}
	r.next = 0
}

// perm is torch.randperm on the CPU (aten/src/ATen/native/TensorFactories.cpp, randperm_cpu) for n below 2^32/20.
func (r *torchRandom) perm(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	for i := range n - 1 {
		j := i + int(r.uint32())%(n-i)
		out[i], out[j] = out[j], out[i]
	}
	return out
}
