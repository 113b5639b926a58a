package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/synth/synthtest"
)

// annotated writes COCO's files about the pictures of a world, and a recipe that makes rows from them by an endpoint.
func annotated(t *testing.T, dir string) (recipe string, writer *synthtest.Writer) {
	t.Helper()
	pictures, err := filepath.Glob(filepath.Join(dir, "data", "images", "*.png"))
	if err != nil || len(pictures) < 50 {
		t.Fatalf("%d pictures, %v", len(pictures), err)
	}
	type object = map[string]any
	var images, captions, boxes []object
	for i, path := range pictures {
		images = append(images, object{"id": i, "file_name": filepath.Base(path), "width": 64, "height": 64})
		for j := range 3 {
			captions = append(captions, object{"id": 3*i + j, "image_id": i,
				"caption": fmt.Sprintf("Some shapes on a plain ground, view %d of picture %d.", j, i)})
		}
		boxes = append(boxes, object{"id": i, "image_id": i, "category_id": 1, "bbox": []int{4, 4, 20, 20},
			"iscrowd": 0})
	}
	for name, content := range map[string]object{
		"captions.json": {"images": images, "annotations": captions},
		"boxes.json": {"images": images, "annotations": boxes,
			"categories": []object{{"id": 1, "name": "square"}}},
	} {
		text, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(text))
	}
	writer = &synthtest.Writer{}
	server := httptest.NewServer(writer)
	t.Cleanup(server.Close)
	recipe = filepath.Join(dir, "made.yaml")
	write(t, recipe, "synth:\n  scenes: [{format: coco, captions: captions.json, instances: boxes.json, "+
		"images: data/images}]\n  rows: 40\n  endpoint: {url: "+server.URL+"/v1, model: m, key_env: SYNTH_TEST_KEY}\n")
	t.Setenv("SYNTH_TEST_KEY", "k-0123456789abcdef")
	return recipe, writer
}

// From annotations to a trained model: rows by a chat model for stage 2, chosen captions for stage 1, no problem found
// by check, both stages.
func TestMadeDataTrains(t *testing.T) {
	dir := world(t)
	recipe, writer := annotated(t, dir)
	if text := command(t, 0, "synth", recipe, "--dry-run"); writer.Calls() > 0 ||
		!strings.Contains(text, "to ask about") {
		t.Errorf("%d calls by the dry run:\n%s", writer.Calls(), text)
	}
	text := command(t, 0, "synth", recipe)
	made := filepath.Join(dir, "runs", "made", "synth")
	if !strings.Contains(text, "40 of 40 rows: "+filepath.Join(made, "rows.json")) {
		t.Errorf("synth says:\n%s", text)
	}
	calls := writer.Calls()
	before := read(t, filepath.Join(made, "rows.json"))
	command(t, 0, "synth", recipe)
	command(t, 0, "synth", "build", recipe)
	if string(before) != string(read(t, filepath.Join(made, "rows.json"))) || writer.Calls() != calls {
		t.Errorf("%d calls after %d, or other rows", writer.Calls(), calls)
	}
	command(t, 0, "synth", "captions", filepath.Join(dir, "captions.json"), "--phrases", "auto",
		"--out", filepath.Join(dir, "chosen.json"))
	data := []string{
		"--set", "pretrain.data=[{path: chosen.json, images: data/images}]",
		"--set", "finetune.data=[{path: runs/made/synth/rows.json, images: data/images}]",
	}
	world := filepath.Join(dir, "world.yaml")
	text = command(t, 0, append([]string{"check", world}, data...)...)
	if !strings.Contains(text, "no problems found") {
		t.Errorf("check says:\n%s", text)
	}
	command(t, 0, append([]string{"pretrain", world}, data...)...)
	command(t, 0, append([]string{"finetune", world}, data...)...)
	if lines := readMetrics(t, filepath.Join(dir, "runs", "world", "finetune")); len(lines) != 20 {
		t.Errorf("%d steps", len(lines))
	}
	for _, name := range []string{"ledger.jsonl", "rows.json", "report.html", "summary.json"} {
		if strings.Contains(string(read(t, filepath.Join(made, name))), os.Getenv("SYNTH_TEST_KEY")) {
			t.Errorf("%s holds the key", name)
		}
	}
}

