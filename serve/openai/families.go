package openai

import "github.com/llavatrain/llavatrain/serve"

// sample is a line of a family.
type sample struct {
	value  float64
	labels []string // besides the model's
}

func one(value float64) []sample { return []sample{{value: value}} }

// counters are the families that come from an engine's status. Those whose name begins with vllm: have the meaning of
// vLLM's.
var counters = []struct {
	name, kind, help string
	of               func(serve.Status) []sample
}{
	{"vllm:num_requests_running", "gauge", "Requests that are being answered.",
		func(s serve.Status) []sample { return one(float64(s.Running)) }},
	{"vllm:num_requests_waiting", "gauge", "Requests that wait.",
		func(s serve.Status) []sample { return one(float64(s.Waiting)) }},
	{"vllm:kv_cache_usage_perc", "gauge", "Share of the memory for keys and values that is used, 1 is all.",
		func(s serve.Status) []sample { return one(s.Used) }},
	{"vllm:num_preemptions_total", "counter", "Requests that lost their memory: this engine takes none back.",
		func(serve.Status) []sample { return one(0) }},
	{"vllm:prefix_cache_queries_total", "counter", "Tokens of prompts that were looked for among computed ones.",
		func(s serve.Status) []sample { return one(float64(s.QueriedTokens)) }},
	{"vllm:prefix_cache_hits_total", "counter", "Tokens of prompts that were not computed again.",
		func(s serve.Status) []sample { return one(float64(s.CachedTokens)) }},
	{"vllm:prompt_tokens_total", "counter", "Tokens of prompts, positions of pictures included.",
		func(s serve.Status) []sample { return one(float64(s.PromptTokens)) }},
	{"vllm:generation_tokens_total", "counter", "Tokens of answers.",
		func(s serve.Status) []sample { return one(float64(s.AnswerTokens)) }},
	{"vllm:request_success_total", "counter", "Requests that have ended, by how.",
		func(s serve.Status) []sample {
			return []sample{{float64(s.FinishedByStop), []string{"finished_reason", "stop"}},
				{float64(s.FinishedByEnd), []string{"finished_reason", "length"}},
				{float64(s.FinishedByCancel), []string{"finished_reason", "abort"}},
				{float64(s.FinishedSick), []string{"finished_reason", "error"}}}
		}},
	{"llavatrain_pictures_total", "counter", "Pictures of prompts.",
		func(s serve.Status) []sample { return one(float64(s.Pictures)) }},
}

// histograms are the families that are measured here. The time between tokens has two names, as vLLM renamed it.
var histograms = []struct {
	name, help string
	of         func(*timings) *histogram
}{
	{"vllm:time_to_first_token_seconds", "From a request to its first token.",
		func(t *timings) *histogram { return t.first }},
	{"vllm:inter_token_latency_seconds", "From a token to the next.",
		func(t *timings) *histogram { return t.between }},
	{"vllm:time_per_output_token_seconds", "From a token to the next.",
		func(t *timings) *histogram { return t.between }},
	{"vllm:e2e_request_latency_seconds", "From a request to the end of its answer.",
		func(t *timings) *histogram { return t.whole }},
	{"vllm:request_queue_time_seconds", "That a request waited.",
		func(t *timings) *histogram { return t.queue }},
	{"vllm:request_prefill_time_seconds", "From the end of waiting to the first token.",
		func(t *timings) *histogram { return t.prefill }},
	{"vllm:request_decode_time_seconds", "From the first token to the last.",
		func(t *timings) *histogram { return t.decode }},
	{"vllm:request_prompt_tokens", "Tokens of a prompt.",
		func(t *timings) *histogram { return t.prompt }},
	{"vllm:request_generation_tokens", "Tokens of an answer, all choices together.",
		func(t *timings) *histogram { return t.answer }},
}

// steps is the engine's histogram of its steps.
func steps(s serve.Status) *histogram {
	bounds := make([]float64, len(serve.StepBounds))
	for i, bound := range serve.StepBounds {
		bounds[i] = float64(bound)
	}
	h := newHistogram(bounds)
	copy(h.counts, s.StepTokens)
	h.sum = float64(s.PromptTokens - s.CachedTokens + s.AnswerTokens)
	return h
}
