package load

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Result is what was measured. Rates count whole answers only, over the time from the first request to the end of the
// last.
type Result struct {
	URL          string  `json:"url"`
	Model        string  `json:"model"`
	Clients      int     `json:"clients,omitempty"` // of a closed loop
	Rate         float64 `json:"rate,omitempty"`    // of an open one
	Words        int     `json:"prompt_words"`
	MaxTokens    int     `json:"max_tokens"`
	PictureShare float64 `json:"picture_share"`
	Picture      string  `json:"picture,omitempty"`
	Seed         uint64  `json:"seed"`

	Seconds  float64   `json:"seconds"`
	Requests int       `json:"requests"`
	Answered int       `json:"answered"`
	Failed   int       `json:"failed"`
	Failures []Failure `json:"failures"` // the most frequent kind first

	PromptTokens     int     `json:"prompt_tokens"`
	CachedTokens     int     `json:"cached_tokens"` // of those, as far as the server says
	CompletionTokens int     `json:"completion_tokens"`
	Pictures         int     `json:"pictures"`
	Uncounted        int     `json:"answers_without_usage"` // whose pieces were counted as tokens
	RequestRate      float64 `json:"requests_per_s"`
	PromptRate       float64 `json:"prompt_tokens_per_s"`
	CompletionRate   float64 `json:"completion_tokens_per_s"`
	PictureRate      float64 `json:"pictures_per_s"`

	First    *Spread `json:"first_token_ms"`
	Between  *Spread `json:"between_tokens_ms"` // from a piece of text to the next: a token, as a rule
	PerToken *Spread `json:"per_token_ms"`      // of each answer, after its first
	Latency  *Spread `json:"latency_ms"`        // from a request to the end of its answer

	MostOpen int     `json:"concurrency_max"`
	MeanOpen float64 `json:"concurrency_mean"`
}

// Failure is a kind of failures.
type Failure struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	First string `json:"first"` // message of those
}

// Spread says how times are spread, in milliseconds. Of n times p99 is the smallest that at least 0.99 n do not exceed.
type Spread struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// spread is nil for no times.
func spread(times []time.Duration) *Spread {
	if len(times) == 0 {
		return nil
	}
	slices.Sort(times)
	at := func(share float64) float64 {
		n := int(math.Ceil(share * float64(len(times))))
		return rounded(times[max(n, 1)-1].Seconds() * 1000)
	}
	return &Spread{at(0.5), at(0.9), at(0.99), at(1)}
}

// rounded keeps three decimals.
func rounded(x float64) float64 { return math.Round(x*1000) / 1000 }

func newResult(s Settings, base string, began time.Time, l *loop) *Result {
	r := &Result{URL: base, Model: s.Model, Clients: s.Clients, Rate: s.Rate, Words: s.Words, MaxTokens: s.MaxTokens,
		PictureShare: s.Share, Seed: s.Seed, Requests: len(l.outcomes), MostOpen: l.most,
		Failures: []Failure{}}
	if s.Share > 0 {
		r.Picture = s.Picture
	}
	end, open := began, time.Duration(0)
	var first, between, each, whole []time.Duration
	for _, o := range l.outcomes {
		if o.ended.After(end) {
			end = o.ended
		}
		open += o.whole
		if o.kind != "" {
			r.fail(o)
			continue
		}
		r.add(o)
		whole, between = append(whole, o.whole), append(between, o.gaps...)
		if o.first > 0 {
			first = append(first, o.first)
		}
		if n := o.tokens(); n > 1 && o.first > 0 {
			each = append(each, (o.whole-o.first)/time.Duration(n-1))
		}
	}
	slices.SortStableFunc(r.Failures, func(a, b Failure) int { return cmp.Compare(b.Count, a.Count) })
	r.First, r.Between, r.PerToken, r.Latency = spread(first), spread(between), spread(each), spread(whole)
	r.rates(end.Sub(began).Seconds(), open.Seconds())
	return r
}

func (r *Result) add(o outcome) {
	r.Answered++
	r.Pictures += o.pictures
	r.CompletionTokens += o.tokens()
	if o.usage == nil {
		r.Uncounted++
		return
	}
	if r.PromptTokens += o.usage.Prompt; o.usage.Details != nil {
		r.CachedTokens += o.usage.Details.Cached
	}
}

func (r *Result) fail(o outcome) {
	r.Failed++
	at := slices.IndexFunc(r.Failures, func(f Failure) bool { return f.Kind == o.kind })
	if at < 0 {
		at, r.Failures = len(r.Failures), append(r.Failures, Failure{Kind: o.kind, First: o.message})
	}
	r.Failures[at].Count++
}

func (r *Result) rates(seconds, open float64) {
	if seconds <= 0 {
		return
	}
	r.Seconds = rounded(seconds)
	r.MeanOpen = rounded(open / seconds)
	r.RequestRate = rounded(float64(r.Answered) / seconds)
	r.PromptRate = rounded(float64(r.PromptTokens) / seconds)
	r.CompletionRate = rounded(float64(r.CompletionTokens) / seconds)
	r.PictureRate = rounded(float64(r.Pictures) / seconds)
}
