package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data"
)

// rowsRecipe trains a few steps of three rows each, in file order, from a random projector.
const rowsRecipe = `
threads: 1
name: rows
model:
  vision: {config: base/tower.json, select_layer: -1}
  language: {config: base/language.json, tokenizer: {path: base}, max_length: 256}
finetune:
  data: [{path: rows.json, images: data/images}]
  template: vicuna_v1
  order: sequential
  train: {projector: {lr: 1e-3}}
  batch: {global: 3, micro: 3}
  steps: 3
`

// rowsWorld is a world whose rows.json holds eight good rows and, as the fifth, the given one; and a recipe that trains
// on it.
func rowsWorld(t *testing.T, dir string, fifth string) (recipe string) {
	t.Helper()
	rows := goodRows(t, dir)[:8]
	rows = append(rows[:4:4], append([]json.RawMessage{json.RawMessage(fifth)}, rows[4:]...)...)
	writeRows(t, filepath.Join(dir, "rows.json"), rows)
	recipe = filepath.Join(dir, "rows.yaml")
	write(t, recipe, rowsRecipe)
	return recipe
}

func goodRows(t *testing.T, dir string) (rows []json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal(read(t, filepath.Join(dir, "data", "finetune.json")), &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// complain runs a command line and checks its exit code, that its messages contain every fragment, and that they
// contain no stack trace.
func complain(t *testing.T, want int, fragments []string, args ...string) (messages string) {
	t.Helper()
	messages = command(t, want, args...)
	for _, fragment := range fragments {
		if !strings.Contains(messages, fragment) {
			t.Errorf("llavatrain %s: the messages lack %q:\n%s", strings.Join(args, " "), fragment, messages)
		}
	}
	if trace.MatchString(messages) {
		t.Errorf("llavatrain %s: the messages hold a stack trace:\n%s", strings.Join(args, " "), messages)
	}
	return messages
}

// pictureRow asks about an image file.
func pictureRow(file string) string {
	return fmt.Sprintf(`{"id": "odd", "image": %q, "conversations": [`+
		`{"from": "human", "value": "<image>\nwhat is it"}, {"from": "gpt", "value": "a red square"}]}`, file)
}

// turnsRow is a row of turns (role, text, role, text …), with an image unless image is "".
func turnsRow(image string, turns ...string) string {
	var list []string
	for i := 0; i < len(turns); i += 2 {
		list = append(list, fmt.Sprintf(`{"from": %q, "value": %q}`, turns[i], turns[i+1]))
	}
	if image != "" {
		image = fmt.Sprintf(`"image": %q, `, image)
	}
	return fmt.Sprintf(`{"id": "odd", %s"conversations": [%s]}`, image, strings.Join(list, ", "))
}

func TestBadRows(t *testing.T) {
	dir := world(t)
	images := filepath.Join(dir, "data", "images")
	good := "finetune-00000.png"
	whole := read(t, filepath.Join(images, good))
	write(t, filepath.Join(images, "half.png"), string(whole[:len(whole)/2]))
	write(t, filepath.Join(images, "page.jpg"), "<!DOCTYPE html><html><body>404</body></html>")
	write(t, filepath.Join(images, "huge.png"), string(hugePNG()))
	write(t, filepath.Join(images, "heavy.png"), string(whole))
	if err := os.Truncate(filepath.Join(images, "heavy.png"), 65<<20); err != nil { // sparse: takes no disk space
		t.Fatal(err)
	}
	long := strings.Repeat("what is red and ", 300)
	for _, c := range []struct{ name, row, reason string }{
		{"image missing", pictureRow("gone.png"), `image "gone.png": no such file in the image folder`},
		{"image truncated", pictureRow("half.png"), `image "half.png": PNG cannot be decoded`},
		{"web page for an image", pictureRow("page.jpg"), `image "page.jpg": file is an HTML page, not an image`},
		{"image too large", pictureRow("huge.png"),
			`image "huge.png": PNG of 30000x30000 is over the limit of 50 million pixels`},
		{"file too large", pictureRow("heavy.png"),
			`image "heavy.png": file of 68157440 bytes is over the limit of 67108864`},
		{"image outside", pictureRow("../../world.yaml"),
			`image is "../../world.yaml"; it must be a path within the image folder`},
		{"unknown role", turnsRow(good, "tool", "<image>\nwhat", "gpt", "a"),
			`conversations[0].from is "tool"; it must be human or user, gpt or assistant, or system`},
		{"roles out of turn", turnsRow(good, "human", "<image>\nwhat", "human", "a"),
			`turn 2 is from "human" where "gpt" is expected`},
		{"no answer", turnsRow(good, "human", "<image>\nwhat"),
			"row ends with turn 1, from human: add the answer or remove the turn"},
		{"empty answer", turnsRow(good, "human", "<image>\nwhat", "gpt", ""), "turn 2 (gpt) is empty"},
		{"placeholder without image", turnsRow("", "human", "<image>\nwhat", "gpt", "a"),
			"<image> but the row has no image"},
		{"several placeholders", turnsRow(good, "human", "<image><image>\nwhat", "gpt", "a"),
			"row has 1 image(s) but 2 <image>"},
		{"nothing supervised", turnsRow(good, "human", "<image>\n"+long, "gpt", "a"),
			"the first 256 (max_length) hold no supervised token"},
		{"placeholder cut off", turnsRow(good, "human", long, "gpt", "a", "human", "<image>", "gpt", "b"),
			"image does not fit within 256 positions (max_length)"},
		{"not an object", `["a"]`, "it must be an object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			recipe := rowsWorld(t, dir, c.row)
			runs := t.TempDir()
			complain(t, 0, []string{"skipped", "quarantine.jsonl"}, "finetune", recipe, "--runs", runs)
			requireSkipped(t, filepath.Join(runs, "rows", "finetune"), c.reason)
			runs = t.TempDir()
			complain(t, 2, []string{"step 2", "row 4", c.reason}, "finetune", recipe, "--runs", runs,
				set("finetune.bad_samples", "fail"))
			if n := len(readMetrics(t, filepath.Join(runs, "rows", "finetune"))); n != 1 {
				t.Errorf("bad_samples fail took %d steps before the bad row of step 2", n)
			}
		})
	}
}

// requireSkipped checks that a run over rowsWorld skipped the fifth row: it is in quarantine with its reason and
// counted, and the other rows trained.
func requireSkipped(t *testing.T, runDir, reason string) {
	t.Helper()
	quarantine := readQuarantine(t, runDir)
	if len(quarantine) != 1 || quarantine[0].Row != 4 || quarantine[0].Step != 2 ||
		!strings.Contains(quarantine[0].Reason, reason) {
		t.Errorf("quarantine.jsonl holds %+v, want row 4 at step 2 with reason %q", quarantine, reason)
	}
	metrics := readMetrics(t, runDir)
	if len(metrics) != 3 {
		t.Fatalf("%d steps, want 3", len(metrics))
	}
	for i, want := range []struct{ samples, skipped int }{{3, 0}, {2, 1}, {3, 0}} {
		if m := metrics[i]; m.Samples != want.samples || m.Skipped != want.skipped {
			t.Errorf("step %d has %d samples and %d skipped, want %+v", m.Step, m.Samples, m.Skipped, want)
		}
	}
}

func readQuarantine(t *testing.T, runDir string) (skips []data.Skip) {
	t.Helper()
	for line := range strings.Lines(string(read(t, filepath.Join(runDir, "quarantine.jsonl")))) {
		var skip data.Skip
		if err := json.Unmarshal([]byte(line), &skip); err != nil {
			t.Fatalf("quarantine.jsonl: %q: %v", line, err)
		}
		skips = append(skips, skip)
	}
	return skips
}

// hugePNG is a few bytes whose header promises 30000x30000 pixels.
func hugePNG() []byte {
	file := bytes.NewBufferString("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, content []byte) {
		binary.Write(file, binary.BigEndian, uint32(len(content)))
		body := append([]byte(kind), content...)
		file.Write(body)
		binary.Write(file, binary.BigEndian, crc32.ChecksumIEEE(body))
	}
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 30000), 30000)
	chunk("IHDR", append(header, 8, 2, 0, 0, 0)) // 8 bits, RGB
	chunk("IDAT", nil)
	chunk("IEND", nil)
	return file.Bytes()
}

