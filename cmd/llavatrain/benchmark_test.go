package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vetWorld is a folder with two questions of MM-Vet's form, answers, and instructions for a judge.
func vetWorld(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"llava-mm-vet.jsonl": `{"question_id": 0, "image": "a.png", "text": "What is x?"}
{"question_id": 1, "image": "b.png", "text": "Why?"}
`,
		"mm-vet.json": `{"v1_0": {"question": "What is x?", "answer": "5", "capability": ["math"]},
"v1_1": {"question": "Why?", "answer": "It is odd", "capability": ["rec", "know"]}}`,
		"mm-vet_evaluator.py": "prompt = \"\"\"Score it.\n\"\"\"\n",
		"answers.jsonl": `{"question_id": 0, "prompt": "What is x?", "text": "5"}
{"question_id": 1, "prompt": "Why?", "text": "No idea"}
`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// A judge behind an endpoint is told the cost before, asked with the key, and not asked twice for the same.
func TestBenchmarkJudgeByEndpoint(t *testing.T) {
	folder, calls := vetWorld(t), 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		if r.Header.Get("Authorization") != "Bearer a-key-for-tests" || r.URL.Path != "/v1/chat/completions" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"model": "judge-2", "choices": [{"message": {"content": "0.%d"}}]}`, 4+calls)
	}))
	defer server.Close()
	args := []string{"benchmark", "judge", "mmvet", "--data", folder, "--answers", filepath.Join(folder,
		"answers.jsonl"),
		"--endpoint", server.URL + "/v1", "--judge", "judge", "--json", filepath.Join(folder, "result.json")}
	t.Setenv("OPENAI_API_KEY", "wrong")
	if out := command(t, 7, args...); !strings.Contains(out, "set the environment variable OPENAI_API_KEY to a key") {
		t.Errorf("%s", out)
	}
	calls = 0
	t.Setenv("OPENAI_API_KEY", "a-key-for-tests")
	for range 2 {
		out := command(t, 0, args...)
		for _, want := range []string{"2 requests to judge: about ", "tokens, and replies of at most 6\n",
			"mmvet by rule original: 2 of 2 questions answered", "accuracy                  55.00 ± 5.00"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %s", want, out)
			}
		}
	}
	if calls != 2 {
		t.Errorf("%d calls for two requests", calls)
	}
	result, err := os.ReadFile(filepath.Join(folder, "result.json"))
	if err != nil || !strings.Contains(string(result), `"judge": "judge-2"`) ||
		!strings.Contains(string(result), "answers.jsonl.judge") {
		t.Errorf("%s, %v", result, err)
	}
}

// What an MMBench or MME upload had to change, and that its labels are public, is said.
func TestBenchmarkSubmitSaysWhatItChanged(t *testing.T) {
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(shared(t, "parity-bench", "mme"))); err != nil {
		t.Fatal(err)
	}
	answers := filepath.Join(folder, "answers.jsonl")
	text, err := os.ReadFile(answers)
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(answers, 0o666)
	changed := strings.Replace(string(text), `"text": "`, `"text": "\t`, 1)
	if err := os.WriteFile(answers, []byte(changed), 0o666); err != nil {
		t.Fatal(err)
	}
	out := command(t, 0, "benchmark", "submit", "mme", "--data", folder, "--answers", answers, "--out",
		filepath.Join(folder, "upload"))
	for _, want := range []string{"1 answers have tabs or line breaks, which became spaces",
		"the labels are here too: `llavatrain benchmark score mme` gives the figure"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}
