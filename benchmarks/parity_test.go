package benchmarks

import (
	"encoding/json"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// The recordings of ../shared/parity-bench: what the originals' own programs made of the same answers. Everything that
// is expected is taken from the set, so that another set of the same form must pass too.

func recorded(t testing.TB, path ...string) string {
	return datatest.Shared(t, append([]string{"parity-bench"}, path...)...)
}

// document reads a JSON file of the set.
func document[T any](t testing.TB, path ...string) (value T) {
	t.Helper()
	text, err := os.ReadFile(recorded(t, path...))
	if err == nil {
		err = json.Unmarshal(text, &value)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// scored scores an answer file of the set.
func scored(t testing.TB, name, folder, file, rule string) (*Result, []Row) {
	t.Helper()
	set := opened(t, name, recorded(t, folder), rule, ToScore)
	path := recorded(t, folder, file)
	answers, err := ReadAnswers(path, false)
	if err != nil {
		t.Fatal(err)
	}
	var o ScoreOptions
	if set.Rule.Judged {
		for _, text := range document[[]string](t, folder, "judge_replies.json") {
			o.Replies = append(o.Replies, Reply{Text: text})
		}
	}
	result, rows, err := set.Score(answers, path, o)
	if err != nil {
		t.Fatal(err)
	}
	return result, rows
}

func opened(t testing.TB, name, folder, rule string, purpose Purpose) *Set {
	t.Helper()
	set, err := Open(name, folder, rule, purpose)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

// near checks figures; printed ones are only as exact as they were printed.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s: %v, the original's %v", what, got, want)
	}
}

// printed is a number that an original printed behind a text.
func printed(t testing.TB, stdout, behind string) float64 {
	t.Helper()
	found := regexp.MustCompile(regexp.QuoteMeta(behind) + `:? *(-?[\d.]+)`).FindStringSubmatch(stdout)
	if found == nil {
		t.Fatalf("%q is not in %q", behind, stdout)
	}
	x, err := strconv.ParseFloat(strings.TrimSuffix(found[1], "."), 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const (
	exact  = 1e-6
	cent   = .00501
	tenth  = .0501
	rounds = 1e-5
)

func TestVQAv2IsTheOriginals(t *testing.T) {
	type official struct {
		Overall       float64
		PerAnswerType map[string]float64
		PerQuestion   map[string]float64 `json:"per_question"`
	}
	type perQuestion struct {
		Overall     float64
		PerQuestion map[string]float64 `json:"per_question"`
	}
	want := document[struct {
		Official official    `json:"official_on_raw_answers"`
		M4C      perQuestion `json:"m4c"`
		LMMS     perQuestion `json:"lmms_eval"`
	}](t, "vqav2", "expected.json")
	for rule, w := range map[string]perQuestion{"original": want.M4C, "lmms": want.LMMS} {
		r, rows := scored(t, "vqav2", "vqav2", "answers.jsonl", rule)
		near(t, rule, r.Metrics["accuracy"], 100*w.Overall, exact)
		for _, row := range rows {
			near(t, rule+" "+row.ID.String(), row.Score, w.PerQuestion[row.ID.String()], exact)
		}
	}
	r, rows := scored(t, "vqav2", "vqav2", "answers.jsonl", "official")
	near(t, "official", r.Metrics["accuracy"], want.Official.Overall, cent)
	for metric, kind := range map[string]string{"yes_no": "yes/no", "number": "number", "other": "other"} {
		near(t, "official "+metric, r.Metrics[metric], want.Official.PerAnswerType[kind], cent)
	}
	for _, row := range rows {
		near(t, "official "+row.ID.String(), 100*row.Score, want.Official.PerQuestion[row.ID.String()], cent)
	}
}

func TestTextVQAIsTheOriginals(t *testing.T) {
	type rows struct {
		Percent float64 `json:"overall_percent"`
		Rows    []float64
	}
	want := document[struct {
		Rows    []float64 `json:"rows_in_order_of_the_answers"`
		LMMS    rows      `json:"lmms_eval"`
		VLMEval rows      `json:"vlmevalkit"`
		Prompts []string  `json:"lmms_eval_prompts"`
	}](t, "textvqa", "expected.json")
	for rule, list := range map[string][]float64{"original": want.Rows, "lmms": want.LMMS.Rows,
		"vlmeval": want.VLMEval.Rows} {
		sum := 0.0
		for _, x := range list {
			sum += x
		}
		r, _ := scored(t, "textvqa", "textvqa", "answers.jsonl", rule)
		near(t, rule, r.Metrics["accuracy"], 100*sum/float64(len(list)), exact)
	}
}

func TestGQAIsTheOriginals(t *testing.T) {
	type all struct {
		PerQuestion map[string]float64 `json:"per_question"`
	}
	want := document[struct {
		Stdout  string
		LMMS    all `json:"lmms_eval"`
		VLMEval all `json:"vlmevalkit"`
	}](t, "gqa", "expected.json")
	r, _ := scored(t, "gqa", "gqa", "answers.jsonl", "original")
	for metric, behind := range map[string]string{"accuracy": "Accuracy", "binary": "Binary", "open": "Open"} {
		near(t, metric, r.Metrics[metric], printed(t, want.Stdout, behind), cent)
	}
	for rule, w := range map[string]all{"lmms": want.LMMS, "vlmeval": want.VLMEval} {
		_, rows := scored(t, "gqa", "gqa", "answers.jsonl", rule)
		for _, row := range rows {
			near(t, rule+" "+row.ID.String(), row.Score, w.PerQuestion[row.ID.String()], exact)
		}
	}
	for _, g := range r.By { // the evaluator's lists, of balanced questions
		behind := map[string]string{"structural": "", "semantic": "", "steps": "", "words": ""}
		if _, listed := behind[g.Name]; !listed {
			continue
		}
		section := want.Stdout[strings.Index(want.Stdout, "/ "+g.Name):]
		near(t, g.Name+" "+g.Value, g.Score, printed(t, section, "  "+g.Value), cent)
		near(t, g.Name+" "+g.Value, float64(g.Questions),
			printed(t, section[strings.Index(section, "  "+g.Value+":"):], "% ("), 0)
	}
}

func TestVizWizIsTheOriginals(t *testing.T) {
	want := document[struct {
		LMMS struct {
			Exact       float64            `json:"exact_match"`
			PerQuestion map[string]float64 `json:"per_question"`
		} `json:"val_lmms_eval"`
		Prompts map[string]string `json:"val_prompts_lmms_eval"`
	}](t, "vizwiz", "expected.json")
	r, rows := scored(t, "vizwiz", "vizwiz", "answers_val.jsonl", "lmms")
	near(t, "accuracy", r.Metrics["accuracy"], 100*want.LMMS.Exact, exact)
	for _, row := range rows {
		near(t, row.ID.String(), row.Score, want.LMMS.PerQuestion[row.ID.String()], exact)
	}
	for _, q := range opened(t, "vizwiz", recorded(t, "vizwiz"), "", ToScore).Questions {
		if q.Text != want.Prompts[q.ID.String()] {
			t.Errorf("question %s is %q, the original's %q", q.ID, q.Text, want.Prompts[q.ID.String()])
		}
	}
}

func TestPOPEIsTheOriginals(t *testing.T) {
	want := document[struct {
		Parsed map[string]string  `json:"parsed_by_the_original"`
		Stdout map[string]string  `json:"stdout_by_category"`
		LMMS   map[string]float64 `json:"lmms_eval"`
	}](t, "pope", "expected.json")
	r, rows := scored(t, "pope", "pope", "answers.jsonl", "original")
	mean := 0.0
	for category, stdout := range want.Stdout {
		for metric, behind := range map[string]string{"f1": "F1 score", "accuracy": "Accuracy",
			"precision": "Precision",
			"recall":    "Recall", "yes_ratio": "Yes ratio"} {
			near(t, category+" "+metric, r.Metrics[category+"_"+metric], 100*printed(t, stdout, behind), exact)
		}
		mean += printed(t, stdout, "F1 score") / 3
	}
	near(t, "f1", r.Metrics["f1"], 100*mean, exact)
	for _, row := range rows {
		if row.Parsed != want.Parsed[row.ID.String()] {
			t.Errorf("%s, %q: %q, the original's %q", row.ID, row.Answer, row.Parsed, want.Parsed[row.ID.String()])
		}
	}
	r, _ = scored(t, "pope", "pope", "answers.jsonl", "lmms")
	for _, metric := range []string{"accuracy", "precision", "recall", "f1"} {
		near(t, "lmms "+metric, r.Metrics[metric], 100*want.LMMS[metric], exact)
	}
}

func TestMMEIsTheOriginals(t *testing.T) {
	want := document[struct {
		Parsed [][]string `json:"parsed_by_the_original"`
		Stdout string
		LMMS   map[string]float64 `json:"lmms_eval"`
	}](t, "mme", "expected.json")
	r, rows := scored(t, "mme", "mme", "answers.jsonl", "original")
	for metric := range r.Metrics {
		behind := "\t " + metric + "  score"
		if part := strings.ToUpper(metric[:1]) + metric[1:]; metric == "perception" || metric == "cognition" {
			behind = part + " ===========\ntotal score"
		}
		near(t, metric, r.Metrics[metric], printed(t, want.Stdout, behind), exact)
	}
	parsed := map[string]string{}
	for _, p := range want.Parsed {
		parsed[p[1]] = strings.TrimSuffix(p[2], "other")
	}
	for _, row := range rows {
		if w, ok := parsed[row.Answer]; !ok || row.Parsed != w {
			t.Errorf("%q: %q, the original's %q", row.Answer, row.Parsed, w)
		}
	}
	r, _ = scored(t, "mme", "mme", "answers.jsonl", "lmms")
	for _, part := range mmeParts {
		near(t, "lmms "+part.name, r.Metrics[part.name], want.LMMS["mme_"+part.name+"_score"], exact)
	}
}

func TestLLaVABenchIsTheOriginals(t *testing.T) {
	want := document[struct {
		Stdout string
		LMMS   struct {
			Scores [][2]float64
			Result map[string]float64
		} `json:"lmms_eval"`
	}](t, "llavabench", "expected.json")
	r, _ := scored(t, "llavabench", "llavabench", "answers.jsonl", "original")
	for metric, behind := range map[string]string{"all": "all", "conv": "llava_bench_conv",
		"detail":  "llava_bench_detail",
		"complex": "llava_bench_complex"} {
		near(t, metric, r.Metrics[metric], printed(t, want.Stdout, behind+" "), tenth)
	}
	r, rows := scored(t, "llavabench", "llavabench", "answers.jsonl", "lmms")
	for metric, w := range want.LMMS.Result {
		near(t, "lmms "+metric, r.Metrics[metric], w, tenth)
	}
	for i, row := range rows {
		near(t, row.Reply, row.Reference, want.LMMS.Scores[i][0], 0)
		near(t, row.Reply, row.Score, want.LMMS.Scores[i][1], 0)
	}
	readable, _ := scored(t, "llavabench", "llavabench", "answers.jsonl", "readable")
	original, _ := scored(t, "llavabench", "llavabench", "answers.jsonl", "original")
	near(t, "the original's beside", readable.Metrics["all_by_original"], original.Metrics["all"], exact)
	if readable.Unparsed == 0 || readable.Metrics["all"] <= r.Metrics["all"] {
		t.Errorf("%d replies left out, %v", readable.Unparsed, readable.Metrics)
	}
}

func TestMMVetIsTheOriginals(t *testing.T) {
	want := document[struct {
		Scores map[string]float64
		CSV    map[string]string
	}](t, "mmvet", "expected.json")
	r, rows := scored(t, "mmvet", "mmvet", "answers.jsonl", "original")
	sum := 0.0
	for _, row := range rows {
		near(t, row.ID.String(), row.Score, want.Scores[vetID(row.ID)], exact)
		sum += row.Score
	}
	near(t, "accuracy", r.Metrics["accuracy"], 100*sum/float64(len(want.Scores)), exact)
	lines := strings.Split(want.CSV["cap-score"], "\n")
	names, figures := strings.Split(lines[0], ","), strings.Split(lines[1], ",")
	for _, g := range r.By {
		for i, name := range names {
			if g.Name == "capability" && g.Value == name {
				w, _ := strconv.ParseFloat(figures[i], 64)
				near(t, name, g.Score, w, tenth)
			}
		}
	}
}
