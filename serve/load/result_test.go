package load

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const ms = time.Millisecond

func TestResult(t *testing.T) {
	began := time.Unix(1000, 0)
	l := &loop{most: 2, outcomes: []outcome{
		{ended: began.Add(time.Second), whole: time.Second, first: 400 * ms, gaps: []time.Duration{100 * ms, 300 * ms},
			usage: &usage{Prompt: 10, Completion: 5}, pictures: 1},
		{ended: began.Add(2 * time.Second), whole: 1500 * ms, first: 500 * ms, gaps: []time.Duration{1000 * ms}},
		{ended: began.Add(1500 * ms), whole: 500 * ms, kind: "cut", message: "one", pictures: 1},
		{ended: began.Add(1500 * ms), whole: 500 * ms, kind: "status 429", message: "two"},
		{ended: began.Add(1500 * ms), whole: 500 * ms, kind: "status 429", message: "three"},
	}}
	s := usual("")
	s.Model, s.Share = "m", 0.5
	got, err := json.MarshalIndent(newResult(s, "http://h/v1", began, l), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "url": "http://h/v1",
 "model": "m",
 "clients": 1,
 "prompt_words": 3,
 "max_tokens": 8,
 "picture_share": 0.5,
 "picture": "new",
 "seed": 0,
 "seconds": 2,
 "requests": 5,
 "answered": 2,
 "failed": 3,
 "failures": [
  {
   "kind": "status 429",
   "count": 2,
   "first": "two"
  },
  {
   "kind": "cut",
   "count": 1,
   "first": "one"
  }
 ],
 "prompt_tokens": 10,
 "cached_tokens": 0,
 "completion_tokens": 7,
 "pictures": 1,
 "answers_without_usage": 1,
 "requests_per_s": 1,
 "prompt_tokens_per_s": 5,
 "completion_tokens_per_s": 3.5,
 "pictures_per_s": 0.5,
 "first_token_ms": {
  "p50": 400,
  "p90": 500,
  "p99": 500,
  "max": 500
 },
 "between_tokens_ms": {
  "p50": 300,
  "p90": 1000,
  "p99": 1000,
  "max": 1000
 },
 "per_token_ms": {
  "p50": 150,
  "p90": 1000,
  "p99": 1000,
  "max": 1000
 },
 "latency_ms": {
  "p50": 1000,
  "p90": 1500,
  "p99": 1500,
  "max": 1500
 },
 "concurrency_max": 2,
 "concurrency_mean": 2
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	table := `2 of 5 requests answered in 2.0 s, 1.00/s; 2.0 open on average, 2 at most
tokens/s: 3.5 of answers, 5.0 of prompts; pictures/s: 0.50
ms                      p50        p90        p99        max
first token           400.0      500.0      500.0      500.0
between tokens        300.0     1000.0     1000.0     1000.0
per token             150.0     1000.0     1000.0     1000.0
whole answer         1000.0     1500.0     1500.0     1500.0
the server did not count the tokens of 1 answers: their pieces were counted
failed, status 429: 2, first: two
failed, cut: 1, first: one
`
	if diff := cmp.Diff(table, newResult(s, "http://h/v1", began, l).Table()); diff != "" {
		t.Error(diff)
	}
}

// A result of nothing has no rates that JSON cannot hold.
func TestEmptyResult(t *testing.T) {
	r := newResult(usual(""), "http://h/v1", time.Now(), &loop{})
	if _, err := json.Marshal(r); err != nil || r.First != nil || r.Seconds != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if want := "0 of 0 requests answered in 0.0 s, 0.00/s; 0.0 open on average, 0 at most\n" +
		"tokens/s: 0.0 of answers, 0.0 of prompts\n"; r.Table() != want {
		t.Errorf("%q", r.Table())
	}
}

func TestSpread(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		times := rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 50), func(n int) time.Duration {
			return time.Duration(n) * ms
		}), 1, 300).Draw(r, "times")
		s := spread(times)
		for share, bound := range map[float64]float64{0.5: s.P50, 0.9: s.P90, 0.99: s.P99, 1: s.Max} {
			within, below := 0, 0
			for _, one := range times {
				if one.Seconds()*1000 <= bound+1e-6 {
					within++
				}
				if one.Seconds()*1000 < bound-1e-6 {
					below++
				}
			}
			if n := float64(len(times)); float64(within) < share*n || float64(below) >= share*n {
				r.Errorf("%v %% within %v, %d within, %d below, of %d", 100*share, bound, within, below, len(times))
			}
		}
	})
}
