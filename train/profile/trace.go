package profile

import (
	"bufio"
	"encoding/json"
	"io"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

const tracedSteps = 3 // viewers get slow with more

// traceEvent is one entry of Chrome's trace format ("Trace Event Format", Google 2016), which chrome://tracing and
// Perfetto read.
type traceEvent struct {
	Name     string            `json:"name"`
	Kind     string            `json:"cat,omitempty"`
	Phase    string            `json:"ph"` // X: from ts for dur; s, f: ends of an arrow; M: name of a process
	Process  int64             `json:"pid"`
	Thread   int64             `json:"tid"`
	Start    float64           `json:"ts"`  // microseconds
	Duration float64           `json:"dur"` // microseconds
	ID       int               `json:"id,omitempty"`
	Binds    string            `json:"bp,omitempty"`
	Args     map[string]string `json:"args,omitempty"`
}

// The processes of the trace: the steps and their parts, the operations by thread, and each GPU's work by stream.
const (
	stepsProcess = iota
	hostProcess
	gpuProcess // and those after it
)

// writeTrace writes the first steps as a trace, for a viewer that draws it over time.
func (p *recorded) writeTrace(file io.Writer) error {
	zero := p.steps[0].began
	list := []traceEvent{processName(stepsProcess, "steps"), processName(hostProcess, "operations")}
	if p.device != torch.CPU {
		list = append(list, processName(gpuProcess+int64(p.device), p.device.String()))
	}
	add := func(name, kind string, process, thread int64, began, ended time.Time) {
		list = append(list, traceEvent{Name: name, Kind: kind, Phase: "X", Process: process, Thread: thread,
			Start: microseconds(began.Sub(zero)), Duration: microseconds(ended.Sub(began))})
	}
	steps := min(tracedSteps, len(p.steps))
	for i, s := range p.steps[:steps] {
		one := recorded{steps: p.steps[i : i+1]}
		add(one.span(), "step", stepsProcess, 0, s.began, s.ended)
		add(waiting, "part", stepsProcess, 0, s.began, s.loaded)
		for _, l := range s.laps {
			add(l.part, "part", stepsProcess, 0, l.began, l.ended)
		}
	}
	p.inSteps(steps, func(i int, e torch.Event) {
		if e.Device == torch.CPU {
			add(e.Name, "operation", hostProcess, e.Lane, e.Start, e.End())
			return
		}
		process := gpuProcess + int64(e.Device)
		add(e.Name, "gpu", process, e.Lane, e.Start, e.End())
		if e.Parent >= 0 { // an arrow from the call that queued the work
			call := p.events[e.Parent]
			arrow := traceEvent{Name: "queued", Kind: "queue", Phase: "s", ID: i + 1, Process: hostProcess,
				Thread: call.Lane, Start: microseconds(call.Start.Sub(zero))}
			list = append(list, arrow)
			arrow.Phase, arrow.Binds = "f", "e"
			arrow.Process, arrow.Thread, arrow.Start = process, e.Lane, microseconds(e.Start.Sub(zero))
			list = append(list, arrow)
		}
	})
	w := bufio.NewWriter(file)
	if err := json.NewEncoder(w).Encode(map[string]any{"displayTimeUnit": "ms", "traceEvents": list}); err != nil {
		return err
	}
	return w.Flush()
}

func processName(process int64, name string) traceEvent {
	return traceEvent{Name: "process_name", Phase: "M", Process: process, Args: map[string]string{"name": name}}
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
