package runs

import "time"

// Pace estimates how long a run still takes: the steps that are left at their mean time, and what comes between them,
// as often as it is due, at its own. A nil Pace knows nothing.
type Pace struct {
	total int
	steps mean
	seen  int // steps of this process
	work  map[string]*work
}

// work is what comes after every so many steps, and after the last.
type work struct {
	every int
	took  mean
	steps float64 // as long as so many steps, until it has been seen
}

// mean is a mean in which recent values count for more: each counts half as much as one that comes 350 later.
type mean struct{ sum, count float64 }

func (m *mean) add(d time.Duration) {
	const kept = 0.998
	m.sum, m.count = kept*m.sum+d.Seconds(), kept*m.count+1
}

// warmUp is how many steps of a process are slower than the others, while buffers reach their size.
const warmUp = 2

// NewPace is the pace of a run of total steps.
func NewPace(total int) *Pace { return &Pace{total: total, work: map[string]*work{}} }

// Expect says that something comes after every so many steps and after the last, and takes about as long as a number of
// steps.
func (p *Pace) Expect(name string, every int, steps float64) {
	p.work[name] = &work{every: every, steps: steps}
}

// Step says how long a step took, waiting for data included and what came after it not.
func (p *Pace) Step(took time.Duration) {
	if p == nil {
		return
	}
	if p.seen++; p.seen == warmUp+1 {
		p.steps = mean{}
	}
	p.steps.add(took)
}

// Work says how long it took to do what is expected under a name.
func (p *Pace) Work(name string, took time.Duration) {
	if p == nil {
		return
	}
	if w := p.work[name]; w != nil {
		w.took.add(took)
	}
}

// Left is the time that a run takes after a step, 0 if nothing is known yet.
func (p *Pace) Left(step int) time.Duration {
	if p == nil || p.steps.count == 0 {
		return 0
	}
	each := p.steps.sum / p.steps.count
	left := float64(p.total-step) * each
	for _, w := range p.work {
		took := w.steps * each
		if w.took.count > 0 {
			took = w.took.sum / w.took.count
		}
		left += float64(w.times(step, p.total)) * took
	}
	return time.Duration(left * float64(time.Second))
}

// times is how often work is due after a step.
func (w *work) times(step, total int) int {
	if step >= total {
		return 0
	}
	return (total-1)/w.every - step/w.every + 1
}
