package data

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/picture"
)

// corpus is a data set made up for the loader's tests: rows of known length, some of them bad.
type corpus struct {
	rows int
	bad  map[int]bool
}

// prepare takes a time that differs from row to row, so that samples are ready out of order.
func (c corpus) prepare(ctx context.Context, source, row int) (Sample, error) {
	select {
	case <-time.After(time.Duration(mix64(uint64(row))%1000) * time.Millisecond):
	case <-ctx.Done():
		return Sample{}, ctx.Err()
	}
	s := Sample{ID: fmt.Sprint("id", row), Row: row, Data: source, Cut: row % 2}
	if c.bad[row] {
		return Sample{ID: s.ID}, fmt.Errorf("picture %d is broken: %w", row, picture.ErrRow)
	}
	for t := range c.length(row) {
		s.IDs, s.Labels = append(s.IDs, int32(t)), append(s.Labels, int32(t))
	}
	if row%3 == 0 {
		s.IDs[0], s.Labels[0] = ImageToken, Ignore
		s.Images = []picture.Picture{{Pixels: []uint8{uint8(row), 0, 0}, Layout: picture.Flat(1)}}
	}
	return s, nil
}

func (c corpus) length(row int) int { return 2 + row%7 }

func (c corpus) options(t interface{ Fatal(...any) }, kind string, global int, epochs float64) LoaderOptions {
	m, err := NewMixture(42, []Share{{c.rows, 1}})
	if err != nil {
		t.Fatal(err)
	}
	lengths := make([]int32, c.rows)
	for row := range lengths {
		lengths[row] = int32(c.length(row))
		if row%3 != 0 {
			lengths[row] *= -1
		}
	}
	return LoaderOptions{
		Plan:    PlanEpochs(c.rows, global, epochs),
		Order:   newOrder(t, kind, m, global, lengths),
		Prepare: c.prepare,
		Micro:   2,
		Limit:   SkipLimit(c.rows),
		Workers: 3,
		Ahead:   2,
	}
}

// loadAll reads to the end or the first error, in a bubble of fake time; the bubble fails when a goroutine is left
// behind.
func loadAll(t *testing.T, options LoaderOptions) (steps []Step, skipped []Skip, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := NewLoader(t.Context(), options)
		defer l.Close()
		for err == nil {
			var step Step
			if step, err = l.Next(); err == nil {
				steps = append(steps, step)
			}
		}
		if _, again := l.Next(); again != err {
			t.Errorf("after %v comes %v", err, again)
		}
		skipped = l.Skipped()
	})
	if err == io.EOF {
		err = nil
	}
	return steps, skipped, err
}

// stepIDs are the samples of each step, sorted: the part of a step that must not depend on how it is split.
func stepIDs(steps []Step) [][]string {
	var out [][]string
	for _, step := range steps {
		var names []string
		for _, batch := range step.Micro {
			names = append(names, batch.Samples...)
		}
		slices.Sort(names)
		out = append(out, names)
	}
	return out
}

