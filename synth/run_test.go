package synth

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/chat"
	"github.com/llavatrain/llavatrain/synth/synthtest"
)

func TestShares(t *testing.T) {
	for _, c := range []struct {
		rows    int
		kinds   recipes.Kinds
		c, d, r int
	}{
		{158, recipes.Kinds{Conversation: 58, Detail: 23, Reasoning: 77}, 58, 23, 77},
		{20000, recipes.Kinds{Conversation: 58, Detail: 23, Reasoning: 77}, 7342, 2911, 9747},
		{1, recipes.Kinds{Conversation: 58, Detail: 23, Reasoning: 77}, 0, 0, 1},
		{2, recipes.Kinds{Conversation: 1, Detail: 1, Reasoning: 1}, 1, 1, 0},
		{7, recipes.Kinds{Detail: 5}, 0, 7, 0},
	} {
		got := shares(c.rows, c.kinds)
		if got[answer.Conversation] != c.c || got[answer.Detail] != c.d || got[answer.Reasoning] != c.r {
			t.Errorf("%d rows by %+v: %v", c.rows, c.kinds, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		k := recipes.Kinds{Conversation: rapid.IntRange(0, 99).Draw(t, "c"), Detail: rapid.IntRange(0, 99).Draw(t, "d"),
			Reasoning: rapid.IntRange(1, 99).Draw(t, "r")}
		rows, sum := rapid.IntRange(1, 1_000_000).Draw(t, "rows"), 0
		for _, n := range shares(rows, k) {
			sum += n
		}
		if sum != rows {
			t.Fatalf("%d rows by %+v sum to %d", rows, k, sum)
		}
	})
}

const mixed = "  rows: 40\n"

// troubled refuses some contexts, and writes nonsense the first time for others.
func troubled(kind, about string, nth int) string {
	switch n := synthtest.Hash(kind+about) % 10; {
	case n == 0:
		return "I'm sorry, but I cannot help with that."
	case n == 1 && nth == 1:
		return "no form at all"
	case n == 2 && kind == "detail":
		return "The same words for all of them, one after the other. " + synthtest.Usual("detail", "")
	}
	return ""
}

// The rows depend on the answers alone: not on how many are asked for at once, in which order they come, or whether a
// run was stopped in between.
func TestRowsDoNotDependOnTheOrderOfAnswers(t *testing.T) {
	w := newWorld(t, 60, mixed)
	w.writer.Says, w.writer.Delay = troubled, 3*time.Millisecond
	first, err := w.make(t.Context(), "one", "synth.endpoint.concurrency=1")
	if err != nil {
		t.Fatal(err)
	}
	w.writer.Forget()
	if _, err := w.make(t.Context(), "many", "synth.endpoint.concurrency=32"); err != nil {
		t.Fatal(err)
	}
	w.writer.Forget()
	for stops := 0; ; stops++ {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
		_, err := w.make(ctx, "stopped", "synth.endpoint.concurrency=4")
		cancel()
		if err == nil {
			if stops == 0 {
				t.Error("the run was never stopped")
			}
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	for _, name := range []string{RowsFile, rejectedFile, skippedFile} {
		for _, other := range []string{"many", "stopped"} {
			if diff := cmp.Diff(w.file("one", name), w.file(other, name)); diff != "" {
				t.Errorf("%s of %s (-one +other):\n%s", name, other, diff)
			}
		}
	}
	if len(w.rows("one")) != 40 || first.Kinds[answer.Detail].Rows != 6 ||
		len(first.Kinds[answer.Reasoning].Rejected) == 0 {
		t.Errorf("%d rows, %+v", len(w.rows("one")), first.Kinds[answer.Detail])
	}
	if rejected := w.file("one", rejectedFile); !strings.Contains(rejected, `"reason":"refusal"`) ||
		!strings.Contains(rejected, "I'm sorry") {
		t.Errorf("rejected.jsonl:\n%s", rejected)
	}
}

// What was answered is not asked again: by a second run, by other filters, or by a run for more rows, which has the
// rows of the smaller one.
func TestAnswersAreAskedForOnce(t *testing.T) {
	w := newWorld(t, 60, mixed)
	if _, err := w.make(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	few, calls := w.rows("a"), w.writer.Calls()
	if _, err := w.make(t.Context(), "a", "synth.language=any"); err != nil || w.writer.Calls() != calls {
		t.Errorf("%v, %d calls after %d", err, w.writer.Calls(), calls)
	}
	if _, err := w.make(t.Context(), "a", "synth.rows=60"); err != nil {
		t.Fatal(err)
	}
	many := w.rows("a")
	if w.writer.Calls() < calls+20 || w.writer.Calls() > calls+20+16 || len(many) != 60 {
		t.Errorf("20 rows more took %d calls; %d rows", w.writer.Calls()-calls, len(many))
	}
	for id, text := range few {
		if many[id] != text {
			t.Errorf("row %s of the smaller set is %q in the larger", id, many[id])
		}
	}
	if n := w.writer.Most(); n > 1 {
		t.Errorf("the same was asked %d times", n)
	}
}

// Paid requests beyond the rows are at most those that were in flight.
func TestOvershoot(t *testing.T) {
	w := newWorld(t, 200, "  rows: 50\n  kinds: {reasoning: 1}\n")
	w.writer.Delay = time.Millisecond
	if _, err := w.make(t.Context(), "a", "synth.endpoint.concurrency=8"); err != nil {
		t.Fatal(err)
	}
	if w.writer.Calls() > 50+8 {
		t.Errorf("%d calls for 50 rows", w.writer.Calls())
	}
}

// Programs read summary.json: each cost has its money under that name.
func TestSummaryHasMoney(t *testing.T) {
	w := newWorld(t, 20, "  rows: 4\n  budget: {prices: {prompt: 2, completion: 8}}\n")
	made, err := w.make(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	var summary struct {
		Spent map[string]float64 `json:"spent"`
		Maybe map[string]float64 `json:"maybe_paid"`
	}
	if err := json.Unmarshal([]byte(w.file("a", summaryFile)), &summary); err != nil {
		t.Fatal(err)
	}
	if _, ok := summary.Maybe["money"]; !ok || summary.Spent["money"] != made.Spent.Money || made.Spent.Money == 0 {
		t.Errorf("summary.json says %v and maybe %v of %v", summary.Spent, summary.Maybe, made.Spent.Money)
	}
	if text := (State{Rows: 3, Target: 9, Rejected: map[string]int{"shape": 1, "refusal": 4}}).String(); text !=
		"5 rejected (4 refusal)" {
		t.Error(text)
	}
}

func TestFirstAnswersOfNoUseEndTheRun(t *testing.T) {
	w := newWorld(t, 60, mixed)
	w.writer.Says = func(kind, about string, _ int) string {
		if kind == "detail" && synthtest.Hash(about)%4 > 0 {
			return "I'm sorry, but no."
		}
		return ""
	}
	summary, err := w.make(t.Context(), "a")
	if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), "answers for detail") ||
		!strings.Contains(err.Error(), "refusal") || !strings.Contains(err.Error(), "--yes") {
		t.Fatalf("error: %v", err)
	}
	if w.writer.Calls() > 30+16 || summary.Kinds[answer.Detail].Rejected["refusal"] < 6 {
		t.Errorf("%d calls, %+v", w.writer.Calls(), summary.Kinds[answer.Detail])
	}
	run := w.open("a")
	client, err := chat.Open(run.Folder, run.Settings(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := run.Make(t.Context(), client, true, &quiet{}); err != nil {
		t.Errorf("unchecked: %v", err)
	}
}

func TestScenesThatAreLeftOut(t *testing.T) {
	w := newWorld(t, 30, "  rows: 30\n  kinds: {conversation: 1}\n  exclude: [bench*.txt]\n")
	w.annotate("b", 4)
	w.write("bench.txt", "a-3.png\na-4.png\n")
	if err := os.Remove(filepath.Join(w.dir, "a", "a-5.png")); err != nil {
		t.Fatal(err)
	}
	twins := strings.ReplaceAll(strings.ReplaceAll(w.text("a.json"), "number 7", "number 6"), "number 8", "number 6")
	w.write("a.json", twins)
	summary, err := w.make(t.Context(), "x", "synth.scenes=[{format: coco, captions: a.json, images: a}, "+
		"{format: coco, captions: b.json, images: b}]")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{excluded: 2, missingImage: 1, sameContext: 2}
	if diff := cmp.Diff(want, summary.Skipped); diff != "" || summary.Scenes != 31 || summary.Images != w.dir {
		t.Errorf("%d scenes in %s, skipped (-want +got):\n%s", summary.Scenes, summary.Images, diff)
	}
	rows := w.rows("x")
	if len(rows) != 29 || rows["2:0-conversation"] == "" || !strings.HasPrefix(rows["2:0-conversation"], "b/b-0.png") ||
		!strings.HasPrefix(rows["0-conversation"], "a/a-0.png") {
		t.Errorf("%d rows: %v", len(rows), rows)
	}
}

// Whoever wants more rows than there are scenes is told: before the run, and at its end.
func TestTooFewScenes(t *testing.T) {
	w := newWorld(t, 6, "  rows: 9\n  kinds: {conversation: 8, detail: 1}\n")
	if err := os.Remove(filepath.Join(w.dir, "a", "a-5.png")); err != nil {
		t.Fatal(err)
	}
	w.writer.Says = func(kind, about string, _ int) string {
		if strings.Contains(about, "number 4") {
			return "I'm sorry, but no."
		}
		return ""
	}
	recipe, err := recipes.Load(w.recipe, []string{"runs=a"})
	if err != nil {
		t.Fatal(err)
	}
	o := &quiet{}
	run, err := Read(t.Context(), recipe, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	client, err := chat.Open(run.Folder, run.Settings(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var text strings.Builder
	if err := run.DryRun(&text, client); err != nil || !strings.Contains(text.String(),
		"\nconversation: there are scenes for 5 rows only\n") || strings.Contains(text.String(), "\ndetail: ") {
		t.Errorf("%v:\n%s", err, text.String())
	}
	if err := run.Make(t.Context(), client, true, o); err != nil {
		t.Fatal(err)
	}
	want := []string{"a.json: 5 scenes, 1 left out (1 missing_image)",
		"conversation: 4 of 8 rows, and all scenes were asked about (answers of no use: 1 refusal)"}
	if diff := cmp.Diff(want, o.said); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

func (w *world) text(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func TestReadRefuses(t *testing.T) {
	w := newWorld(t, 3, mixed)
	for set, want := range map[string]string{
		"synth.exclude=[none.txt]":        "no file matches",
		"synth.scenes.0.images=empty":     "none of the 3 images is in the folder",
		"synth.scenes.0.captions=none":    "none",
		"synth.prompts=empty":             "empty",
		"synth.scenes.0.captions=cut.txt": "cut.txt",
	} {
		os.Mkdir(filepath.Join(w.dir, "empty"), 0o777)
		w.write("cut.txt", w.text("a.json")[:100])
		if _, err := w.read("x", set); !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", set, err)
		}
	}
	if w.writer.Calls() != 0 {
		t.Errorf("%d calls", w.writer.Calls())
	}
}

func TestDryRunSendsAndWritesNothing(t *testing.T) {
	w := newWorld(t, 30, mixed+"  budget: {money: 1, prices: {prompt: 2, completion: 8}}\n")
	run := w.open("x")
	client, err := chat.Look(run.Folder, run.Settings(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var out strings.Builder
	if err := run.DryRun(&out, client); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"30 to ask about", "127.0.0.1", "reasoning", "cost", "budget",
		"caption 0 of picture a"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "x")); err == nil || w.writer.Calls() > 0 {
		t.Errorf("%d calls, folder: %v", w.writer.Calls(), err)
	}
}
