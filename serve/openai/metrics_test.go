package openai

import (
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/serve/servetest"
)

// readMetrics reads Prometheus' text form, and checks it: a family's lines stand together under its head.
func readMetrics(t *testing.T, text string) map[string]float64 {
	t.Helper()
	line := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\} (\S+)$`)
	values, seen, family, kind := map[string]float64{}, map[string]bool{}, "", ""
	for text := range strings.Lines(text) {
		text = strings.TrimSuffix(text, "\n")
		if rest, ok := strings.CutPrefix(text, "# HELP "); ok {
			family, _, _ = strings.Cut(rest, " ")
			if seen[family] {
				t.Errorf("%s begins twice", family)
			}
			seen[family] = true
			continue
		}
		if rest, ok := strings.CutPrefix(text, "# TYPE "+family+" "); ok {
			kind = rest
			continue
		}
		found := line.FindStringSubmatch(text)
		if found == nil {
			t.Errorf("line %q", text)
			continue
		}
		name := found[1]
		if kind == "histogram" {
			name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
		}
		value, err := strconv.ParseFloat(found[2], 64)
		if key, _, _ := strings.Cut(text, " "); name != family || err != nil || math.IsNaN(value) {
			t.Errorf("line %q under %s: %v", text, family, err)
		} else {
			values[key] = value
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := servetest.New(`to"y` + "\n")
		a, mux := newAPI(e)
		a.More = func(w io.Writer) {
			io.WriteString(w, "# HELP llavatrain_workers x\n# TYPE llavatrain_workers gauge\nllavatrain_workers{} 3\n")
		}
		ask := func(text, fields string) {
			ask(mux, "POST", "/v1/chat/completions", `{"model":"to\"y\n","messages":[{"role":"user",`+
				`"content":"`+text+`"}]`+fields+`}`)
		}
		ask("slow one two three", "")
		ask("slow one two three", `,"stream":true`)
		ask("endless", `,"max_tokens":2`)
		ask("refuse", "")
		ask("fail", "")
		ask("x", `,"n":0`)
		if err := e.WaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		watched, _ := a.Models.Find(e.Model().Name)
		if watched.Status().QueueSeconds != nil { // a heart beat asks too
			t.Error("the times of requests are told twice")
		}
		values := readMetrics(t, scrape(mux))
		for name, want := range map[string]float64{
			"vllm:num_requests_running": 0, "vllm:num_requests_waiting": 0, "vllm:kv_cache_usage_perc": 0,
			"vllm:num_preemptions_total": 0, "vllm:prompt_tokens_total": 14, "vllm:generation_tokens_total": 10,
			"vllm:prefix_cache_queries_total": 14, "vllm:prefix_cache_hits_total": 4, "llavatrain_pictures_total": 0,
			"vllm:time_to_first_token_seconds_count": 4, "vllm:inter_token_latency_seconds_count": 6,
			"vllm:time_per_output_token_seconds_count": 6, "vllm:e2e_request_latency_seconds_count": 3,
			"vllm:request_queue_time_seconds_count": 4, "vllm:request_queue_time_seconds_sum": 1,
			"vllm:request_prefill_time_seconds_count": 4, "vllm:request_decode_time_seconds_count": 3,
			"vllm:request_prompt_tokens_sum": 12, "vllm:request_generation_tokens_sum": 8,
			"vllm:iteration_tokens_total_count": 10,
		} {
			key := name + `{model_name="to\"y\n",engine="0"}`
			if got, ok := values[key]; !ok || got != want {
				t.Errorf("%s is %v, want %v", key, got, want)
			}
		}
		for key, want := range map[string]float64{
			`vllm:request_success_total{model_name="to\"y\n",engine="0",finished_reason="stop"}`:   2,
			`vllm:request_success_total{model_name="to\"y\n",engine="0",finished_reason="length"}`: 1,
			`vllm:request_success_total{model_name="to\"y\n",engine="0",finished_reason="error"}`:  1,
			`vllm:request_success_total{model_name="to\"y\n",engine="0",finished_reason="abort"}`:  0,
			`llavatrain_requests_refused_total{reason="busy"}`:                                     1,
			`llavatrain_requests_refused_total{reason="invalid"}`:                                  1,
			`llavatrain_workers{}`: 3,
			`vllm:time_to_first_token_seconds_bucket{model_name="to\"y\n",engine="0",le="0.01"}`:   4,
			`vllm:time_to_first_token_seconds_bucket{model_name="to\"y\n",engine="0",le="0.005"}`:  1,
			`vllm:time_to_first_token_seconds_bucket{model_name="to\"y\n",engine="0",le="2560.0"}`: 4,
			`vllm:time_per_output_token_seconds_bucket{model_name="to\"y\n",engine="0",le="80.0"}`: 6,
			`vllm:e2e_request_latency_seconds_bucket{model_name="to\"y\n",engine="0",le="7680.0"}`: 3,
		} {
			if got, ok := values[key]; !ok || got != want {
				t.Errorf("%s is %v, want %v", key, got, want)
			}
		}
	})
}

func scrape(mux http.Handler) string { return ask(mux, "GET", "/metrics", "").Body.String() }

// TestHistogram: each bucket counts the values up to its bound.
func TestHistogram(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := newHistogram(firstBounds)
		value := rapid.OneOf(rapid.Float64Range(0, 3000), rapid.SampledFrom(firstBounds))
		values := rapid.SliceOf(value).Draw(r, "values")
		for _, value := range values {
			h.add(value)
		}
		var text strings.Builder
		p := &page{w: &text}
		p.begin("h", "histogram", "Help.")
		p.histogram("h", h)
		read := readMetrics(t, text.String())
		for _, bound := range firstBounds {
			want := 0
			for _, value := range values {
				if value <= bound {
					want++
				}
			}
			if got := read[`h_bucket{le="`+number(bound)+`"}`]; got != float64(want) {
				r.Errorf("up to %v: %v, want %v", bound, got, want)
			}
		}
		if read[`h_bucket{le="+Inf"}`] != float64(len(values)) || read["h_count{}"] != float64(len(values)) {
			r.Errorf("%s", text.String())
		}
	})
	for _, bounds := range [][]float64{firstBounds, tokenBounds, requestBounds, countBounds} {
		if !slices.IsSorted(bounds) {
			t.Errorf("%v", bounds)
		}
	}
}
