package data

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
)

func TestLoaderDeliversAStepWithoutSamples(t *testing.T) {
	c := corpus{rows: 6, bad: map[int]bool{2: true, 3: true}}
	steps, _, err := loadAll(t, c.options(t, "sequential", 2, 1))
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 3 || len(steps[1].Micro) != 0 || len(steps[1].Skipped) != 2 || len(steps[2].Micro) != 1 {
		t.Errorf("steps: %+v", steps)
	}
}

// A data set without a usable row ends the run when its last row has been skipped, however few they are.
func TestLoaderStopsWithoutAUsableRow(t *testing.T) {
	c := corpus{rows: 4, bad: map[int]bool{0: true, 1: true, 2: true, 3: true}}
	steps, skipped, err := loadAll(t, c.options(t, "sequential", 2, 3))
	if !errors.Is(err, ErrTooManySkipped) ||
		!strings.Contains(err.Error(), "none of the rows of data[0] can be used") ||
		!strings.Contains(err.Error(), "the first: data[0] row 0: picture 0 is broken") {
		t.Errorf("error: %v", err)
	}
	if len(steps) != 1 || len(skipped) != 4 {
		t.Errorf("%d steps and %d skipped, want 1 and 4", len(steps), len(skipped))
	}
	options := c.options(t, "sequential", 2, 3)
	options.Limit = Unlimited
	if steps, _, err := loadAll(t, options); err != nil || len(steps) != 6 {
		t.Errorf("unlimited: %d steps, %v", len(steps), err)
	}
}

func TestLoaderStopsAtTooManySkipped(t *testing.T) {
	bad := map[int]bool{}
	for _, row := range []int{1, 3, 8, 9, 14, 15} {
		bad[row] = true
	}
	c := corpus{rows: 20, bad: bad}
	options := c.options(t, "sequential", 4, 3)
	steps, skipped, err := loadAll(t, options)
	if !errors.Is(err, ErrTooManySkipped) ||
		!strings.Contains(err.Error(), "6 of 20 rows by step 4, more than the 5 allowed") ||
		!strings.Contains(err.Error(), "data[0] row 1: picture 1 is broken") {
		t.Errorf("error: %v", err)
	}
	if len(steps) != 3 || len(skipped) != 6 {
		t.Errorf("%d steps and %d skipped, want 3 and 6", len(steps), len(skipped))
	}

	// The same end, of the same run in two parts.
	options = c.options(t, "sequential", 4, 3)
	options.Start, options.Known = 3, skippedAfter(t, c.options(t, "sequential", 4, 3), 3)
	steps, skippedLater, again := loadAll(t, options)
	if len(steps) != 0 || again == nil || again.Error() != err.Error() || !cmp.Equal(skipped, skippedLater) {
		t.Errorf("resumed: %d steps, then %v, want %v", len(steps), again, err)
	}

	// Without the limit, all of them are skipped and the rest comes.
	options = c.options(t, "sequential", 4, 3)
	options.Limit = Unlimited
	if steps, skipped, err := loadAll(t, options); err != nil || len(steps) != 15 || len(skipped) != 6 {
		t.Errorf("unlimited: %d steps, %d skipped, %v; want 15, 6 and no error", len(steps), len(skipped), err)
	}

	// A limit of the caller's own.
	options = c.options(t, "sequential", 4, 3)
	options.Limit = 6
	if steps, skipped, err := loadAll(t, options); err != nil || len(steps) != 15 || len(skipped) != 6 {
		t.Errorf("limit 6: %d steps, %d skipped, %v; want 15, 6 and no error", len(steps), len(skipped), err)
	}

	// One fewer is within the limit, in any number of epochs.
	delete(bad, 15)
	steps, skipped, err = loadAll(t, c.options(t, "sequential", 4, 3))
	if err != nil || len(steps) != 15 || len(skipped) != 5 {
		t.Errorf("%d steps, %d skipped, %v; want 15, 5 and no error", len(steps), len(skipped), err)
	}
}

