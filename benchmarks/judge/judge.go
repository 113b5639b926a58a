// Package judge asks a chat model to score the answers to the two benchmarks that have no labels, LLaVA-Bench and
// MM-Vet, and reads its replies.
//
//  1. [Make] makes a request for each answered question. What the judge is told about scoring is read from the user's
//     copy of the benchmark's own files, and never part of this program.
//  2. [Write] writes them in the form of OpenAI's batch files, which other servers take too; or [Ask] sends them to an
//     endpoint, each once.
//  3. [Read] reads a file of replies: batch results, or a plain list of texts.
//
// Judges drift: the model that the original asked is retired, and its successors give other scores. So a result names
// the judge and keeps every reply, and figures by different judges cannot be compared.
package judge

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Request asks for the score of one answer.
type Request struct {
	ID       string // of the batch: says which question of which benchmark, and by a hash which answer
	Question int    // its number in the set
	Messages []Message
}

// Message is a message of a chat.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// settings is how a benchmark's original asks.
type settings struct {
	model       string // that the original asked
	limit       int    // tokens of a reply
	temperature float64
	texts       func(f *files.Folder) (func(q *benchmarks.Question, answer string) ([]Message, error), error)
}

var asked = map[string]settings{
	"llavabench": {"gpt-4-0314", 1024, 0.2, wildTexts},
	"mmvet":      {"gpt-4-0613", 3, 0, vetTexts},
}

func settingsOf(set *benchmarks.Set) (settings, error) {
	return failure.LookUp("judged benchmark", set.Benchmark.Name, asked)
}

// DefaultJudge is the model that the original asked.
func DefaultJudge(set *benchmarks.Set) string { return asked[set.Benchmark.Name].model }

// Make makes the requests. folder holds the benchmark's files, among them the judge's instructions: rule.json of
// LLaVA's llava/eval/table for LLaVA-Bench, mm-vet_evaluator.py of MM-Vet's repository for MM-Vet.
func Make(set *benchmarks.Set, j *benchmarks.Joined, folder string) ([]Request, error) {
	s, err := settingsOf(set)
	if err != nil {
		return nil, err
	}
	data, err := files.Open(folder)
	if err != nil {
		return nil, err
	}
	messages, err := s.texts(data)
	if err != nil {
		return nil, err
	}
	var list []Request
	for i, a := range j.Answers {
		if a == nil {
			continue
		}
		q := &set.Questions[i]
		told, err := messages(q, a.Text)
		if err != nil {
			return nil, failure.Inputf("question %s: %w", q.ID, err)
		}
		list = append(list, Request{ID: requestID(set, i, a), Question: i, Messages: told})
	}
	return list, nil
}

// requestID tells replies to other answers apart from replies to these.
func requestID(set *benchmarks.Set, i int, a *benchmarks.Answer) string {
	sum := sha256.Sum256([]byte(set.Questions[i].ID.String() + "\x00" + a.Text))
	return fmt.Sprintf("%s-%05d-%s", set.Benchmark.Name, i, hex.EncodeToString(sum[:6]))
}

const wildRules = "rule.json"

// wildTexts makes the messages of LLaVA's eval_gpt_review_bench.py.
func wildTexts(f *files.Folder) (func(*benchmarks.Question, string) ([]Message, error), error) {
	if !f.Has(wildRules) {
		return nil, failure.Inputf("%s has no %s: copy it from llava/eval/table of LLaVA's repository; it holds the "+
			"judge's instructions", f.Path, wildRules)
	}
	rules, err := files.Document[map[string]struct{ Role, Prompt string }](f, wildRules)
	if err != nil {
		return nil, err
	}
	return func(q *benchmarks.Question, answer string) ([]Message, error) {
		rule, ok := rules["llava_bench_"+q.Category]
		if !ok {
			return nil, fmt.Errorf("%s has no rule llava_bench_%.40s", wildRules, q.Category)
		}
		section := func(name, text string) string { return "[" + name + "]\n" + text + "\n\n" }
		answered := func(n, text string) string {
			return section(rule.Role+" "+n, text) + "[End of " + rule.Role + " " + n + "]\n\n"
		}
		return []Message{
			{"system", "You are a helpful and precise assistant for checking the quality of the answer."},
			{"user", section("Context", q.Judged("context")) + section("Question", q.Judged("question")) +
				answered("1", q.Judged("reference")) + answered("2", answer) + section("System", rule.Prompt)},
		}, nil
	}, nil
}

const (
	vetRules = "mm-vet_evaluator.py"
	vetBegin = "prompt = \"\"\""
	vetEnd   = "\"\"\""
)

// vetTexts makes the message of MM-Vet's evaluator: its table of examples, and a last row that ends before the score.
func vetTexts(f *files.Folder) (func(*benchmarks.Question, string) ([]Message, error), error) {
	if !f.Has(vetRules) {
		return nil, failure.Inputf("%s has no %s: copy it from MM-Vet's repository; it holds the judge's instructions",
			f.Path, vetRules)
	}
	program, err := f.Text(vetRules)
	if err != nil {
		return nil, err
	}
	_, behind, begun := strings.Cut(string(program), vetBegin)
	table, _, ended := strings.Cut(behind, vetEnd)
	if !begun || !ended {
		return nil, failure.Inputf("%s/%s has no text between %s and %s: is it MM-Vet's evaluator?", f.Path, vetRules,
			vetBegin, vetEnd)
	}
	spaced := strings.NewReplacer("<AND>", " <AND> ", "<OR>", " <OR> ")
	return func(q *benchmarks.Question, answer string) ([]Message, error) {
		row := []string{q.Judged("question"), spaced.Replace(q.Judged("answer")), answer, ""}
		return []Message{{"user", table + "\n" + strings.Join(row, " | ")}}, nil
	}, nil
}

// Write writes requests as a batch file in OpenAI's form. model is the judge.
func Write(path string, set *benchmarks.Set, requests []Request, model string) error {
	s, err := settingsOf(set)
	if err != nil {
		return err
	}
	type body struct {
		Model       string    `json:"model"`
		Messages    []Message `json:"messages"`
		Temperature float64   `json:"temperature"`
		MaxTokens   int       `json:"max_tokens"`
	}
	return checkpoints.WriteFile(path, func(w io.Writer) error {
		buffer := bufio.NewWriter(w)
		lines := json.NewEncoder(buffer)
		lines.SetEscapeHTML(false)
		for _, r := range requests {
			err := lines.Encode(struct {
				CustomID string `json:"custom_id"`
				Method   string `json:"method"`
				URL      string `json:"url"`
				Body     body   `json:"body"`
			}{r.ID, "POST", "/v1/chat/completions", body{model, r.Messages, s.temperature, s.limit}})
			if err != nil {
				return err
			}
		}
		return buffer.Flush()
	})
}
