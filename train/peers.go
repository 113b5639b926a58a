package train

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/ranks"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/score"
)

// peers are the processes that train together. Rank 0 alone reports, writes the run folder and decides where the run
// starts; all compute. A run of one process has nobody to ask and nothing to sum.
type peers struct {
	*ranks.Group
	gradients *torch.Comm // nil alone
	patience  time.Duration
	onGPUs    bool // gradients go over NCCL, whose collectives wait for ever

	stopping bool          // a rank was asked to stop: all do after this step
	slowest  *runs.Slowest // of the step that comes next; nil alone
	ready    time.Time     // when this rank had computed its last step
	took     []time.Duration
}

// meet is what a run knows of its group, which may be nil. A collective may take as long as patience: all ranks are in
// it, or about to be.
func meet(group *ranks.Group, patience time.Duration) *peers {
	if group == nil {
		return noPeers()
	}
	return &peers{Group: group, ready: time.Now(), patience: patience}
}

// connect connects the processes for what they compute together, on the devices where they compute: GPUs by NCCL, also
// where LLAVATRAIN_NCCL names the library. It warns if sums are not the same bits each time.
func (p *peers) connect(device torch.Device, dtype torch.Dtype) (warning string, err error) {
	if p.alone() {
		return "", nil
	}
	p.onGPUs = device != torch.CPU || os.Getenv("LLAVATRAIN_NCCL") != ""
	if !p.onGPUs {
		p.gradients, err = p.Gloo("gradients", p.patience)
		return "", err
	}
	if p.gradients, err = p.NCCL("gradients", p.patience); err != nil {
		return "", err
	}
	repeat := false
	p.Expect(p.patience)
	err = torch.Do(func(s *torch.Scope) { repeat = p.gradients.SumsRepeat(s, dtype, device) })
	p.Expect(0)
	if err == nil && !repeat {
		warning = "sums over the GPUs differ from call to call, so that the same run again gives other bits: unset " +
			"NCCL_NVLS_ENABLE and NCCL_ALGO, or set them to 0 and Ring"
	}
	return warning, err
}

// noPeers is a process alone.
func noPeers() *peers { return &peers{Group: &ranks.Group{Place: ranks.Place{World: 1, Locals: 1}}} }

func (p *peers) alone() bool { return p.World == 1 }

// first says whether this process reports and writes for all.
func (p *peers) first() bool { return p.Rank == 0 }

// observer is what reports of this process go to.
func (p *peers) observer(o runs.Observer) runs.Observer {
	if p.first() {
		return o
	}
	return runs.Silent{}
}

// workers is how many goroutines prepare samples where the recipe leaves it open: the host's cores are shared.
func (p *peers) workers(asked int) int {
	if asked > 0 || p.Locals < 2 {
		return asked
	}
	return max(1, runtime.GOMAXPROCS(0)/p.Locals)
}

// everyone is what each rank says at a point of its work, by rank.
func everyone[T any](p *peers, at string, mine T) ([]T, error) {
	if p.alone() {
		return []T{mine}, nil
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, err
	}
	notices, err := p.Agree(at, ranks.Notice{Text: text})
	if err != nil {
		return nil, err
	}
	all := make([]T, len(notices))
	for rank, notice := range notices {
		if err := json.Unmarshal(notice.Text, &all[rank]); err != nil {
			return nil, fmt.Errorf("what rank %d (%s) says at %s: %w", rank, p.Members[rank], at, err)
		}
	}
	return all, nil
}

// firstOf is what rank 0 says; it alone is asked.
func firstOf[T any](p *peers, at string, ask func() (T, error)) (T, error) {
	var mine T
	if p.first() {
		var err error
		if mine, err = ask(); err != nil || p.alone() {
			return mine, err
		}
	}
	all, err := everyone(p, at, mine)
	if err != nil {
		return mine, err
	}
	return all[0], nil
}

// done is what rank 0 says of something that the others only wait for.
type done struct{}

