package torch_test

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// entropyCase is a small classification: hidden [rows,width], weight [classes,width].
type entropyCase struct {
	rows, width, classes int
	hidden, weight       []float64
	labels               []int64
}

func newEntropyCase() entropyCase {
	c := entropyCase{rows: 13, width: 6, classes: 9}
	c.hidden, c.weight = numbers(c.rows*c.width, 1), numbers(c.classes*c.width, 2)
	for r := range c.rows {
		c.labels = append(c.labels, int64(r*5%c.classes))
	}
	return c
}

// terms is -log softmax(hidden weight^T)[label] of each row, in float64.
func (c entropyCase) terms(hidden, weight []float64) []float64 {
	logits := linear(hidden, weight, nil, c.width)
	var out []float64
	for r, label := range c.labels {
		row, sum := logits[r*c.classes:(r+1)*c.classes], 0.0
		for _, x := range row {
			sum += math.Exp(x)
		}
		out = append(out, math.Log(sum)-row[label])
	}
	return out
}

func (c entropyCase) tensors(s *torch.Scope, dtype torch.Dtype) (hidden, weight, labels *torch.Tensor) {
	return leaf(s, c.hidden, dtype, int64(c.rows), int64(c.width)),
		leaf(s, c.weight, dtype, int64(c.classes), int64(c.width)), index(s, c.labels...)
}

// gradients of factor times the sum of the terms.
func (c entropyCase) gradients(factor float64) (hidden, weight []float64) {
	formula := func(x [][]float64) []float64 { return c.terms(x[0], x[1]) }
	factors := make([]float64, c.rows)
	for i := range factors {
		factors[i] = factor
	}
	x := [][]float64{c.hidden, c.weight}
	return slope(formula, x, 0, factors), slope(formula, x, 1, factors)
}

func TestCrossEntropyIsTheSameForAnyChunk(t *testing.T) {
	torchtest.NoLeaks(t)
	c := newEntropyCase()
	const factor = 0.3
	terms := c.terms(c.hidden, c.weight)
	dHidden, dWeight := c.gradients(factor)
	total := 0.0
	for _, x := range terms {
		total += x
	}
	for _, chunk := range []int64{1, 2, 5, 13, 14, 1000} {
		do(t, func(s *torch.Scope) {
			hidden, weight, labels := c.tensors(s, torch.Float32)
			sum, each := torch.CrossEntropy(s, hidden, weight, labels, chunk)
			near(t, "sum", read(s, sum), []float64{total}, 1e-6)
			near(t, "terms", read(s, each), terms, 1e-6)
			if each.RequiresGrad() || !sum.RequiresGrad() {
				t.Error("the sum alone has a gradient")
			}
			torch.Backward(torch.Scale(s, sum, factor), nil)
			near(t, "hidden's gradient", read(s, torch.Grad(s, hidden)), dHidden, 1e-6)
			near(t, "weight's gradient", read(s, torch.Grad(s, weight)), dWeight, 1e-6)
		})
	}
}

func TestCrossEntropyOfFrozenTensors(t *testing.T) {
	torchtest.NoLeaks(t)
	c := newEntropyCase()
	dHidden, dWeight := c.gradients(1)
	for _, trains := range [][2]bool{{true, false}, {false, true}, {false, false}} {
		do(t, func(s *torch.Scope) {
			hidden, weight, labels := c.tensors(s, torch.Float32)
			hidden, weight = torch.Detach(s, hidden, trains[0]), torch.Detach(s, weight, trains[1])
			sum, _ := torch.CrossEntropy(s, hidden, weight, labels, 4)
			if sum.RequiresGrad() != (trains[0] || trains[1]) {
				t.Fatalf("hidden, weight train: %v; the sum has a gradient: %v", trains, sum.RequiresGrad())
			}
			if !sum.RequiresGrad() {
				return
			}
			torch.Backward(sum, nil)
			for i, x := range []*torch.Tensor{hidden, weight} {
				grad := torch.Grad(s, x)
				if (grad != nil) != trains[i] {
					t.Errorf("hidden, weight train: %v; gradient of %d: %v", trains, i, grad)
				}
				if grad != nil {
					near(t, "gradient", read(s, grad), [][]float64{dHidden, dWeight}[i], 1e-6)
				}
			}
		})
	}
}

