package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Part says which micro-batches of every step this process computes, as one of several with otherwise equal options.
//
// All micro-batches are those of one process: every process encodes all rows of a step, and so knows how the step is
// split, without talking to the others. It prepares the images of its own micro-batches alone. An image that turns out
// to be bad is told to all before the step is returned; then all split the step again, without it.
type Part struct {
	Rank, World int
	// Encode is Prepare without pixels.
	Encode Prepare
	// Exchange is called by Next once a step. It tells the other processes which rows this one has found bad, or why it
	// cannot go on, and returns what all have found; or why another cannot.
	Exchange func(step int, bad []Skip, failed error) (all []Skip, err error)
}

// encode is Part.Encode. A row that cannot be used gets the error that preparing it gives, as in one process.
func (l *Loader) encode(ctx context.Context, source, row int) (Sample, error) {
	sample, err := l.options.Part.Encode(ctx, source, row)
	if errors.Is(err, picture.ErrRow) {
		return l.options.Prepare(ctx, source, row)
	}
	return sample, err
}

// deal waits for the encoded samples of each draft, decides who computes what, and has this process's own prepared.
func (l *Loader) deal(encoded <-chan draft, jobs chan<- job, drafts chan<- draft) {
	defer close(drafts)
	for d := range encoded {
		outcomes := l.outcomes(d)
		if outcomes == nil {
			return
		}
		own := draft{step: d.step, places: d.places, prepare: l.options.Prepare, encoded: outcomes,
			wanted: l.ownPlaces(outcomes)}
		own.outcomes = make(chan outcome, len(own.wanted))
		if !l.hand(own, jobs, drafts) {
			return
		}
	}
}

// ownPlaces are the places of the samples whose images this process needs and does not have yet, by their numbers.
func (l *Loader) ownPlaces(outcomes []outcome) (own []int) {
	groups := l.split(usable(outcomes))
	sizes := l.options.Part.deal(groups)
	for i, group := range groups {
		if sizes[i].Rank != l.options.Part.Rank {
			continue
		}
		for _, s := range group {
			if len(s.Images) > 0 && s.Images[0].Pixels == nil {
				own = append(own, s.Place)
			}
		}
	}
	slices.Sort(own)
	return own
}

// usable are the samples of the rows that can be used, with their places.
func usable(outcomes []outcome) (samples []Sample) {
	for i, o := range outcomes {
		if o.err == nil {
			o.sample.Place = i
			samples = append(samples, o.sample)
		}
	}
	return samples
}

// exchange tells the other processes which images of a step this one has found bad, and makes the step what all have
// found: as if one process had read all images.
func (l *Loader) exchange(own delivery) delivery {
	all, err := l.options.Part.Exchange(own.step.Number, own.found, own.err)
	if err = cmp.Or(own.err, err); err != nil || len(all) == 0 {
		return delivery{step: own.step, err: err}
	}
	d, outcomes := draft{step: own.step.Number}, own.outcomes
	for i, drawn := range own.step.Rows {
		d.places = append(d.places, place{drawn.Data, drawn.Row})
		for _, skip := range all {
			if (place{skip.Data, skip.Row}) == d.places[i] {
				outcomes[i] = outcome{sample: Sample{ID: skip.ID}, err: picture.BadRow("%s", skip.Reason)}
			}
		}
	}
	for _, i := range l.ownPlaces(outcomes) {
		p := d.places[i]
		if outcomes[i].sample, err = l.options.Prepare(l.ctx, p.source, p.row); err != nil {
			return delivery{err: fmt.Errorf("%s[%d] row %d could be read by another process, and not by this one: %w",
				l.options.key(d.step), p.source, p.row, err)}
		}
	}
	return l.build(d, outcomes)
}

// deal decides which process computes which micro-batch, and says what they hold.
func (p *Part) deal(groups [][]Sample) []Size {
	all := make([]Size, len(groups))
	for i, group := range groups {
		size := &all[i]
		for _, s := range group {
			supervised := 0
			for _, label := range s.Labels[min(1, len(s.Labels)):] { // nothing predicts the first token
				if label != Ignore {
					supervised++
				}
			}
			size.Samples++
			size.Images += len(s.Images)
			size.Positions += len(s.IDs)
			size.Supervised += supervised
			if len(s.Images) > 0 {
				size.FromImage += supervised
			}
		}
	}
	dealOut(all, p.World)
	return all
}

// dealOut decides which of world processes computes which micro-batch: the largest first, each to the process with the
// fewest positions so far. None gets more micro-batches than need be, since the processes may wait for each other after
// each.
func dealOut(all []Size, world int) {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(all[b].Positions, all[a].Positions) })
	most := (len(all) + world - 1) / world
	counts, positions := make([]int, world), make([]int, world)
	for _, i := range order {
		best := -1
		for rank := range world {
			if counts[rank] < most && (best < 0 || positions[rank] < positions[best]) {
				best = rank
			}
		}
		all[i].Rank = best
		counts[best]++
		positions[best] += all[i].Positions
	}
}
