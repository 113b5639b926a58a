package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/chattest"
)

// batchRequests reads the keys and bodies in batch files.
func batchRequests(t testing.TB, paths []string) (keys []string, bodies map[string]string) {
	t.Helper()
	bodies = map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		must(t, err)
		for line := range strings.Lines(string(text)) {
			var r struct {
				CustomID string `json:"custom_id"`
				Method   string
				URL      string
				Body     json.RawMessage
			}
			must(t, json.Unmarshal([]byte(line), &r))
			if r.Method != "POST" || r.URL != "/v1/chat/completions" || bodies[r.CustomID] != "" {
				t.Errorf("%s", line)
			}
			keys, bodies[r.CustomID] = append(keys, r.CustomID), string(r.Body)
		}
	}
	return keys, bodies
}

// result is a line of a batch's output file.
func result(key, id string) string {
	return fmt.Sprintf(`{"id":%q,"custom_id":%q,"response":{"status_code":200,"request_id":"r","body":{"id":"c",`+
		`"model":"test-model","choices":[{"message":{"content":%q},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":200,"completion_tokens":30}}},"error":null}`, id, key, chattest.Text(key))
}

func failed(key, id string, status int, body string) string {
	return fmt.Sprintf(`{"id":%q,"custom_id":%q,"response":{"status_code":%d,"body":%s},"error":null}`, id, key, status,
		body)
}

func expired(key, id string) string {
	return fmt.Sprintf(`{"id":%q,"custom_id":%q,"response":null,"error":{"code":"batch_expired","message":"late"}}`, id,
		key)
}

// writeLines writes a file of results. Its last line has no end, as some services write it.
func writeLines(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "results.jsonl")
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o666))
	return path
}

// againOnce wants a second answer to a key.
func againOnce(key string) func(Answer) Verdict {
	return func(a Answer) Verdict {
		if a.Key == key && a.Try == 1 {
			return Again
		}
		return Done
	}
}