func TestCrossEntropyWithoutGraph(t *testing.T) {
	torchtest.NoLeaks(t)
	c := newEntropyCase()
	do(t, func(s *torch.Scope) {
		torch.NoGrad(func() {
			hidden, weight, labels := c.tensors(s, torch.Float32)
			sum, each := torch.CrossEntropy(s, hidden, weight, labels, 4)
			if sum.RequiresGrad() {
				t.Error("a graph was recorded")
			}
			near(t, "terms", read(s, each), c.terms(c.hidden, c.weight), 1e-6)
		})
	})
}

// The factor of the loss (one over the supervised tokens) must not lose digits: in bf16 it would put up to 0.4% on
// every gradient.
func TestCrossEntropyScalesInFP32(t *testing.T) {
	torchtest.NoLeaks(t)
	c := newEntropyCase()
	const factor = 1 + 0x1p-8 - 0x1p-12 // halfway between two bf16 values, nearly
	dHidden, dWeight := c.gradients(factor)
	do(t, func(s *torch.Scope) {
		hidden, weight, labels := c.tensors(s, torch.BFloat16)
		sum, _ := torch.CrossEntropy(s, hidden, weight, labels, 5)
		torch.Backward(torch.Scale(s, sum, factor), nil)
		for what, pair := range map[string][2][]float64{
			"hidden": {read(s, torch.Grad(s, hidden)), dHidden}, "weight": {read(s, torch.Grad(s, weight)), dWeight},
		} {
			near(t, what, pair[0], pair[1], tolerances[torch.BFloat16])
			// roundings of single values are as often up as down; what remains is the factor's own error
			if ratio := dot(pair[0], pair[1]) / dot(pair[1], pair[1]); math.Abs(ratio-1) > 2e-3 {
				t.Errorf("%s: the gradient is %v of what it should be", what, ratio)
			}
		}
	})
}

func TestCrossEntropyOfNoRowsIsZero(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		hidden := torch.Detach(s, torch.Zeros(s, []int64{0, 4}, torch.Float32, torch.CPU), true)
		sum, each := torch.CrossEntropy(s, hidden, ones(s, 3, 4), index(s), 8)
		torch.Backward(sum, nil)
		if read(s, sum)[0] != 0 || each.Elements() != 0 {
			t.Error("no rows have a loss")
		}
	})
}

func TestCrossEntropyRefusesALabelOutsideTheVocabulary(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, label := range []int64{-100, 3} {
		e := fault(t, func(s *torch.Scope) { torch.CrossEntropy(s, ones(s, 1, 4), ones(s, 3, 4), index(s, label), 8) })
		if e.Op != "cross entropy" || !strings.Contains(e.Msg, "out of bounds") {
			t.Errorf("label %d: %v", label, e)
		}
	}
}

// The engine frees what the hand-written backward saved: 300 passes would otherwise hold 300 gradients of 1 MB.
func TestCrossEntropyHoldsNoMemory(t *testing.T) {
	torchtest.NoLeaks(t)
	pass := func(backward bool) {
		do(t, func(s *torch.Scope) {
			weight := torch.Detach(s, torch.Zeros(s, []int64{4096, 64}, torch.Float32, torch.CPU), true)
			sum, _ := torch.CrossEntropy(s, ones(s, 2, 64), weight, index(s, 1, 2), 8)
			if backward {
				torch.Backward(sum, nil)
			}
		})
	}
	pass(true)
	before := residentMB(t)
	for i := range 300 {
		pass(i%2 == 0)
	}
	if grown := residentMB(t) - before; grown > 100 {
		t.Errorf("memory grew by %d MB", grown)
	}
}

func residentMB(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() / 1e6
}
