package profile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// recorded is what was recorded of some steps.
type recorded struct {
	steps   []profiledStep
	events  []torch.Event // including those between the steps
	device  torch.Device
	threads int
	usual   time.Duration // of a step without the profiler; 0 if unknown
}

// span names the steps, as text.
func (p *recorded) span() string {
	first, last := p.steps[0].number, p.steps[len(p.steps)-1].number
	if first == last {
		return fmt.Sprintf("step %d", first)
	}
	return fmt.Sprintf("steps %d to %d", first, last)
}

// inSteps visits the events that began within the given number of first steps.
func (p *recorded) inSteps(steps int, visit func(i int, e torch.Event)) {
	for i, e := range p.events {
		if slices.ContainsFunc(p.steps[:steps], func(s profiledStep) bool {
			return !e.Start.Before(s.began) && e.Start.Before(s.ended)
		}) {
			visit(i, e)
		}
	}
}

const (
	evaluates = "autograd::engine::evaluate_function: " // libtorch's name for the work around a node of the graph
	autograds = "autograd "                             // ours, for that and the node itself
	ours      = "llavatrain::"
)

// name is the table row that an event belongs to: libtorch's name, except that a node of autograd and the work around
// it share a row.
func (p *recorded) name(i int) string {
	e := p.events[i]
	node, around := strings.CutPrefix(e.Name, evaluates)
	if !around && (e.Parent < 0 || p.events[e.Parent].Name != evaluates+node) {
		return e.Name
	}
	node = strings.TrimPrefix(node, "torch::autograd::")
	if inner, ok := strings.CutPrefix(node, "CppNode<"); ok { // one of our nodes, with the full name of its type
		node = strings.TrimSuffix(inner[strings.LastIndex(inner, ":")+1:], ">")
	}
	return autograds + node
}

// operation is a row of the table: all calls of one name.
type operation struct {
	name        string
	calls       int           // without those inside a call of the same name
	total, self time.Duration // with and without the operations that it calls
}

// operations are the rows of the host, or of the GPU, by self time.
func (p *recorded) operations(host bool) []*operation {
	byName := map[string]*operation{}
	p.inSteps(len(p.steps), func(i int, e torch.Event) {
		if (e.Device == torch.CPU) != host {
			return
		}
		name := p.name(i)
		if byName[name] == nil {
			byName[name] = &operation{name: name}
		}
		row := byName[name]
		row.self += e.Self
		for caller := e.Parent; host && caller >= 0; caller = p.events[caller].Parent {
			if p.name(caller) == name {
				return
			}
		}
		row.calls, row.total = row.calls+1, row.total+e.Total
	})
	return slices.SortedFunc(maps.Values(byName), func(a, b *operation) int {
		return cmp.Or(cmp.Compare(b.self, a.self), strings.Compare(a.name, b.name))
	})
}

// between is how much of a stretch of time is not covered by any operation on any thread.
func (p *recorded) between(began, ended time.Time) time.Duration {
	free, until := time.Duration(0), began
	for _, e := range p.events { // in the order of their start
		if e.Device != torch.CPU || e.Parent >= 0 || !e.End().After(until) {
			continue
		}
		if !e.Start.Before(ended) {
			break
		}
		if e.Start.After(until) {
			free += e.Start.Sub(until)
		}
		until = e.End()
	}
	return free + max(0, ended.Sub(until))
}

// stretch is a part of the steps: its time, how many operations it called, and its time between them.
type stretch struct {
	name          string
	took, between time.Duration
	operations    int
}

// parts divides the steps' time by part, in the order in which the parts run.
func (p *recorded) parts() []*stretch {
	var list []*stretch
	others := &stretch{name: "the rest"}
	add := func(s *stretch, began, ended time.Time) {
		s.took, s.between = s.took+ended.Sub(began), s.between+p.between(began, ended)
		for _, e := range p.events {
			if e.Device == torch.CPU && !e.Start.Before(began) && e.Start.Before(ended) {
				s.operations++
			}
		}
	}
	named := func(name string) *stretch {
		i := slices.IndexFunc(list, func(s *stretch) bool { return s.name == name })
		if i < 0 {
			i, list = len(list), append(list, &stretch{name: name})
		}
		return list[i]
	}
	for _, step := range p.steps {
		add(named(waiting), step.began, step.loaded)
		at := step.loaded
		for _, l := range step.laps { // one begins where the last ended
			add(others, at, l.began)
			add(named(l.part), l.began, l.ended)
			at = l.ended
		}
		add(others, at, step.ended)
	}
	return append(list, others)
}

const waiting = "waiting for data"

// kinds divides the steps' time by kind of work: every row of the table of operations is in one kind.
func (p *recorded) kinds(operations []*operation, parts []*stretch) []stretch {
	libtorch, nodes := stretch{name: "operations of libtorch"}, stretch{name: "nodes of autograd"}
	kernels, data := stretch{name: "llavatrain's kernels"}, stretch{name: waiting}
	engine := stretch{name: "between operations, in backward"}
	program := stretch{name: "between operations, elsewhere"}
	for _, row := range operations {
		switch {
		case strings.HasPrefix(row.name, ours):
			kernels.took += row.self
		case strings.HasPrefix(row.name, autograds):
			nodes.took += row.self
		default:
			libtorch.took += row.self
		}
	}
	for _, part := range parts {
		switch part.name {
		case waiting:
			data.took += part.took
		case "backward":
			engine.took += part.between
		default:
			program.took += part.between
		}
	}
	return []stretch{libtorch, kernels, nodes, engine, program, data}
}
