package judge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat"
)

// judged is a benchmark of the recorded set with its answers. The judge's instructions are made up.
func judged(t *testing.T, name string) (*benchmarks.Set, *benchmarks.Answers, *benchmarks.Joined, string) {
	t.Helper()
	folder := t.TempDir()
	entries, err := os.ReadDir(datatest.Shared(t, "parity-bench", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		text, err := os.ReadFile(datatest.Shared(t, "parity-bench", name, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		write(t, folder, entry.Name(), string(text))
	}
	rules := map[string]map[string]string{}
	for _, category := range []string{"conv", "detail", "complex"} {
		rules["llava_bench_"+category] = map[string]string{"role": "Assistant", "prompt": "Score " + category + "."}
	}
	text, _ := json.Marshal(rules)
	write(t, folder, wildRules, string(text))
	write(t, folder, vetRules, "import os\nprompt = \"\"\"Score it.\nQ | A | P | S\n\"\"\"\n")
	set, err := benchmarks.Open(name, folder, "", benchmarks.ToScore)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := benchmarks.ReadAnswers(filepath.Join(folder, "answers.jsonl"), false)
	if err != nil {
		t.Fatal(err)
	}
	return set, answers, set.Join(answers), folder
}

func write(t *testing.T, folder, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestRequests(t *testing.T) {
	set, answers, j, folder := judged(t, "llavabench")
	requests, err := Make(set, j, folder)
	if err != nil || len(requests) != len(set.Questions) {
		t.Fatalf("%d requests, %v", len(requests), err)
	}
	user := requests[1].Messages[1].Content
	for _, part := range []string{"[Context]\n", "\n\n[Question]\n" + set.Questions[1].Text + "\n\n[Assistant 1]\n",
		"\n\n[End of Assistant 1]\n\n[Assistant 2]\n" + answers.List[1].Text + "\n\n[End of Assistant 2]\n\n",
		"[System]\nScore " + set.Questions[1].Category + ".\n\n"} {
		if !strings.Contains(user, part) {
			t.Errorf("no %q in %q", part, user)
		}
	}
	set, answers, j, folder = judged(t, "mmvet")
	if requests, err = Make(set, j, folder); err != nil {
		t.Fatal(err)
	}
	for i, r := range requests {
		answer := strings.NewReplacer("<AND>", " <AND> ", "<OR>", " <OR> ").Replace(set.Questions[i].Judged("answer"))
		want := "Score it.\nQ | A | P | S\n\n" + set.Questions[i].Text + " | " + answer + " | " + answers.List[i].Text +
			" | "
		if len(r.Messages) != 1 || r.Messages[0].Content != want {
			t.Errorf("%q, want %q", r.Messages, want)
		}
	}
}

// With the instructions of the originals, every message is the recorded one. They are not part of the repository:
// LLAVATRAIN_JUDGE_RULES names a folder with rule.json and mm-vet_evaluator.py.
func TestRequestsAreTheOriginals(t *testing.T) {
	rules := os.Getenv("LLAVATRAIN_JUDGE_RULES")
	if rules == "" {
		t.Skip("LLAVATRAIN_JUDGE_RULES names no folder with the originals' instructions")
	}
	for name, file := range map[string]string{"llavabench": wildRules, "mmvet": vetRules} {
		set, _, j, folder := judged(t, name)
		text, err := os.ReadFile(filepath.Join(rules, file))
		if err != nil {
			t.Fatal(err)
		}
		write(t, folder, file, string(text))
		requests, err := Make(set, j, folder)
		if err != nil {
			t.Fatal(err)
		}
		recorded := map[string]bool{}
		for _, r := range datatest.JSONLines[struct {
			Hash        string `json:"sha256_of_the_last_message"`
			Model       string
			Temperature float64
			MaxTokens   int `json:"max_tokens"`
		}](t, datatest.Shared(t, "parity-bench", name, "judge_requests.jsonl")) {
			recorded[r.Hash] = true
			if s := asked[name]; s.model != r.Model || s.temperature != r.Temperature || s.limit != r.MaxTokens {
				t.Errorf("%s is asked with %+v, the original with %+v", name, s, r)
			}
		}
		for _, r := range requests {
			sum := sha256.Sum256([]byte(r.Messages[len(r.Messages)-1].Content))
			if !recorded[hex.EncodeToString(sum[:])] {
				t.Errorf("%s: the original does not send %.200q", r.ID, r.Messages[len(r.Messages)-1].Content)
			}
		}
	}
}

func TestSettingsAreTheOriginals(t *testing.T) {
	for name, s := range asked {
		for _, r := range datatest.JSONLines[struct {
			Model       string
			Temperature float64
			MaxTokens   int `json:"max_tokens"`
		}](t, datatest.Shared(t, "parity-bench", name, "judge_requests.jsonl")) {
			if s.model != r.Model || s.temperature != r.Temperature || s.limit != r.MaxTokens {
				t.Errorf("%s is asked with %+v, the original with %+v", name, s, r)
			}
		}
	}
}

func TestInstructionsAreTheUsers(t *testing.T) {
	for name, c := range map[string]struct{ file, says string }{"llavabench": {wildRules,
		"copy it from llava/eval/table"},
		"mmvet": {vetRules, "copy it from MM-Vet's repository"}} {
		set, _, j, folder := judged(t, name)
		write(t, folder, c.file, "{}")
		if _, err := Make(set, j, folder); !errors.Is(err, failure.ErrInput) {
			t.Errorf("%s: empty instructions: %v", name, err)
		}
		os.Remove(filepath.Join(folder, c.file))
		if _, err := Make(set, j, folder); !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: no instructions: %v", name, err)
		}
	}
}

// What is written as requests and answered by a service gives the same scores as the replies alone.
func TestBatchFiles(t *testing.T) {
	set, answers, j, folder := judged(t, "mmvet")
	requests, err := Make(set, j, folder)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(folder, "requests.jsonl")
	if err := Write(out, set, requests, "gpt-4-0613"); err != nil {
		t.Fatal(err)
	}
	lines := datatest.JSONLines[struct {
		ID     string `json:"custom_id"`
		Method string
		URL    string
		Body   struct {
			Model       string
			Temperature *float64
			MaxTokens   int `json:"max_tokens"`
		}
	}](t, out)
	ids := map[string]bool{}
	var with, without strings.Builder
	texts, _ := os.ReadFile(filepath.Join(folder, "judge_replies.json"))
	var replies []string
	json.Unmarshal(texts, &replies)
	for i, l := range lines {
		ids[l.ID] = true
		if l.Method != "POST" || l.URL != "/v1/chat/completions" || l.Body.Model != "gpt-4-0613" ||
			l.Body.MaxTokens != 3 ||
			l.Body.Temperature == nil {
			t.Errorf("%+v", l)
		}
		text, _ := json.Marshal(replies[i])
		choices := fmt.Sprintf(`"model": "gpt-4-0613", "choices": [{"message": {"content": %s}}]`, text)
		fmt.Fprintf(&with, "{\"custom_id\": %q, \"response\": {\"status_code\": 200, \"body\": {%s}}}\n", l.ID, choices)
		fmt.Fprintf(&without, "{\"custom_id\": %q, \"response\": {%s}}\n", l.ID, choices)
	}
	if len(ids) != len(set.Questions) {
		t.Errorf("%d ids of %d questions", len(ids), len(set.Questions))
	}
	for name, text := range map[string]string{"with.jsonl": with.String(), "without.jsonl": without.String(),
		"list.json": string(texts)} {
		write(t, folder, name, text)
		read, err := Read(filepath.Join(folder, name), set, j, false)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "", false: "gpt-4-0613"}[name == "list.json"]; read.Judge != want {
			t.Errorf("%s: the judge is %q", name, read.Judge)
		}
		for i, said := range read.List {
			if said.Text != replies[i] {
				t.Errorf("%s: reply %d is %q, want %q", name, i, said.Text, replies[i])
			}
		}
		r, _, err := set.Score(answers, "", benchmarks.ScoreOptions{Replies: read.List})
		if err != nil || r.Metrics["accuracy"] == 0 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestBadReplies(t *testing.T) {
	set, _, j, folder := judged(t, "mmvet")
	line := func(i int, rest string) string {
		return fmt.Sprintf("{\"custom_id\": %q, %s}\n", requestID(set, i, j.Answers[i]), rest)
	}
	fine := `"response": {"status_code": 200, "body": {"choices": [{"message": {"content": "1.0"}}]}}`
	all := ""
	for i := range set.Questions {
		all += line(i, fine)
	}
	for text, says := range map[string]string{
		`["1.0"]`:  fmt.Sprintf("1 replies, and there are %d questions", len(set.Questions)),
		`[1]`:      `number`,
		`{"a": 1}`: "line 1 is no batch result",
		line(0, fine): fmt.Sprintf("%d answers have no reply, and 0 replies are to other answers",
			len(set.Questions)-1),
		all + `{"custom_id": "mmvet-00000-000000000000", ` + fine + "}\n": "0 answers " +
			"have no reply, and 1 replies are to other answers",
		`{"custom_id": "a", "method": "POST", "url": "x", "body": {}}`: "line " +
			"1 is a request: give the file that the service returns",
		"\xff\xfea": "UTF-16",
	} {
		write(t, folder, "replies", text)
		_, err := Read(filepath.Join(folder, "replies"), set, j, false)
		if !errors.Is(err, failure.ErrInput) || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("%.40q: %v, want %q", text, err, says)
		}
	}
	if _, err := Read(filepath.Join(folder, "nothing"), set, j, false); !errors.Is(err, failure.ErrInput) {
		t.Errorf("%v", err)
	}
}

// Refusals, filters and failed requests are named; a later reply takes their place.
func TestRepliesThatAreNone(t *testing.T) {
	set, _, j, folder := judged(t, "mmvet")
	text := ""
	for i, rest := range []string{
		`"response": {"body": {"choices": [{"message": {"content": null, "refusal": "I cannot"}}]}}`,
		`"response": {"body": {"choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]}}`,
		`"response": null, "error": {"code": "batch_expired"}`,
		`"response": {"status_code": 500, "body": {"error": {"message": "down"}}}`,
		`"response": {"status_code": 200, "body": {"choices": [{"message": {"content": "0.5"}}]}}`,
	} {
		text += fmt.Sprintf("{\"custom_id\": %q, %s}\n", requestID(set, i, j.Answers[i]), rest)
	}
	text += fmt.Sprintf("{\"custom_id\": %q, %s}\n", requestID(set, 2, j.Answers[2]),
		`"response": {"body": {"choices": [{"message": {"content": "0.7"}}]}}`)
	write(t, folder, "replies.jsonl", text)
	read, err := Read(filepath.Join(folder, "replies.jsonl"), set, j, true)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"refuses", "filter", "", "500", "", "no reply"} {
		if said := read.List[i]; (want == "") != (said.Fault == "") || !strings.Contains(said.Fault, want) {
			t.Errorf("reply %d: %+v, want the fault %q", i, said, want)
		}
	}
	if read.List[2].Text != "0.7" || read.List[4].Text != "0.5" || read.Faults != len(set.Questions)-2 ||
		!strings.Contains(read.Fault, "refuses") {
		t.Errorf("%+v", read)
	}
}

// An endpoint is asked once for each different request, and again where it rambles; what it said is not asked again.
func TestAsk(t *testing.T) {
	set, answers, j, folder := judged(t, "mmvet")
	calls, rambles := 0, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		text := "0.5"
		if calls == 1 {
			text, rambles = "Well, let me see", rambles+1
		}
		fmt.Fprintf(w, `{"model": "judge-1", "choices": [{"message": {"content": %q}}]}`, text)
	}))
	defer server.Close()
	requests, err := Make(set, j, folder)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() *Replies {
		t.Helper()
		last := 0
		read, err := Ask(context.Background(), filepath.Join(folder, "ledger"), chat.Settings{URL: server.URL,
			Model:       "judge",
			Concurrency: 1}, set, requests, func(done int) { last = done })
		if err != nil || last != len(requests) {
			t.Fatalf("%d replies, %v", last, err)
		}
		return read
	}
	different := map[string]bool{}
	for _, r := range requests {
		different[r.Messages[0].Content] = true
	}
	read := ask()
	if calls != len(different)+1 || read.Judge != "judge-1" || read.Faults != 0 {
		t.Errorf("%d calls for %d requests, %+v", calls, len(different), read.Judge)
	}
	r, _, err := set.Score(answers, "", benchmarks.ScoreOptions{Replies: read.List, Judge: read.Judge})
	if err != nil || r.Metrics["accuracy"] != 50 || r.Unparsed != 0 || r.Judge != "judge-1" {
		t.Errorf("%+v, %v", r, err)
	}
	before := calls
	if again := ask(); calls != before || again.List[0].Text != "0.5" {
		t.Errorf("%d calls more", calls-before)
	}
	if prompt, completion := Estimate(set, requests); prompt == 0 || completion != 3*len(requests) {
		t.Errorf("%d and %d tokens", prompt, completion)
	}
}