// A row longer than max_length is cut, as in the original, and the user is told.
func TestLongRowIsCut(t *testing.T) {
	dir := world(t)
	recipe := rowsWorld(t, dir, turnsRow("finetune-00000.png", "human", "<image>\nwhat", "gpt",
		strings.Repeat("what is red and ", 300)))
	complain(t, 0, []string{"step 2: a sample is longer than max_length 256", "1 samples were cut to max_length"},
		"finetune", recipe)
	runDir := filepath.Join(dir, "runs", "rows", "finetune")
	if skips := readQuarantine(t, runDir); len(skips) != 0 {
		t.Errorf("a sample that was cut is in quarantine: %+v", skips)
	}
	if m := readMetrics(t, runDir)[1]; m.Samples != 3 || m.SupervisedTokens < 150 {
		t.Errorf("step 2 has %d samples and %d supervised tokens; the cut sample should be among them", m.Samples,
			m.SupervisedTokens)
	}
}

// The limit on bad rows counts distinct rows, not how often they occur.
func TestTooManyBadRows(t *testing.T) {
	dir := world(t)
	recipe := rowsWorld(t, dir, pictureRow("gone.png"))
	runDir := filepath.Join(dir, "runs", "rows", "finetune")
	complain(t, 0, nil, "finetune", recipe, set("finetune.steps", 21))
	if n := len(readQuarantine(t, runDir)); n != 7 {
		t.Errorf("a row that was skipped in each of seven epochs has %d lines in quarantine.jsonl", n)
	}
	rows := goodRows(t, dir)[:6]
	for range 6 {
		rows = append(rows, json.RawMessage(pictureRow("gone.png")))
	}
	writeRows(t, filepath.Join(dir, "rows.json"), rows)
	complain(t, 2, []string{"too many bad samples: 6 of 12 rows by step 4, more than the 5 allowed",
		`data[0] row 6: image "gone.png"`},
		"finetune", recipe, "--overwrite", set("finetune.steps", 4))
	if n := len(readQuarantine(t, runDir)); n != 6 {
		t.Errorf("quarantine.jsonl has %d lines, want all 6 rows", n)
	}
	if n := len(readMetrics(t, runDir)); n != 3 {
		t.Errorf("%d steps, want 3", n)
	}
}

