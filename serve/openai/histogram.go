package openai

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Upper bounds of vLLM's histograms, so that dashboards made for it fit.
var (
	firstBounds = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
		640, 2560}
	tokenBounds   = []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	requestBounds = []float64{.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
	countBounds   = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000}
)

// histogram counts values by bounds.
type histogram struct {
	bounds []float64
	counts []int64 // one more than bounds
	sum    float64
}

func newHistogram(bounds []float64) *histogram {
	return &histogram{bounds: bounds, counts: make([]int64, len(bounds)+1)}
}

func (h *histogram) add(value float64) {
	at, _ := slices.BinarySearch(h.bounds, value) // a value on a bound is under it
	h.counts[at]++
	h.sum += value
}

// page writes metrics in Prometheus' text form, version 0.0.4.
type page struct {
	w    io.Writer
	last string // the family that was begun
}

// begin writes a family's head, once.
func (p *page) begin(name, kind, help string) {
	if p.last != name {
		p.last = name
		fmt.Fprintf(p.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
}

// value writes a line. Labels are names and values in turn.
func (p *page) value(name string, value float64, labels ...string) {
	fmt.Fprintf(p.w, "%s{%s} %s\n", name, joinLabels(labels), number(value))
}

// histogram writes the lines of one.
func (p *page) histogram(name string, h *histogram, labels ...string) {
	all := int64(0)
	for i, n := range h.counts {
		all += n
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = number(h.bounds[i])
		}
		p.value(name+"_bucket", float64(all), append(slices.Clone(labels), "le", bound)...)
	}
	p.value(name+"_count", float64(all), labels...)
	p.value(name+"_sum", h.sum, labels...)
}

// number writes whole numbers with a point, as Prometheus' own client does.
func number(value float64) string {
	text := strconv.FormatFloat(value, 'g', -1, 64)
	if strings.ContainsAny(text, ".eIN") {
		return text
	}
	return text + ".0"
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func joinLabels(labels []string) string {
	var text strings.Builder
	for i := 0; i+1 < len(labels); i += 2 {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(labels[i] + `="` + labelEscapes.Replace(labels[i+1]) + `"`)
	}
	return text.String()
}
