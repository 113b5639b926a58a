package runs

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The keys of metrics.jsonl are a contract with everything that reads it; those before step_ms are compared on resume.
func TestMetricsKeys(t *testing.T) {
	text, err := json.Marshal(Metrics{LossBy: map[string]Number{"image": 1}, LR: map[string]Number{"projector": 1}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"step":0,"epoch":0,"loss":0,"loss_by":{"image":1},"lr":{"projector":1},"grad_norm":0,` +
		`"supervised_tokens":0,"tokens":0,"images":0,"samples":0,"skipped":0,"step_ms":0,"data_wait_ms":0,` +
		`"tokens_per_s":0,"peak_memory_bytes":0}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]Number{
		0: 0, time.Second: 1000, 1500 * time.Microsecond: 1.5, 1999 * time.Nanosecond: 0.001,
	} {
		if got := Milliseconds(d); got != want {
			t.Errorf("%v is %v ms, want %v", d, got, want)
		}
	}
}

func TestNumberJSON(t *testing.T) {
	for _, c := range []struct {
		n    Number
		want string
	}{
		{0, "0"}, {1e-3, "0.001"}, {0.1, "0.1"}, {-2.5, "-2.5"}, {1e30, "1e+30"}, {5e-324, "5e-324"},
		{Number(math.NaN()), `"NaN"`}, {Number(math.Inf(1)), `"+Inf"`}, {Number(math.Inf(-1)), `"-Inf"`},
	} {
		if text, err := json.Marshal(c.n); err != nil || string(text) != c.want {
			t.Errorf("%v is written %s (%v), want %s", float64(c.n), text, err, c.want)
		}
	}
	for _, text := range []string{`"x"`, "{}", "[1]", "true"} {
		var n Number
		if err := json.Unmarshal([]byte(text), &n); err == nil {
			t.Errorf("%s is read as %v", text, float64(n))
		}
	}
}

// What is written reads back as the same float64, bit for bit except for a NaN's payload.
func TestNumberRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		text, err := json.Marshal(Number(f))
		if err != nil {
			t.Fatal(err)
		}
		var back Number
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		same := math.Float64bits(float64(back)) == math.Float64bits(f) || math.IsNaN(f) && math.IsNaN(float64(back))
		if quoted := strings.HasPrefix(string(text), `"`); !same || quoted != (math.IsNaN(f) || math.IsInf(f, 0)) {
			t.Errorf("%v is written %s and read %v", f, text, float64(back))
		}
	})
}
