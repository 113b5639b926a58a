package load

import (
	"fmt"
	"strings"
)

// Table is the result for a person, in lines of a terminal.
func (r *Result) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d requests answered in %.1f s, %.2f/s; %.1f open on average, %d at most\n", r.Answered,
		r.Requests, r.Seconds, r.RequestRate, r.MeanOpen, r.MostOpen)
	fmt.Fprintf(&b, "tokens/s: %.1f of answers, %.1f of prompts", r.CompletionRate, r.PromptRate)
	if r.Pictures > 0 {
		fmt.Fprintf(&b, "; pictures/s: %.2f", r.PictureRate)
	}
	b.WriteByte('\n')
	if r.Latency != nil {
		fmt.Fprintf(&b, "%-16s %10s %10s %10s %10s\n", "ms", "p50", "p90", "p99", "max")
	}
	for _, row := range []struct {
		name string
		*Spread
	}{{"first token", r.First}, {"between tokens", r.Between}, {"per token", r.PerToken}, {"whole answer", r.Latency}} {
		if row.Spread != nil {
			fmt.Fprintf(&b, "%-16s %10.1f %10.1f %10.1f %10.1f\n", row.name, row.P50, row.P90, row.P99, row.Max)
		}
	}
	if r.Uncounted > 0 {
		fmt.Fprintf(&b, "the server did not count the tokens of %d answers: their pieces were counted\n", r.Uncounted)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "failed, %s: %d, first: %s\n", f.Kind, f.Count, f.First)
	}
	return b.String()
}