// What a recipe of data alone cannot do, and what synth cannot.
func TestSynthRefuses(t *testing.T) {
	dir := world(t)
	recipe, writer := annotated(t, dir)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"pretrain", recipe}, "trains nothing"},
		{[]string{"check", recipe}, "trains nothing"},
		{[]string{"plan", recipe}, "trains nothing"},
		{[]string{"synth", filepath.Join(dir, "world.yaml")}, "has no section synth"},
		{[]string{"synth", recipe, "--limit=-1"}, "--limit"},
		{[]string{"synth", recipe, "--dry-run", "--batch-out", "x"}, "none of the others can be"},
		{[]string{"synth", "build", recipe}, "does not exist"},
		{[]string{"synth", recipe, "--batch-in", filepath.Join(dir, "none.jsonl")}, "none.jsonl"},
		{[]string{"synth", "convert", "none", "x", "--out", filepath.Join(dir, "x")}, "format must be one of"},
		{[]string{"synth", "captions", filepath.Join(dir, "none.json"), "--phrases", "auto", "--out", "x"},
			"none.json"},
	} {
		if text := command(t, 2, c.args...); !strings.Contains(text, c.want) {
			t.Errorf("%v says, without %q:\n%s", c.args, c.want, text)
		}
	}
	os.Unsetenv("SYNTH_TEST_KEY")
	if text := command(t, 2, "synth", recipe); !strings.Contains(text, "SYNTH_TEST_KEY") {
		t.Errorf("without the key synth says:\n%s", text)
	}
	if writer.Calls() > 0 {
		t.Errorf("%d calls", writer.Calls())
	}
	text := command(t, 7, "synth", recipe, set("synth.endpoint.url", "http://127.0.0.1:1/v1"),
		set("synth.endpoint.key_env", "HOME"), set("synth.endpoint.patience", "1s"))
	if !strings.Contains(text, "127.0.0.1") {
		t.Errorf("a dead endpoint: synth says:\n%s", text)
	}
}

// What ends a run says so, with its code; a run that asked for nothing leaves nothing.
func TestSynthEnds(t *testing.T) {
	dir := world(t)
	recipe, writer := annotated(t, dir)
	made := filepath.Join(dir, "runs", "made", "synth")
	os.Unsetenv("SYNTH_TEST_KEY")
	if text := command(t, 2, "synth", recipe); strings.Contains(text, "rows.json") || exists(made, "rows.json") {
		t.Errorf("without a key there are rows:\n%s", text)
	}
	t.Setenv("SYNTH_TEST_KEY", "k-0123456789abcdef")
	writer.Delay = 300 * time.Millisecond
	code, text := signalled(t, []string{"scenes"}, []syscall.Signal{syscall.SIGINT}, "synth", recipe)
	if code != 130 || !strings.Contains(text, "waiting for the answers") || strings.Contains(text, "step") {
		t.Errorf("after Ctrl-C code %d:\n%s", code, text)
	}
	writer.Delay = 0
	text = command(t, 0, "synth", recipe, "--batch-out", filepath.Join(dir, "out"))
	if !strings.Contains(text, "1 files; about ") {
		t.Errorf("batch files:\n%s", text)
	}
	text = command(t, 0, "synth", recipe)
	if !strings.Contains(text, "in batch files, whose results --batch-in reads") {
		t.Errorf("while a batch is away:\n%s", text)
	}
	lock, err := checkpoints.Run{Dir: made}.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock()
	for _, args := range [][]string{{"synth", recipe}, {"synth", "build", recipe}} {
		if text := command(t, 2, args...); !strings.Contains(text, "in use") || strings.Contains(text, "--help") {
			t.Errorf("%v while another process is at work:\n%s", args, text)
		}
	}
	if text := command(t, 2, "synth", "build", recipe, "--limit=1", "--limit=2"); !strings.Contains(text, "limit") {
		t.Errorf("a flag twice:\n%s", text)
	}
}

// A server that sends more than it said does not reach the terminal.
func TestSynthUnasked(t *testing.T) {
	dir := world(t)
	recipe, writer := annotated(t, dir)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded := httptest.NewRecorder()
		writer.ServeHTTP(recorded, r)
		conn, buffer, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintf(buffer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s unasked", recorded.Body.Len(),
			recorded.Body)
		buffer.Flush()
		time.Sleep(10 * time.Millisecond)
		conn.Close()
	}))
	defer server.Close()
	var logged strings.Builder
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	text := command(t, 0, "synth", recipe, set("synth.endpoint.url", server.URL+"/v1"), "--limit=3")
	if strings.Contains(text+logged.String(), "nsolicited") || !strings.Contains(text, "3 of 3 rows") {
		t.Errorf("synth says:\n%s%s", text, logged.String())
	}
}

