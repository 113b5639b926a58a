package data

import (
	"fmt"
	"math"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Order gives the row at each position of a run. It is a pure function of the seed, the data and the global batch:
// micro-batches, workers and processes do not affect it, and any position can be computed without the ones before it.
// It caches the current epoch's arrangement, so it is not safe for concurrent use.
type Order struct {
	mixture *Mixture
	global  int
	lengths [][]int32 // of each row of each data set; only for grouped

	arrange arrangement
	epoch   int64
	item    func(i int) int // the arrangement of epoch; nil before the first use
}

// arrangement puts the items of one epoch in order: item(i) is the i-th.
type arrangement func(o *Order, epoch int64) (item func(i int) int)

var arrangements = map[string]arrangement{
	"sequential": (*Order).sequential,
	"shuffled":   (*Order).shuffled,
	"grouped":    (*Order).grouped,
}

// Purposes that keys are derived for.
const (
	keyMixture = iota
	keyShuffled
	keyGrouped
)

// OpenOrder returns the order of the given kind:
//
//	sequential  as the files have the rows
//	shuffled    another keyed permutation for each epoch
//	grouped     steps of one modality, of samples near each other in length (see groupByModality)
//
// global is the number of samples in an optimizer step. lengths is called only for grouped; it returns, for each data
// set of the mixture, the length of each row, positive if the row has an image and negative if not.
func OpenOrder(kind string, m *Mixture, global int, lengths func() ([][]int32, error)) (_ *Order, err error) {
	defer failure.MarkInput(&err)
	arrange, err := failure.LookUp("order", kind, arrangements)
	if err != nil {
		return nil, err
	}
	if global < 1 {
		return nil, fmt.Errorf("global batch is %d, must be at least 1", global)
	}
	o := &Order{mixture: m, global: global, arrange: arrange}
	if kind == "grouped" {
		if o.lengths, err = lengths(); err != nil {
			return nil, fmt.Errorf("lengths of the samples: %w", err)
		}
	}
	return o, nil
}

// Len is the number of samples in an epoch.
func (o *Order) Len() int { return o.mixture.Len() }

// At returns the row at a position of the run; 0 is the first sample of the first step. With N samples in an epoch,
// position p is number p mod N of epoch p div N.
func (o *Order) At(position int64) (source, row int) {
	n := int64(o.Len())
	if epoch := position / n; o.item == nil || epoch != o.epoch {
		o.epoch, o.item = epoch, o.arrange(o, epoch)
	}
	return o.mixture.At(o.epoch, o.item(int(position%n)))
}

func (o *Order) sequential(int64) func(int) int {
	return func(i int) int { return i }
}

func (o *Order) shuffled(epoch int64) func(int) int {
	p := newPermutation(o.Len(), deriveKey(o.mixture.seed, keyShuffled, uint64(epoch)))
	return p.at
}

func (o *Order) grouped(epoch int64) func(int) int {
	lengths := make([]int32, o.Len())
	for item := range lengths {
		source, row := o.mixture.At(epoch, item)
		lengths[item] = o.lengths[source][row]
	}
	draws := uint64(0)
	order := groupByModality(lengths, o.global, o.lead(epoch), func(n int) []int32 {
		p := newPermutation(n, deriveKey(o.mixture.seed, keyGrouped, uint64(epoch), draws))
		draws++
		return p.list()
	})
	return func(i int) int { return int(order[i]) }
}

// lead is how many samples of the epoch belong to a step that began in an earlier epoch.
func (o *Order) lead(epoch int64) int {
	n, global := int64(o.Len()), int64(o.global)
	over := epoch % global * (n % global) % global // samples already in the current step when the epoch begins
	return int(min((global-over)%global, n))
}

// Plan computes which positions of the run each step has.
type Plan struct {
	Items   int   // samples in an epoch
	Global  int   // samples in an optimizer step
	Samples int64 // samples in the run
}

// PlanEpochs is a run of the given number of passes over the data. Its last step may be short.
func PlanEpochs(items, global int, epochs float64) Plan {
	// Rounding puts a product like 1.1 × 10 just above the intended whole number.
	const roundings = 1e-12
	return Plan{items, global, int64(math.Ceil(epochs * float64(items) * (1 - roundings)))}
}

// PlanSteps is a run of the given number of full steps.
func PlanSteps(items, global, steps int) Plan {
	return Plan{items, global, int64(steps) * int64(global)}
}

// Steps is the number of optimizer steps: Samples / Global, rounded up.
func (p Plan) Steps() int {
	return int((p.Samples + int64(p.Global) - 1) / int64(p.Global))
}

// Span returns the positions of a step (from 0): first ≤ position < end.
func (p Plan) Span(step int) (first, end int64) {
	first = int64(step) * int64(p.Global)
	return first, min(first+int64(p.Global), p.Samples)
}

// Epoch is how many passes over the data are complete when a step ends.
func (p Plan) Epoch(step int) float64 {
	_, end := p.Span(step)
	return float64(end) / float64(p.Items)
}