// Faults of a whole file are found before the run starts.
func TestBadDataFiles(t *testing.T) {
	dir := world(t)
	recipe := rowsWorld(t, dir, pictureRow("gone.png"))
	whole := string(read(t, filepath.Join(dir, "rows.json")))
	for _, c := range []struct{ name, file, change, want string }{
		{"missing", whole, set("finetune.data.0.path", "nope.json"), "nope.json: no such file"},
		{"no image folder", whole, set("finetune.data.0.images", "nope"),
			`image folder "` + filepath.Join(dir, "nope")},
		{"truncated", whole[:len(whole)-40], "", "the file ends within row 8: it is incomplete"},
		{"not rows", `"id"`, "", `it begins with "\"id\"", which is not a supported data set format`},
		{"a row over several lines", "{\n\"id\": 1}", "", "its first line is not a complete JSON object"},
		{"empty array", "[]", "", "rows.json holds no rows"},
		{"empty file", "", "", "rows.json: it is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, filepath.Join(dir, "rows.json"), c.file)
			args := []string{"finetune", recipe}
			if c.change != "" {
				args = append(args, c.change)
			}
			complain(t, 2, []string{"data[0]", c.want}, args...)
			requireNoRun(t, filepath.Join(dir, "runs"))
		})
	}
}

// requireNoRun checks that a failed start leaves nothing that would prevent the next.
func requireNoRun(t *testing.T, runs string) {
	t.Helper()
	if _, err := os.Stat(runs); err == nil {
		t.Errorf("a failed start left %s", runs)
	}
}