// same refuses to go on if the ranks do not have the same of something.
func (p *peers) same(what string, mine map[string]string) error {
	all, err := everyone(p, what, mine)
	if err != nil {
		return err
	}
	for rank, its := range all {
		for _, key := range slices.Sorted(maps.Keys(all[0])) {
			if its[key] != all[0][key] {
				return failure.Inputf("rank %d (%s) and rank 0 (%s) differ in %s, %s: %s and %s; give all the same",
					rank, p.Members[rank], p.Members[0], what, key, its[key], all[0][key])
			}
		}
	}
	return nil
}

// part is what this rank computes of the steps of d; nil alone.
func (p *peers) part(ctx context.Context, d encoder, what string) *data.Part {
	if p.alone() {
		return nil
	}
	return &data.Part{Rank: p.Rank, World: p.World, Encode: d.Encode,
		Exchange: func(step int, bad []data.Skip, failed error) ([]data.Skip, error) {
			return p.exchange(ctx, fmt.Sprintf("%s %d", what, step+1), bad, failed)
		}}
}

type encoder interface {
	Encode(ctx context.Context, source, row int) (data.Sample, error)
}

// exchange tells the others which rows this rank has found bad, that it was asked to stop, and when it came.
func (p *peers) exchange(ctx context.Context, at string, bad []data.Skip, failed error) ([]data.Skip, error) {
	mine := ranks.Notice{Stop: ctx.Err() != nil, Took: time.Since(p.ready)}
	if failed != nil {
		mine.Failed = failed.Error()
	}
	var err error
	if mine.Text, err = json.Marshal(bad); err != nil {
		return nil, err
	}
	notices, err := p.Agree(at, mine)
	if err != nil {
		return nil, err
	}
	var all []data.Skip
	p.slowest = nil
	for rank, notice := range notices {
		var its []data.Skip
		if err := json.Unmarshal(notice.Text, &its); err != nil {
			return nil, fmt.Errorf("what rank %d (%s) says at %s: %w", rank, p.Members[rank], at, err)
		}
		all = append(all, its...)
		p.stopping = p.stopping || notice.Stop
		if ms := runs.Milliseconds(notice.Took); p.slowest == nil || ms > p.slowest.MS {
			p.slowest = &runs.Slowest{Rank: rank, MS: ms}
		}
	}
	return all, nil
}

// interrupted says whether the run is to stop after this step: its own signal alone, any rank's with others.
func (p *peers) interrupted(ctx context.Context) bool {
	if p.alone() {
		return ctx.Err() != nil
	}
	return p.stopping
}

// settled waits until all ranks have done what an error that all know leaves to be done, so that none ends the others
// before.
func (p *peers) settled(failed error) error {
	if p.alone() {
		return failed
	}
	_, _ = p.Agree("the end", ranks.Notice{}) // another fault has been told by now
	return failed
}

// gather is the scores of all ranks' rows.
func (p *peers) gather(mine []score.PlacedScore) ([]score.PlacedScore, error) {
	all, err := everyone(p, "evaluating", mine)
	return slices.Concat(all...), err
}

const (
	guardFrom  = 5               // steps, whose times tell what to expect
	guardTimes = 10              // as long as usual, a step may take
	guardLeast = 5 * time.Minute // and as long as this
)

// computing says that a step is being computed, and that all are to end if it takes far longer than steps do.
func (p *peers) computing(step int) {
	if p.alone() {
		return
	}
	p.Say(fmt.Sprintf("step %d, computing", step))
	switch {
	case len(p.took) >= guardFrom:
		sorted := slices.Sorted(slices.Values(p.took))
		p.Expect(max(guardLeast, guardTimes*sorted[len(sorted)/2]))
	case p.onGPUs:
		p.Expect(p.patience)
	}
}

// computed says that a step is done.
func (p *peers) computed(began time.Time) {
	p.ready = time.Now()
	if p.alone() {
		return
	}
	p.Expect(0)
	if p.took = append(p.took, p.ready.Sub(began)); len(p.took) > 100 {
		p.took = p.took[1:]
	}
}
