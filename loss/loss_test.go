package loss

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

func average(t *testing.T, name string) Average {
	t.Helper()
	a, err := OpenAverage(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAverages(t *testing.T) {
	// an optimizer step of three micro-batches: summed losses and supervised tokens
	sums, tokens := []float64{6, 20, 1}, []int{3, 5, 2}
	for name, want := range map[string]float64{
		"token_mean": (6. + 20 + 1) / (3 + 5 + 2),
		"micro_mean": (6./3 + 20./5 + 1./2) / 3,
	} {
		got := 0.0
		for i := range sums {
			got += sums[i] * average(t, name).Weight(tokens[i], 10, 3)
		}
		if math.Abs(got-want) > 1e-15 {
			t.Errorf("%s of the step is %v, want %v", name, got, want)
		}
	}
}

// What a step learns must not depend on how it was cut: only token_mean promises that.
func TestTokenMeanDoesNotDependOnTheCut(t *testing.T) {
	a := average(t, "token_mean")
	if a.Weight(3, 10, 3) != a.Weight(10, 10, 1) {
		t.Error("a token's weight changes with the micro-batch")
	}
}

func TestAnUnknownAverageNamesTheKnown(t *testing.T) {
	_, err := OpenAverage("sum")
	if err == nil {
		t.Fatal("no error")
	}
	for _, text := range []string{`"sum"`, "token_mean", "micro_mean"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %s", err, text)
		}
	}
	for name := range averages {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q leaves %s out", err, name)
		}
	}
}

// A chunk's logits take 64 MB in fp32, but a chunk is never of fewer than 64 rows.
func TestChunk(t *testing.T) {
	for vocabulary, want := range map[int64]int64{8: 2_097_152, 32_000: 524, 128_256: 130, 262_144: 64, 1_000_000: 64} {
		if got := Chunk(vocabulary); got != want {
			t.Errorf("a vocabulary of %d has chunks of %d rows, want %d", vocabulary, got, want)
		}
	}
}

// The logits of all rows never exist: here they would take 512 MB.
func TestCrossEntropyTakesAChunkOfLogits(t *testing.T) {
	const rows, classes, size = 2048, 65_536, 16
	before := peakMemory(t)
	err := torch.Do(func(s *torch.Scope) {
		hidden := torch.Ones(s, []int64{rows, size}, torch.Float32, torch.CPU)
		head := torch.Zeros(s, []int64{classes, size}, torch.Float32, torch.CPU)
		CrossEntropy(s, hidden, head, torch.Zeros(s, []int64{rows}, torch.Int64, torch.CPU))
	})
	if err != nil {
		t.Fatal(err)
	}
	if grown := peakMemory(t) - before; grown > rows*classes*4/2 {
		t.Errorf("the peak of memory grew by %d MB", grown>>20)
	}
}

// peakMemory is the most that this process has had resident, in bytes.
func peakMemory(t *testing.T) (bytes int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(text), "VmHWM:")
	if _, err := fmt.Sscanf(line, "%d kB", &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}

func TestCrossEntropyOfEvenLogits(t *testing.T) {
	torchtest.NoLeaks(t)
	const rows, classes = 70, 8 // more rows than the smallest chunk
	err := torch.Do(func(s *torch.Scope) {
		hidden := torch.Ones(s, []int64{rows, 2}, torch.Float32, torch.CPU)
		head := torch.Zeros(s, []int64{classes, 2}, torch.Float32, torch.CPU)
		sum, each := CrossEntropy(s, hidden, head, torch.Zeros(s, []int64{rows}, torch.Int64, torch.CPU))
		if got, want := float64(torch.Read[float32](sum)[0]), rows*math.Log(classes); math.Abs(got-want) > 1e-4 {
			t.Errorf("sum %v, want %v", got, want)
		}
		if got := torch.Read[float32](each); len(got) != rows ||
			math.Abs(float64(got[rows-1])-math.Log(classes)) > 1e-6 {
			t.Errorf("terms %v", got)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
