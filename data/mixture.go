package data

import (
	"fmt"
	"math"
	"sort"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Share is one data set's part in a mixture.
type Share struct {
	Rows   int     // number of rows in the data set
	Weight float64 // passes over it per epoch of the mixture: 0.5 takes half of its rows, 2 every row twice
}

// Mixture combines several data sets into one. Every epoch has the same number of items: round(weight × rows) of each
// data set, the data sets one after the other in the order given. It holds no list of rows and is safe for concurrent
// use.
type Mixture struct {
	seed   uint64
	shares []share
	items  int
	rows   int
}

type share struct {
	rows   int
	first  int         // number of its first item
	whole  int         // number of items in whole passes
	part   int         // number of items in the partial pass, 0 ≤ part < rows
	choose permutation // the order of the rows in partial passes
}

// NewMixture fails if a weight is not a positive number or is so small that it takes no row of its data set.
func NewMixture(seed uint64, shares []Share) (_ *Mixture, err error) {
	defer failure.MarkInput(&err)
	m := &Mixture{seed: seed}
	for i, s := range shares {
		if !(s.Weight > 0) || math.IsInf(s.Weight, 0) {
			return nil, fmt.Errorf("data[%d]: weight %v is not a positive number", i, s.Weight)
		}
		take := math.Round(s.Weight * float64(s.Rows))
		if take < 1 {
			return nil, fmt.Errorf("data[%d]: weight %v of %d rows takes no row; raise the weight or remove the entry",
				i, s.Weight, s.Rows)
		}
		if take+float64(m.items) > math.MaxInt32 {
			return nil, fmt.Errorf("data[%d]: weight %v of %d rows is more than 2^31 samples in an epoch; "+
				"lower the weight", i, s.Weight, s.Rows)
		}
		m.shares = append(m.shares, share{
			rows:   s.Rows,
			first:  m.items,
			whole:  int(take) - int(take)%s.Rows,
			part:   int(take) % s.Rows,
			choose: newPermutation(s.Rows, deriveKey(seed, keyMixture, uint64(i))),
		})
		m.items += int(take)
		m.rows += s.Rows
	}
	if m.items == 0 {
		return nil, fmt.Errorf("data: no entries; list at least one data set")
	}
	return m, nil
}

// Len is the number of items in an epoch.
func (m *Mixture) Len() int { return m.items }

// Rows is the total number of rows in all data sets.
func (m *Mixture) Rows() int { return m.rows }

// At returns the data set and row of the given item (0 ≤ item < Len) of the given epoch (from 0). Whole passes are in
// file order. A partial pass continues in a fixed random order of the rows where the previous epoch stopped: with
// weight 0.5 every row appears once in two epochs.
func (m *Mixture) At(epoch int64, item int) (source, row int) {
	source = sort.Search(len(m.shares), func(i int) bool { return m.shares[i].first > item }) - 1
	s := &m.shares[source]
	offset := item - s.first
	if offset < s.whole {
		return source, offset % s.rows
	}
	drawn := (epoch%int64(s.rows)*int64(s.part) + int64(offset-s.whole)) % int64(s.rows)
	return source, s.choose.at(int(drawn))
}
