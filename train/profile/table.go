package profile

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"time"
)

// table writes ops.txt, whose figures are means of one step.
type table struct {
	*bufio.Writer
	steps float64
	all   time.Duration // total of the steps
}

func (w table) ms(d time.Duration) float64    { return d.Seconds() * 1e3 / w.steps }
func (w table) share(d time.Duration) float64 { return 100 * d.Seconds() / w.all.Seconds() }

// writeTable writes the steps' time by kind of work, by part, and by operation.
func (p *recorded) writeTable(file io.Writer) error {
	w := table{Writer: bufio.NewWriter(file), steps: float64(len(p.steps))}
	for _, s := range p.steps {
		w.all += s.ended.Sub(s.began)
	}
	operations, parts := p.operations(true), p.parts()
	w.head(p, parts)
	fmt.Fprintf(w, "\n%-34s%12s%9s\n", "where the time goes", "ms a step", "share")
	for _, kind := range p.kinds(operations, parts) {
		fmt.Fprintf(w, "%-34s%12.3f%8.1f%%\n", kind.name, w.ms(kind.took), w.share(kind.took))
	}
	fmt.Fprintf(w, "\n%-34s%12s%9s%14s%18s\n", "part", "ms a step", "share", "operations", "ms between them")
	for _, part := range parts {
		fmt.Fprintf(w, "%-34s%12.3f%8.1f%%%14.1f%18.3f\n", part.name, w.ms(part.took), w.share(part.took),
			float64(part.operations)/w.steps, w.ms(part.between))
	}
	w.operations("operation", operations)
	if onGPU := p.operations(false); len(onGPU) > 0 {
		w.operations("work on the GPU", onGPU)
	}
	return w.Flush()
}

func (w table) head(p *recorded, parts []*stretch) {
	var times []time.Duration
	operations, calls := 0, int64(0)
	for _, s := range p.steps {
		times, calls = append(times, s.ended.Sub(s.began)), calls+s.calls
	}
	for _, part := range parts {
		operations += part.operations
	}
	slices.Sort(times)
	fmt.Fprintf(w, "%s on %v, %d threads\n", p.span(), p.device, p.threads)
	fmt.Fprintf(w, "a step took %.2f ms (median)", milliseconds(times[len(times)/2]))
	if p.usual > 0 {
		fmt.Fprintf(w, ", %.2f ms without the profiler", milliseconds(p.usual))
	}
	fmt.Fprintf(w, "\n%.0f operations and %.0f calls from Go to C a step\n",
		float64(operations)/w.steps, float64(calls)/w.steps)
}

func (w table) operations(title string, rows []*operation) {
	fmt.Fprintf(w, "\n%12s%9s%12s%12s   %s\n", "self, ms", "share", "total, ms", "calls", title)
	for _, row := range rows {
		fmt.Fprintf(w, "%12.3f%8.1f%%%12.3f%12.1f   %s\n", w.ms(row.self), w.share(row.self), w.ms(row.total),
			float64(row.calls)/w.steps, row.name)
	}
}
