package runs

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEvalLines(t *testing.T) {
	loss := Evaluation{Step: 4, Loss: 2, LossBy: map[string]Number{"image": 2}, LossBySource: map[string]Number{".": 2},
		SupervisedTokens: 3, Samples: 2, EvalMS: 5}
	pope := Benchmarked{Step: 4, Benchmark: "pope", Rule: "original", Metrics: map[string]Number{"f1": 80.25},
		Questions: 30, Figure: "f1", Errors: map[string]Number{"f1": 2.5}}
	for _, c := range []struct {
		line any
		want EvalLine
		text string
	}{
		{loss, EvalLine{Loss: &loss}, ""},
		{pope, EvalLine{Benchmark: &pope}, `{"step":4,"benchmark":"pope","rule":"original","metrics":{"f1":80.25},` +
			`"questions":30,"figure":"f1","standard_errors":{"f1":2.5}}`},
	} {
		text, err := json.Marshal(c.line)
		if err != nil || c.text != "" && string(text) != c.text {
			t.Errorf("%s, %v", text, err)
		}
		got := EvalLine{Loss: &Evaluation{}, Benchmark: &Benchmarked{}} // of the line before
		if err := json.Unmarshal(text, &got); err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%s: %s, %v", text, cmp.Diff(c.want, got), err)
		}
	}
	if got, want := pope.Line(10), "step 4/10  pope by rule original: f1 80.25 ± 2.50  30 questions"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
