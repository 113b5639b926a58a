package benchmarks

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/data/datatest"
)

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
