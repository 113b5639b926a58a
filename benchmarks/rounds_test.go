package benchmarks

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// roundsTable opens the recorded table of rounds, without the rows that have an option none: the original takes it for
// the end of the list.
func roundsTable(t *testing.T) (set *Set, cut map[string]bool) {
	t.Helper()
	folder := t.TempDir()
	table, err := os.ReadFile(recorded(t, "mmbench_en", "rounds.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "mmbench_dev_20230712.tsv"), table, 0o666); err != nil {
		t.Fatal(err)
	}
	set, cut = opened(t, "mmbench_en", folder, "", ToScore), map[string]bool{}
	for i := range set.Questions {
		if q := &set.Questions[i]; slices.ContainsFunc(q.options, isNone) {
			cut[q.ID.text] = true
		}
	}
	return set, cut
}

// The rounds, their prompts and the lines of their answers are those of model_vqa_mmbench.py --all-rounds.
func TestAllRoundsAreTheOriginals(t *testing.T) {
	set, cut := roundsTable(t)
	if err := set.AllRounds(); err != nil {
		t.Fatal(err)
	}
	recording, err := ReadAnswers(recorded(t, "mmbench_en", "rounds-answers.jsonl"), false)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []Answer
	for _, a := range recording.List {
		if !cut[a.ID.text] {
			want = append(want, a)
		}
	}
	for i := range set.Questions {
		q := &set.Questions[i]
		if cut[q.ID.text] {
			continue
		}
		got = append(got, NewAnswer(q, "A", "made-up-7b", Conditions{}))
		if q.Text != q.Prompt+letterAnswer {
			t.Errorf("question %s round %d is %q", q.ID, q.round, q.Text)
		}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(ID{}), cmpopts.IgnoreFields(Answer{}, "AnswerID", "line"),
		cmpopts.EquateEmpty()); diff != "" || len(want) < 6 || !recording.Rounds() {
		t.Errorf("%d answers (-original +ours):\n%s", len(want), diff)
	}
}

// A question is right if the same option is chosen in all rounds, wrong if one round has another; and a file with one
// answer a question has no rounds.
func TestAllRoundsCountTogether(t *testing.T) {
	set, _ := roundsTable(t)
	groups := len(set.Questions)
	if err := set.AllRounds(); err != nil {
		t.Fatal(err)
	}
	answers := &Answers{}
	for i := range set.Questions {
		q := &set.Questions[i]
		at := slices.IndexFunc(q.options, func(o rule.Option) bool { return o.Letter == q.letter })
		text := q.options[at].Letter
		if i == 1 { // the second round of the first question
			text = q.options[(at+1)%len(q.options)].Letter
		}
		line, err := json.Marshal(NewAnswer(q, text, "m", Conditions{}))
		if err != nil {
			t.Fatal(err)
		}
		var a Answer
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		answers.List = append(answers.List, a)
	}
	slices.Reverse(answers.List) // which belongs where is told by the prompts
	result, _, err := set.Score(answers, "answers", ScoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, rows := float64(groups), float64(len(set.Questions))
	near(t, "accuracy", result.Metrics["accuracy"], 100*(n-1)/n, 1e-9)
	near(t, "rows", result.Metrics["rows"], 100*(rows-1)/rows, 1e-9)
	if one := (&Answers{List: answers.List[len(answers.List)-1:]}); one.Rounds() {
		t.Errorf("%+v has rounds", one.List[0])
	}
}

func TestAllRoundsRefuseOtherBenchmarks(t *testing.T) {
	set := opened(t, "chartqa", recorded(t, "chartqa"), "", ToScore)
	if err := set.AllRounds(); err == nil || !strings.Contains(err.Error(), "chartqa has no rounds") {
		t.Errorf("error is %v", err)
	}
}