func TestSkipLimit(t *testing.T) {
	for rows, want := range map[int]int{1: 5, 5_999: 5, 6_000: 6, 50_000: 50, 99_999: 99, 665_298: 100} {
		if got := SkipLimit(rows); got != want {
			t.Errorf("SkipLimit(%d) = %d, want %d", rows, got, want)
		}
	}
}

func TestLoaderEndsAtTheFirstErrorInOrder(t *testing.T) {
	disk := errors.New("disk is gone")
	for _, test := range []struct {
		name string
		fail bool
		bad  error
	}{
		{"bad row, policy fail", true, fmt.Errorf("no such picture: %w", picture.ErrRow)},
		{"source file, policy skip", false, disk},
		{"source file, policy fail", true, disk},
	} {
		c := corpus{rows: 20}
		options := c.options(t, "sequential", 4, 1)
		options.FailOnBad, options.Workers, options.Ahead = test.fail, 8, 5
		options.Prepare = func(ctx context.Context, source, row int) (Sample, error) {
			if row == 18 {
				return Sample{}, errors.New("a later one, known sooner")
			}
			s, err := c.prepare(ctx, source, row)
			if row == 10 && err == nil {
				err = test.bad
			}
			return s, err
		}
		steps, _, err := loadAll(t, options)
		if !errors.Is(err, test.bad) || !strings.Contains(err.Error(), "step 3, data[0] row 10") {
			t.Errorf("%s: %v", test.name, err)
		}
		if len(steps) != 2 {
			t.Errorf("%s: %d steps come before the error, want 2", test.name, len(steps))
		}
	}
}

func TestLoaderEndsAtABadBatch(t *testing.T) {
	c := corpus{rows: 4}
	options := c.options(t, "sequential", 2, 1)
	options.Prepare = func(ctx context.Context, source, row int) (Sample, error) {
		s, err := c.prepare(ctx, source, row)
		if row == 0 && err == nil {
			s.Images[0].Layout = picture.Flat(2)
		}
		return s, err
	}
	if _, _, err := loadAll(t, options); err == nil || !strings.Contains(err.Error(), `step 1: sample "id0"`) {
		t.Errorf("error: %v", err)
	}
}

func TestLoaderPreparesNoFurtherAhead(t *testing.T) {
	c := corpus{rows: 100}
	for _, ahead := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			var prepared atomic.Int64
			options := c.options(t, "shuffled", 5, 1)
			options.Ahead = ahead
			options.Prepare = func(ctx context.Context, source, row int) (Sample, error) {
				prepared.Add(1)
				return c.prepare(ctx, source, row)
			}
			l := NewLoader(t.Context(), options)
			defer l.Close()
			for returned := range 4 {
				time.Sleep(time.Hour)
				if got, want := prepared.Load(), int64(5*(returned+ahead)); got != want {
					t.Errorf("%d samples are prepared after %d steps, want %d", got, returned, want)
				}
				if _, err := l.Next(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A bubble fails when goroutines are left at its end, so these need only stop early.
func TestLoaderStopsEarly(t *testing.T) {
	c := corpus{rows: 100}
	t.Run("closed at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := NewLoader(t.Context(), c.options(t, "shuffled", 5, 1))
			l.Close()
			l.Close()
			if _, err := l.Next(); !errors.Is(err, context.Canceled) {
				t.Errorf("Next after Close: %v", err)
			}
		})
	})
	t.Run("closed with everything prepared", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := NewLoader(t.Context(), c.options(t, "shuffled", 5, 1))
			time.Sleep(time.Hour)
			l.Close()
		})
	})
	t.Run("cancelled while waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			stop := errors.New("interrupted")
			ctx, cancel := context.WithCancelCause(t.Context())
			options := c.options(t, "shuffled", 5, 1)
			options.Prepare = func(ctx context.Context, _, _ int) (Sample, error) {
				<-ctx.Done()
				return Sample{}, ctx.Err()
			}
			l := NewLoader(ctx, options)
			defer l.Close()
			time.AfterFunc(time.Second, func() { cancel(stop) })
			if _, err := l.Next(); !errors.Is(err, stop) {
				t.Errorf("Next: %v, want the cause", err)
			}
		})
	})
}