// Batches from the beginning to the end: what is open is written, is left alone, comes back in any order, and only what
// expired or failed is asked for again.
func TestBatches(t *testing.T) {
	e, folder, out := &chattest.Endpoint{}, t.TempDir(), filepath.Join(t.TempDir(), "a [strange] folder")
	s := settings(serve(t, e))
	s.Budget.Prices = Prices{Prompt: 1, Completion: 2, BatchFactor: 0.5}
	_, err := runKeys(t, folder, s, ask(keys(5)))
	must(t, err)

	c, who := open(t, folder, s), ask(keys(15))
	who.verdict = againOnce("k3")
	files, err := c.BatchOut(out, who.next, who.done)
	must(t, err)
	written, bodies := batchRequests(t, files)
	if diff := cmp.Diff(append([]string{"k3"}, keys(15)[5:]...), written); diff != "" || len(files) != 1 {
		t.Fatalf("files %v, keys (-want +got):\n%s", files, diff)
	}
	if r := request("k7"); bodies["k7"] != strings.TrimSpace(string(r.body("test-model", "max_tokens"))) {
		t.Errorf("body %s", bodies["k7"])
	}
	waiting := c.Summary().Waiting
	if waiting.Total() < 11*200 || waiting.Money != s.Budget.Prices.Money(waiting.Usage)/2 {
		t.Errorf("waiting: %+v", waiting)
	}
	// An online run leaves them alone, and says so.
	who = ask(keys(20))
	must(t, c.Run(t.Context(), who.next, who.done))
	if got := who.outcomes(); got[Waiting] != 11 || got[Answered] != 9 || len(e.Calls()) != 10 {
		t.Errorf("%v, %d calls", got, len(e.Calls()))
	}
	again, err := c.BatchOut(out, ask(keys(20)).next, ask(nil).done)
	if must(t, err); len(again) > 0 {
		t.Errorf("a second file: %v", again)
	}
	must(t, c.Close())

	var lines []string
	for i, key := range written {
		switch id := fmt.Sprint("line-", i); key {
		case "k5":
			lines = append(lines, expired(key, id))
		case "k6":
			lines = append(lines, failed(key, id, 500, `{"error":{"message":"broken"}}`))
		case "k8":
			lines = append(lines, failed(key, id, 400, `{"error":{"code":"content_filter"}}`))
		case "k9":
			lines = append(lines, `{"id":"line-9","custom_id":"k9","response":{"status_code":400,"body":null},`+
				`"error":{"message":"the context length is exceeded"}}`)
		case "k10":
			lines = append(lines, `{"id":"line-10","custom_id":"k10","response":null,"error":{"code":"server_error"}}`)
		default:
			lines = append(lines, result(key, id))
		}
	}
	lines = append(lines, result("foreign", "line-x"), "", "{half", `{"id": "no key"}`, `[]`)
	rand.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	first, second := writeLines(t, lines[:7]...), writeLines(t, lines[7:]...)
	c = open(t, folder, s)
	got, err := c.BatchIn(second, first)
	must(t, err)
	if diff := cmp.Diff(BatchResult{Answers: 8, Faults: 2, Expired: 1, Unknown: 1, Damaged: 3}, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	// The failure of status 500 was maybe paid.
	if w := c.Summary(); w.Waiting.Usage != (Usage{}) || w.Spent.Money >= s.Budget.Prices.Money(w.Spent.Usage) ||
		w.MaybePaid.Total() == 0 {
		t.Errorf("%+v", w)
	}
	must(t, c.Close())

	// The rest goes online, and the results of the first batch are read once more, to no effect.
	before := len(e.Calls())
	who = ask(keys(20))
	who.verdict = againOnce("k3")
	_, err = runKeys(t, folder, s, who)
	must(t, err)
	if got := who.outcomes(); len(e.Calls()) != before+3 || got[Answered] != 18 || got[Refused] != 2 ||
		len(who.all["k3"]) != 2 {
		t.Errorf("%d requests, %v", len(e.Calls())-before, got)
	}
	c = open(t, folder, s)
	before = c.Summary().Answers
	got, err = c.BatchIn(first, second)
	if must(t, err); got != (BatchResult{Repeated: 11, Unknown: 1, Damaged: 3}) || c.Summary().Answers != before {
		t.Errorf("%+v", got)
	}
}

// Of a second batch, the results of the first are not those.
func TestOldResultsOfANewBatch(t *testing.T) {
	folder := t.TempDir()
	c := open(t, folder, settings("http://localhost/v1"))
	batch := func(verdict Verdict) {
		t.Helper()
		who := ask(keys(2))
		who.verdict = func(Answer) Verdict { return verdict }
		files, err := c.BatchOut(t.TempDir(), who.next, who.done)
		if must(t, err); len(files) != 1 {
			t.Fatal(files)
		}
	}
	batch(Again)
	old := writeLines(t, result("k0", "a"), expired("k1", "b"))
	got, err := c.BatchIn(old)
	if must(t, err); got != (BatchResult{Answers: 1, Expired: 1}) {
		t.Fatalf("%+v", got)
	}
	batch(Again)
	must(t, c.Close())
	c = open(t, folder, settings("http://localhost/v1"))
	if got, err = c.BatchIn(old); err != nil || got != (BatchResult{Repeated: 2}) {
		t.Fatalf("%+v, %v", got, err)
	}
	got, err = c.BatchIn(writeLines(t, result("k0", "c"), result("k1", "d")))
	if err != nil || got != (BatchResult{Answers: 2}) {
		t.Fatalf("%+v, %v", got, err)
	}
	found, err := c.Find("k0")
	if must(t, err); len(found) != 2 || !found[1].Last || found[1].Reply.Content != chattest.Text("k0") {
		t.Errorf("%+v", found)
	}
	for _, r := range readLedger(t, folder) {
		if r.Record == recordAnswer && (!strings.HasPrefix(r.Batch, "batch-000") || r.Line == "") {
			t.Errorf("%+v", r)
		}
	}
}

// A file of requests says nothing about them. Taken for results, it would open them all again, to be paid for twice.
func TestRequestsAreNoResults(t *testing.T) {
	c, who := open(t, t.TempDir(), settings("http://localhost/v1")), ask(keys(3))
	sent, err := c.BatchOut(t.TempDir(), who.next, who.done)
	must(t, err)
	for range 2 {
		got, err := c.BatchIn(sent...)
		if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), "holds requests") ||
			got != (BatchResult{}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	got, err := c.BatchIn(writeLines(t, result("k0", "a"), result("k1", "b"), result("k2", "c")))
	if must(t, err); got != (BatchResult{Answers: 3}) {
		t.Errorf("then %+v", got)
	}
}

// Files hold at most so many lines, and the budget holds for them as well.
func TestBatchLimits(t *testing.T) {
	c := open(t, t.TempDir(), settings("http://localhost/v1"))
	n := 0
	files, err := c.BatchOut(t.TempDir(), func() (Request, bool) {
		n++
		return Request{Key: fmt.Sprint("k", n), Messages: []byte("[1]"), MaxTokens: 1}, n <= batchLines+10
	}, ask(nil).done)
	must(t, err)
	for i, path := range files {
		got, _ := batchRequests(t, []string{path})
		if len(got) != []int{batchLines, 10}[i] {
			t.Errorf("file %d has %d lines", i, len(got))
		}
	}
	s := settings("http://localhost/v1")
	r := request("k0")
	for name, budget := range map[string]Budget{
		"tokens": {Tokens: 10 * int64(r.PromptTokens+210)},
		"money": {Money: 5 * (float64(r.PromptTokens) + 210*2) / 1e6,
			Prices: Prices{Prompt: 1, Completion: 2, BatchFactor: 0.5}},
	} {
		s.Budget = budget
		folder := t.TempDir()
		c = open(t, folder, s)
		files, err = c.BatchOut(t.TempDir(), ask(keys(100)).next, ask(nil).done)
		wantError(t, err, failure.ErrRemote, "the budget of")
		if got, _ := batchRequests(t, files); len(got) != 10 {
			t.Errorf("%s: %d requests", name, len(got))
		}
		if err = c.Run(t.Context(), ask(keys(100)[50:]).next, ask(nil).done); !errors.Is(err, failure.ErrRemote) {
			t.Errorf("%s: an online run: %v", name, err)
		}
	}
}

// A process that is killed between any two steps of writing leaves either open requests and no file that looks
// finished, or a file whose keys are claimed.
func TestBatchIsWhole(t *testing.T) {
	folder, out := t.TempDir(), t.TempDir()
	c := open(t, folder, settings("http://localhost/v1"))
	files, err := c.BatchOut(out, ask(keys(5)).next, ask(nil).done)
	must(t, err)
	text, err := os.ReadFile(files[0])
	must(t, err)
	ledger, err := os.ReadFile(filepath.Join(folder, LedgerFile))
	must(t, err)
	header := ledger[:bytes.IndexByte(ledger, '\n')+1]
	for name, state := range map[string]struct {
		file    string
		content []byte
		ledger  []byte
		want    int // files that can be sent
	}{
		"while it was written": {"batch-new.jsonl" + partSuffix, text[:len(text)/2], header, 1},
		"before the claim":     {filepath.Base(files[0]) + partSuffix, text, header, 1},
		"during the claim":     {filepath.Base(files[0]) + partSuffix, text, ledger[:len(ledger)-5], 1},
		"before its name":      {filepath.Base(files[0]) + partSuffix, text, ledger, 1},
		"done":                 {filepath.Base(files[0]), text, ledger, 0},
	} {
		out := t.TempDir()
		must(t, os.WriteFile(filepath.Join(out, state.file), state.content, 0o666))
		c := open(t, writeLedger(t, state.ledger), settings("http://localhost/v1"))
		again, err := c.BatchOut(out, ask(keys(5)).next, ask(nil).done)
		must(t, err)
		entries, err := os.ReadDir(out)
		if must(t, err); len(entries) != 1 || len(again) != state.want {
			t.Errorf("%s: %v, %v", name, entries, again)
			continue
		}
		got, _ := batchRequests(t, []string{filepath.Join(out, entries[0].Name())})
		if !slices.Equal(got, keys(5)) || filepath.Ext(entries[0].Name()) != ".jsonl" {
			t.Errorf("%s: %s holds %v", name, entries[0].Name(), got)
		}
	}
}

// A line that is longer than any result is passed over.
func TestLongLine(t *testing.T) {
	c := open(t, t.TempDir(), settings("http://localhost/v1"))
	_, err := c.BatchOut(t.TempDir(), ask(keys(3)).next, ask(nil).done)
	must(t, err)
	long := `{"custom_id":"k1","x":"` + strings.Repeat("x", maxLine) + `"}`
	path := writeLines(t, result("k0", "a"), long, result("k2", "c"))
	got, err := c.BatchIn(path)
	if must(t, err); got != (BatchResult{Answers: 2, Damaged: 1}) {
		t.Errorf("%+v", got)
	}
	_, err = c.BatchIn(filepath.Join(t.TempDir(), "none"))
	wantError(t, err, failure.ErrInput, "none")
}

// Whatever a file of results holds, the ledger stays sound.
func FuzzBatchIn(f *testing.F) {
	f.Add([]byte(result("k0", "a") + "\n" + expired("k1", "b")))
	f.Add([]byte(failed("k0", "a", 429, `{"error":"slow"}`) + "\n" + failed("k1", "", 400, `"context length"`)))
	f.Add([]byte(`{"custom_id":"k0","response":{"status_code":200,"body":"text"},"error":"x"}`))
	f.Add([]byte(`{"custom_id":"k0","response":{"status_code":413},"error":{"code":5}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		folder := t.TempDir()
		c := open(t, folder, settings("http://localhost/v1"))
		who := ask(keys(3))
		_, err := c.BatchOut(filepath.Join(folder, "out"), who.next, who.done)
		must(t, err)
		path := writeLines(t, string(text))
		first, err := c.BatchIn(path)
		must(t, err)
		second, err := c.BatchIn(path)
		must(t, err)
		if second.Answers+second.Faults+second.Expired > 0 || first.Answers != c.Summary().Answers {
			t.Errorf("%+v, then %+v", first, second)
		}
		before := c.Summary()
		for a, err := range c.Answers() {
			if must(t, err); a.Outcome != Answered && a.Outcome != Refused {
				t.Errorf("%+v", a)
			}
		}
		must(t, c.Close())
		after := open(t, folder, settings("http://localhost/v1")).Summary()
		if diff := cmp.Diff(before, after); diff != "" {
			t.Error(diff)
		}
		if !maps.Equal(before.Faults, after.Faults) {
			t.Error("faults differ")
		}
	})
}