// Prompts that were written out and changed are used; one that cannot work is refused before anything is asked.
func TestSynthPrompts(t *testing.T) {
	dir := world(t)
	recipe, writer := annotated(t, dir)
	prompts := filepath.Join(dir, "prompts")
	command(t, 0, "synth", "prompts", prompts)
	text := command(t, 0, "synth", recipe, set("synth.prompts", prompts), "--dry-run")
	if own := command(t, 0, "synth", recipe, "--dry-run"); own != text {
		t.Errorf("the prompts written out differ from the program's own:\n%s\n%s", text, own)
	}
	system := filepath.Join(prompts, "detail", "system.txt")
	if text := command(t, 2, "synth", "prompts", prompts); !strings.Contains(text, "exist") {
		t.Errorf("writing them again says:\n%s", text)
	}
	write(t, system, "Describe it.")
	text = command(t, 0, "synth", recipe, set("synth.prompts", prompts), "--dry-run", set("synth.kinds", "{detail: 1}"))
	if !strings.Contains(text, "[system]\nDescribe it.") {
		t.Errorf("the changed prompt is not used:\n%s", text)
	}
	answers, err := filepath.Glob(filepath.Join(prompts, "conversation", "examples", "*.answer.txt"))
	if err != nil || len(answers) == 0 {
		t.Fatalf("%v, %v", answers, err)
	}
	write(t, answers[0], "no form at all")
	text = command(t, 2, "synth", recipe, set("synth.prompts", prompts))
	if !strings.Contains(text, "conversation/examples/"+filepath.Base(answers[0])) {
		t.Errorf("a bad example: synth says:\n%s", text)
	}
	write(t, filepath.Join(prompts, "brief.txt"), "In short, please?\n")
	chosen := filepath.Join(dir, "chosen.json")
	command(t, 0, "synth", "captions", filepath.Join(dir, "captions.json"), "--phrases", "auto", "--prompts", prompts,
		"--out", chosen)
	if text := string(read(t, chosen)); strings.Count(text, "In short, please?") != strings.Count(text, `"id"`) {
		t.Errorf("other requests than those of brief.txt:\n%.500s", text)
	}
	if writer.Calls() > 0 {
		t.Errorf("%d calls", writer.Calls())
	}
}

// A batch goes out, is answered elsewhere in another order, and comes back with lines that expired.
func TestSynthBatches(t *testing.T) {
	dir := world(t)
	recipe, writer := annotated(t, dir)
	out := filepath.Join(dir, "batch")
	command(t, 0, "synth", recipe, "--batch-out", out)
	files, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil || len(files) != 1 || writer.Calls() > 0 {
		t.Fatalf("files %v, %d calls, %v", files, writer.Calls(), err)
	}
	var answers, expired []string
	for line := range strings.Lines(string(read(t, files[0]))) {
		var asked struct {
			ID   string `json:"custom_id"`
			Body struct{ Messages []struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(line), &asked); err != nil {
			t.Fatal(err)
		}
		if len(expired) < 5 {
			const late = `{"custom_id": %q, "response": null, "error": {"code": "batch_expired"}}`
			expired = append(expired, fmt.Sprintf(late, asked.ID))
			continue
		}
		m := asked.Body.Messages
		body, err := json.Marshal(map[string]any{"model": "m", "choices": []any{map[string]any{"finish_reason": "stop",
			"message": map[string]any{"content": synthtest.Usual(synthtest.KindOf(m[2].Content),
				m[len(m)-1].Content)}}},
			"usage": map[string]any{"prompt_tokens": 2000, "completion_tokens": 50}})
		if err != nil {
			t.Fatal(err)
		}
		const line = `{"custom_id": %q, "response": {"status_code": 200, "body": %s}, "error": null}`
		answers = append([]string{fmt.Sprintf(line, asked.ID, body)}, answers...)
	}
	results, errors := filepath.Join(dir, "results.jsonl"), filepath.Join(dir, "errors.jsonl")
	write(t, results, strings.Join(answers, "\n")+"\nno JSON\n")
	write(t, errors, strings.Join(expired, "\n"))
	text := command(t, 0, "synth", recipe, "--batch-in", results, "--batch-in", errors)
	for _, want := range []string{"35 answers read", "5 expired", "1 damaged", "35 of 40 rows"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text := command(t, 0, "synth", recipe); !strings.Contains(text, "40 of 40 rows") || writer.Calls() != 5 {
		t.Errorf("%d calls afterwards:\n%s", writer.Calls(), text)
	}
}
