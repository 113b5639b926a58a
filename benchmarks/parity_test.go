package benchmarks

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/benchmarks/rule"
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

func TestScienceQAIsTheOriginals(t *testing.T) {
	want := document[struct {
		Stdout string
		Parsed map[string][]any `json:"parsed_correct_multimodal"`
		LMMS   struct {
			PerQuestion map[string]float64 `json:"per_question"`
		} `json:"lmms_eval"`
		Prompts map[string]string `json:"lmms_eval_prompts"`
	}](t, "scienceqa", "expected.json")
	r, rows := scored(t, "scienceqa", "scienceqa", "answers.jsonl", "original")
	near(t, "accuracy", r.Metrics["accuracy"], printed(t, want.Stdout, "Accuracy"), cent)
	near(t, "img_accuracy", r.Metrics["img_accuracy"], printed(t, want.Stdout, "IMG-Accuracy"), cent)
	parsed := 0
	for _, row := range rows {
		w, ok := want.Parsed[row.ID.String()]
		if !ok {
			continue
		}
		parsed++
		if row.Missing && w[0] == "FAILED" {
			continue
		}
		if row.Parsed != w[0] && !(row.Unparsed && w[0] == "FAILED") || (row.tag("picture") == "yes") != w[2] {
			t.Errorf("%s, %q: %q with picture %s, the original's %v", row.ID, row.Answer, row.Parsed,
				row.tag("picture"), w)
		}
	}
	if parsed != len(want.Parsed) || r.Missing == 0 {
		t.Errorf("%d of %d rows, %d missing", parsed, len(want.Parsed), r.Missing)
	}
	set := opened(t, "scienceqa", recorded(t, "scienceqa"), "lmms", ToScore)
	answers, err := ReadAnswers(recorded(t, "scienceqa", "answers.jsonl"), false)
	if err != nil {
		t.Fatal(err)
	}
	_, rows, err = set.Score(answers, "", ScoreOptions{Partial: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		near(t, "lmms "+row.ID.String(), row.Score, want.LMMS.PerQuestion[row.ID.String()], exact)
	}
	for _, q := range set.Questions {
		if w, ok := want.Prompts[q.ID.String()]; ok && q.Text != w {
			t.Errorf("question %s is %q, the original's %q", q.ID, q.Text, w)
		}
	}
}

func TestMMBenchIsTheOriginals(t *testing.T) {
	for _, name := range []string{"mmbench_en", "mmbench_cn"} {
		want := document[struct {
			VLMEval struct {
				Report   []map[string]any
				Hit      map[string]int
				Inferred map[string]any
			} `json:"vlmevalkit_circular_exact_matching"`
			LMMS struct {
				Overall float64
				Hit     map[string]int
			} `json:"lmms_eval_static"`
			First   float64  `json:"first_answer_alone"`
			Prompts []string `json:"lmms_eval_prompts"`
		}](t, name, "expected.json")
		r, rows := scored(t, name, name, "answers.jsonl", "vlmeval")
		near(t, name, r.Metrics["accuracy"], 100*want.VLMEval.Report[0]["Overall"].(float64), rounds)
		for _, row := range rows {
			w, _ := want.VLMEval.Inferred[row.ID.String()].(string)
			if row.Parsed != w && !(row.Unparsed && w == "Z") {
				t.Errorf("%s %s, %q: %q, the original's %q", name, row.ID, row.Answer, row.Parsed, w)
			}
		}
		hits(t, name+" vlmeval", rows, want.VLMEval.Hit)
		r, rows = scored(t, name, name, "answers.jsonl", "lmms")
		near(t, name, r.Metrics["accuracy"], 100*want.LMMS.Overall, exact)
		hits(t, name+" lmms", rows, want.LMMS.Hit)
		for i, q := range opened(t, name, recorded(t, name), "lmms", ToScore).Questions[:len(want.Prompts)] {
			if q.Text != want.Prompts[i] {
				t.Errorf("%s question %d is %q, the original's %q", name, i, q.Text, want.Prompts[i])
			}
		}
	}
}

// hits checks which groups are right.
func hits(t *testing.T, what string, rows []Row, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	for _, row := range rows {
		if _, known := got[row.Group]; !known {
			got[row.Group] = 1
		}
		got[row.Group] *= int(row.Score)
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d groups, want %d", what, len(got), len(want))
	}
	for group, hit := range got {
		if hit != want[group] {
			t.Errorf("%s: group %s is %d, the original's %d", what, group, hit, want[group])
		}
	}
}

func TestSEEDIsTheOriginals(t *testing.T) {
	want := document[struct {
		Stdout string
		LMMS   map[string]float64 `json:"lmms_eval"`
	}](t, "seed", "expected.json")
	r, _ := scored(t, "seed", "seed", "answers.jsonl", "original")
	for metric, behind := range map[string]string{"accuracy": "Total", "image": "image", "video": "video"} {
		near(t, metric, r.Metrics[metric], printed(t, want.Stdout, behind+" accuracy"), cent)
	}
	for _, g := range r.By {
		if g.Name == "type" {
			near(t, g.Value, g.Score, printed(t, want.Stdout, g.Value), cent)
		}
	}
	r, _ = scored(t, "seed", "seed", "answers.jsonl", "lmms")
	for metric, name := range map[string]string{"accuracy": "seed_all", "image": "seed_image", "video": "seed_video"} {
		near(t, "lmms "+metric, r.Metrics[metric], 100*want.LMMS[name], exact)
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

func TestMMMUIsTheOriginals(t *testing.T) {
	want := document[struct {
		Official struct {
			Wrong  float64 `json:"overall_guesses_wrong"`
			Chance float64 `json:"overall_guesses_expected"`
			Guess  int     `json:"guessed"`
		}
		OfficialPrompts map[string]string `json:"official_prompts"`
		LMMSPrompts     map[string]string `json:"lmms_eval_prompts"`
	}](t, "mmmu", "expected.json")
	r, _ := scored(t, "mmmu", "mmmu", "answers.jsonl", "official")
	near(t, "accuracy", r.Metrics["accuracy"], 100*want.Official.Wrong, exact)
	near(t, "accuracy_at_chance", r.Metrics["accuracy_at_chance"], 100*want.Official.Chance, exact)
	if r.Unparsed != want.Official.Guess {
		t.Errorf("%d unparsed, the original guesses %d", r.Unparsed, want.Official.Guess)
	}
	for rule, prompts := range map[string]map[string]string{"official": want.OfficialPrompts,
		"lmms": want.LMMSPrompts} {
		for _, q := range opened(t, "mmmu", recorded(t, "mmmu"), rule, ToScore).Questions {
			if w, ok := prompts[q.ID.String()]; ok && q.Prompt != w {
				t.Errorf("%s question %s is %q, the original's %q", rule, q.ID, q.Prompt, w)
			}
		}
	}
}

// The published answers of LLaVA-1.5-13B, whose options come by letter.
func TestMMMUOfAPublishedModel(t *testing.T) {
	want := document[struct {
		Wrong  float64 `json:"guesses_wrong"`
		Chance float64 `json:"guesses_expected"`
	}](t, "mmmu_llava13b", "expected.json")
	text, err := os.ReadFile(recorded(t, "mmmu_llava13b", "rows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	official := &mmmu.Rules[1]
	var rows []Row
	for _, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		var r struct {
			Answer   any
			Options  map[string]string `json:"index2ans"`
			Response string
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		q := Question{key: key{answers: goldAnswers(r.Answer)}}
		for letter := 'A'; r.Options[string(letter)] != ""; letter++ {
			q.options = append(q.options, rule.Option{Letter: string(letter), Text: r.Options[string(letter)]})
			q.letter, _ = r.Answer.(string)
		}
		m := official.mark(&q, r.Response)
		rows = append(rows, Row{at: len(rows), Score: m.Score, Unparsed: m.Unparsed, Choices: len(q.options)})
	}
	figures := official.compute(rows)
	near(t, "guesses wrong", figures[0].Value, 100*want.Wrong, exact)
	near(t, "at chance", figures[1].Value, 100*want.Chance, exact)
}

// The newer ones, of which each row has its figures.
func TestNewerBenchmarksAreTheOriginals(t *testing.T) {
	for _, c := range []struct {
		name, rule, metric, expected, row string
		more                              map[string]string
	}{
		{"ai2d", "lmms", "accuracy", "lmms_eval_exact_match", "lmms_eval", nil},
		{"ai2d", "vlmeval", "accuracy", "vlmevalkit_accuracy", "vlmevalkit_exact_matching", nil},
		{"chartqa", "lmms", "accuracy", "relaxed_overall", "lmms_eval",
			map[string]string{"human": "relaxed_human_split", "augmented": "relaxed_augmented_split"}},
		{"docvqa", "lmms", "anls", "anls", "lmms_eval", nil},
		{"docvqa", "vlmeval", "anls", "vlmevalkit", "vlmevalkit", nil},
		{"mmstar", "lmms", "rows", "plain_mean_of_lmms_eval_rows", "lmms_eval", nil},
		{"mmstar", "vlmeval", "accuracy", "vlmevalkit_accuracy", "vlmevalkit_exact_matching", nil},
		{"realworldqa", "lmms", "accuracy", "exact_match", "lmms_eval", nil},
	} {
		want := document[map[string]any](t, c.name, "expected.json")
		r, rows := scored(t, c.name, c.name, "answers.jsonl", c.rule)
		near(t, c.name+" "+c.rule, r.Metrics[c.metric], 100*want[c.expected].(float64), exact)
		for metric, expected := range c.more {
			near(t, c.name+" "+metric, r.Metrics[metric], 100*want[expected].(float64), exact)
		}
		lines := datatest.JSONLines[map[string]any](t, recorded(t, c.name, "rows.jsonl"))
		for i, row := range rows {
			near(t, c.name+" "+c.rule+" row "+row.ID.String(), row.Score, lines[i][c.row].(float64), exact)
		}
		if prompt, ok := want["lmms_eval_prompt_of_row_0"]; ok {
			if got := opened(t, c.name, recorded(t, c.name), c.rule, ToScore).Questions[0].Text; got != prompt {
				t.Errorf("%s: prompt %q, the original's %q", c.name, got, prompt)
			}
		}
	}
	star := document[struct {
		LMMS map[string]float64 `json:"lmms_eval"`
	}](t, "mmstar", "expected.json")
	r, _ := scored(t, "mmstar", "mmstar", "answers.jsonl", "lmms")
	near(t, "mmstar", r.Metrics["accuracy"], 100*star.LMMS["average"], exact)
}
