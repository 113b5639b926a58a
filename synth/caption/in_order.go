package caption

import (
	"context"
	"runtime"
	"sync"
)

// batch is how many items a worker takes at a time.
const batch = 256

// job is a batch on its way through a worker.
type job[In, Out any] struct {
	in   []In
	out  []Out
	err  error // what went wrong after the last of out, or after all of in
	done chan struct{}
}

func (j *job[In, Out]) run(work func(In) (Out, error)) {
	defer close(j.done)
	for _, in := range j.in {
		out, err := work(in)
		if err != nil {
			j.err = err
			return
		}
		j.out = append(j.out, out)
	}
}

// inOrder gives the items that produce hands out to work, on all processors, and the results to consume, one by one, in
// the order of the items. It returns the first error in this order; nothing is consumed after it.
func inOrder[In, Out any](ctx context.Context, produce func(next func(In) error) error,
	work func(In) (Out, error), consume func(Out) error) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	jobs, ordered := make(chan *job[In, Out]), make(chan *job[In, Out], 2*workers)
	for range workers {
		group.Go(func() {
			for j := range jobs {
				j.run(work)
			}
		})
	}
	group.Go(func() {
		defer close(ordered)
		defer close(jobs)
		hand(ctx, produce, jobs, ordered)
	})
	for j := range ordered {
		<-j.done
		for _, out := range j.out {
			if err := consume(out); err != nil {
				return err
			}
		}
		if j.err != nil {
			return j.err
		}
	}
	return ctx.Err()
}

// hand makes jobs of what produce hands out. Its error becomes that of the last job.
func hand[In, Out any](ctx context.Context, produce func(next func(In) error) error,
	jobs, ordered chan<- *job[In, Out]) {
	begin := func() *job[In, Out] { return &job[In, Out]{done: make(chan struct{})} }
	j := begin()
	send := func() error {
		full := j
		j = begin()
		for _, to := range []chan<- *job[In, Out]{jobs, ordered} { // in this order, so what is waited for is being done
			select {
			case to <- full:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	err := produce(func(in In) error {
		if j.in = append(j.in, in); len(j.in) < batch {
			return nil
		}
		return send()
	})
	j.err = err
	send() // if it is cancelled, nobody waits for it
}
