package caption

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
)

// count hands out 0 … n−1, then fails with err.
func count(n int, err error) func(func(int) error) error {
	return func(next func(int) error) error {
		for i := range n {
			if err := next(i); err != nil {
				return err
			}
		}
		return err
	}
}

func TestInOrder(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []struct {
		n, failWork, failConsume int // −1: never
		produced                 error
		want                     int // items consumed
		err                      error
	}{
		{0, -1, -1, nil, 0, nil},
		{1, -1, -1, nil, 1, nil},
		{batch, -1, -1, nil, batch, nil},
		{10*batch + 7, -1, -1, nil, 10*batch + 7, nil},
		{10*batch + 7, -1, -1, bad, 10*batch + 7, bad},
		{0, -1, -1, bad, 0, bad},
		{10 * batch, 3*batch + 5, -1, nil, 3*batch + 5, bad},
		{10 * batch, -1, 3*batch + 5, nil, 3*batch + 5, bad},
		{1000 * batch, 3*batch + 5, -1, errors.New("later"), 3*batch + 5, bad},
	} {
		synctest.Test(t, func(t *testing.T) { // in which goroutines that do not end are an error
			var got []int
			err := inOrder(context.Background(), count(c.n, c.produced), func(i int) (string, error) {
				if i == c.failWork {
					return "", bad
				}
				return fmt.Sprint(i), nil
			}, func(text string) error {
				if len(got) == c.failConsume {
					return bad
				}
				var i int
				fmt.Sscan(text, &i)
				got = append(got, i)
				return nil
			})
			if err != c.err || len(got) != c.want || !slices.IsSorted(got) || c.want > 0 && got[c.want-1] != c.want-1 {
				t.Errorf("%+v: %d items, error %v", c, len(got), err)
			}
		})
	}
}

func TestInOrderIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		err := inOrder(ctx, count(1000*batch, nil), func(i int) (int, error) { return i, nil }, func(int) error {
			if n++; n == 2*batch {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || n > 500*batch {
			t.Errorf("%d items, error %v", n, err)
		}
	})
}