func TestLoaderFollowsTheOrder(t *testing.T) {
	c := corpus{rows: 10, bad: map[int]bool{4: true, 9: true}}
	steps, _, err := loadAll(t, c.options(t, "sequential", 4, 1.5))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, step := range steps {
		line := fmt.Sprintf("%d %.1f cut %d:", step.Number, step.Epoch, step.Cut)
		for _, batch := range step.Micro {
			line += fmt.Sprint(" ", batch.Samples, " at ", batch.Places)
		}
		line += " of rows"
		for _, drawn := range step.Rows {
			line += fmt.Sprint(" ", drawn.Row)
		}
		for _, skip := range step.Skipped {
			reason, _, _ := strings.Cut(skip.Reason, ":")
			line += fmt.Sprintf(" skip %s, data[%d] row %d, step %d: %s",
				skip.ID, skip.Data, skip.Row, skip.Step, reason)
		}
		got = append(got, line)
	}
	want := []string{
		"0 0.4 cut 2: [id0 id1] at [0 1] [id2 id3] at [2 3] of rows 0 1 2 3",
		"1 0.8 cut 2: [id5 id6] at [1 2] [id7] at [3] of rows 4 5 6 7 skip id4, data[0] row 4, step 2: " +
			"picture 4 is broken",
		"2 1.2 cut 1: [id8 id0] at [0 2] [id1] at [3] of rows 8 9 0 1 skip id9, data[0] row 9, step 3: " +
			"picture 9 is broken",
		"3 1.5 cut 1: [id2 id3] at [0 1] of rows 2 3 4 skip id4, data[0] row 4, step 4: picture 4 is broken",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLoaderStepsDoNotDependOnWorkers(t *testing.T) {
	c := corpus{rows: 50, bad: map[int]bool{7: true, 30: true}}
	for _, kind := range orderKinds {
		want, wantSkipped, err := loadAll(t, c.options(t, kind, 8, 2.3))
		if err != nil {
			t.Fatal(err)
		}
		for _, workers := range []int{0, 1, 2, 16} {
			for _, ahead := range []int{0, 1, 5, 100} {
				options := c.options(t, kind, 8, 2.3)
				options.Workers, options.Ahead = workers, ahead
				got, skipped, err := loadAll(t, options)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, %d workers, %d ahead: %s", kind, workers, ahead, diff)
				}
				if diff := cmp.Diff(wantSkipped, skipped); diff != "" {
					t.Errorf("%s, %d workers, %d ahead: %s", kind, workers, ahead, diff)
				}
			}
		}
	}
}

func TestLoaderStepsDoNotDependOnMicroBatches(t *testing.T) {
	c := corpus{rows: 41, bad: map[int]bool{7: true}}
	for _, kind := range orderKinds {
		want, _, err := loadAll(t, c.options(t, kind, 8, 2))
		if err != nil {
			t.Fatal(err)
		}
		for _, split := range []struct{ micro, tokens int }{{0, 0}, {1, 0}, {3, 0}, {100, 0}, {2, 1}, {2, 12},
			{0, 1000}} {
			options := c.options(t, kind, 8, 2)
			options.Micro, options.Tokens = split.micro, split.tokens
			got, _, err := loadAll(t, options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(stepIDs(want), stepIDs(got)); diff != "" {
				t.Errorf("%s, %+v: %s", kind, split, diff)
			}
			for i, step := range got {
				if diff := cmp.Diff(want[i].Rows, step.Rows); diff != "" {
					t.Errorf("%s, %+v, rows of step %d: %s", kind, split, i+1, diff)
				}
				for _, batch := range step.Micro {
					if split.tokens > 0 && len(batch.IDs) > split.tokens && len(batch.Samples) > 1 {
						t.Errorf("a micro-batch of %d samples has %d positions, over %d",
							len(batch.Samples), len(batch.IDs), split.tokens)
					}
				}
			}
		}
	}
}

func TestLoaderResumesAtAnyStep(t *testing.T) {
	c := corpus{rows: 30, bad: map[int]bool{3: true, 11: true, 12: true}}
	for _, kind := range orderKinds {
		want, wantSkipped, err := loadAll(t, c.options(t, kind, 4, 2.5))
		if err != nil {
			t.Fatal(err)
		}
		for start := range len(want) + 1 {
			known := skippedAfter(t, c.options(t, kind, 4, 2.5), start)
			options := c.options(t, kind, 4, 2.5)
			options.Start, options.Known = start, known
			got, skipped, err := loadAll(t, options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want[start:], got, cmp.Transformer("empty", func(s []Step) []Step {
				return append([]Step{}, s...)
			})); diff != "" {
				t.Fatalf("%s from step %d: %s", kind, start, diff)
			}
			if diff := cmp.Diff(wantSkipped, skipped); diff != "" {
				t.Fatalf("%s from step %d: skipped %s", kind, start, diff)
			}
		}
	}
}

// skippedAfter is what a checkpoint after so many steps holds. The loader has prepared more steps than it has returned
// by then.
func skippedAfter(t *testing.T, options LoaderOptions, steps int) (skipped []Skip) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLoader(t.Context(), options)
		defer l.Close()
		for range steps {
			if _, err := l.Next(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		skipped = l.Skipped()
	})
	return skipped
}

func TestLoaderPropertyOfSplitAndResume(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := corpus{rows: rapid.IntRange(1, 60).Draw(r, "rows")}
		kind := rapid.SampledFrom(orderKinds).Draw(r, "kind")
		global := rapid.IntRange(1, 12).Draw(r, "global")
		want, _, err := loadAll(t, c.options(r, kind, global, 2))
		if err != nil {
			r.Fatal(err)
		}
		options := c.options(r, kind, global, 2)
		options.Workers = rapid.IntRange(1, 9).Draw(r, "workers")
		options.Ahead = rapid.IntRange(1, 9).Draw(r, "ahead")
		options.Micro = rapid.IntRange(1, 9).Draw(r, "micro")
		options.Tokens = rapid.IntRange(0, 30).Draw(r, "tokens")
		options.Start = rapid.IntRange(0, len(want)-1).Draw(r, "start")
		got, _, err := loadAll(t, options)
		if err != nil {
			r.Fatal(err)
		}
		if diff := cmp.Diff(stepIDs(want[options.Start:]), stepIDs(got)); diff != "" {
			r.Fatal(diff)
		}
	})
}
