package synth

import (
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var small = Options{Seed: 5, Pretrain: 60, Finetune: 80, Questions: 100, BaseCaptions: 50, BaseConversations: 300, BaseEchoes: 60}

func writeDemo(t *testing.T, options Options) string {
	t.Helper()
	dir := t.TempDir()
	if err := WriteDemo(dir, options, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeBase(t *testing.T, options Options) string {
	t.Helper()
	dir := t.TempDir()
	if err := WriteBase(dir, options, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// readJSON refuses keys that the JSON of LLaVA does not have.
func readJSON[T any](t *testing.T, path string) []T {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	var items []T
	if err := decoder.Decode(&items); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return items
}

// snapshot maps each file below dir to its content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestEqualOptionsGiveEqualFiles(t *testing.T) {
	first := snapshot(t, writeDemo(t, small))
	if diff := cmp.Diff(first, snapshot(t, writeDemo(t, small))); diff != "" {
		t.Error(diff)
	}
	other := small
	other.Seed++
	for name, content := range snapshot(t, writeDemo(t, other)) {
		if content == first[name] {
			t.Errorf("%s does not depend on the seed", name)
		}
	}
}

func TestRowsAreLLaVAJSON(t *testing.T) {
	demo, base := writeDemo(t, small), writeBase(t, small)
	tests := []struct {
		path         string
		rows         int
		minTurns     int
		maxTurns     int
		placeholders int
	}{
		{demo + "/pretrain.json", small.Pretrain, 2, 2, 1},
		{demo + "/finetune.json", small.Finetune, 6, 8, 1},
		{base + "/captions.json", small.BaseCaptions, 2, 2, 1},
		{base + "/conversations.json", small.BaseConversations, 18, 24, 0},
		{base + "/echoes.json", small.BaseEchoes, 4, 4, 0},
	}
	for _, test := range tests {
		rows, ids, lengths := readJSON[row](t, test.path), map[string]bool{}, map[int]bool{}
		for _, r := range rows {
			ids[r.ID] = true
			lengths[len(r.Conversations)] = true
			for i, m := range r.Conversations {
				want := test.placeholders
				if i > 0 {
					want = 0
				}
				if m.From != []string{"human", "gpt"}[i%2] || m.Value != strings.TrimSpace(m.Value) || strings.Count(m.Value, "<image>") != want {
					t.Errorf("%s, row %s, turn %d: %+v", test.path, r.ID, i, m)
				}
			}
			if (r.Image != "") != (test.placeholders == 1) {
				t.Errorf("%s, row %s: image %q", test.path, r.ID, r.Image)
			}
			if r.Image != "" {
				checkPicture(t, filepath.Join(filepath.Dir(test.path), "images", r.Image))
			}
		}
		if len(rows) != test.rows || len(ids) != test.rows || !lengths[test.minTurns] || !lengths[test.maxTurns] {
			t.Errorf("%s: %d rows, %d ids, numbers of turns %v", test.path, len(rows), len(ids), lengths)
		}
	}
}

func checkPicture(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	picture, err := png.Decode(file)
	if err != nil || picture.Bounds().Dx() != pictureSize || picture.Bounds().Dy() != pictureSize {
		t.Errorf("%s: not a picture of the right size (%v)", path, err)
	}
}

// Each written answer follows from the scene that its picture was painted from, or from the words in the row.
func TestWrittenAnswersFollow(t *testing.T) {
	demo, base := writeDemo(t, small), writeBase(t, small)
	check := func(name, description string, conversation []message) {
		t.Helper()
		for i := 0; i < len(conversation); i += 2 {
			_, question, _ := strings.Cut("\n"+conversation[i].Value, "\n")
			if i == 0 {
				_, question, _ = strings.Cut(question, "\n")
			}
			if slices.Contains(captionPrompts, question) {
				if told, want := read(t, conversation[i+1].Value), readingOrder(read(t, description)); !slices.Equal(told, want) {
					t.Errorf("%s: the scene is told as %v, want %v", name, told, want)
				}
				continue
			}
			if _, answer, err := derive(read(t, description), question); err != nil || answer != conversation[i+1].Value {
				t.Errorf("%s: %q is answered %q, want %q (%v)", name, question, conversation[i+1].Value, answer, err)
			}
		}
	}
	for i, r := range readJSON[row](t, demo+"/finetune.json") {
		check(r.ID, describe(trainingScene(newStream(small.Seed, "finetune", i)).objects), r.Conversations)
	}
	for _, r := range readJSON[row](t, base+"/conversations.json") {
		description, _, _ := strings.Cut(r.Conversations[0].Value, "\n")
		check(r.ID, description, r.Conversations)
	}
	for i, r := range readJSON[row](t, demo+"/pretrain.json") {
		want := read(t, describe(trainingScene(newStream(small.Seed, "pretrain", i)).objects))
		if diff := cmp.Diff(want, read(t, r.Conversations[1].Value), cmp.AllowUnexported(told{})); diff != "" {
			t.Errorf("%s: %s", r.ID, diff)
		}
	}
}

// readingOrder sorts objects by row, then by column.
func readingOrder(scene []told) []told {
	return slices.SortedFunc(slices.Values(scene), func(a, b told) int { return 2*a.y + a.x - 2*b.y - b.x })
}

func TestNoHeldOutPairInAnyTrainingText(t *testing.T) {
	names := make([]string, len(heldOut))
	for i, p := range heldOut {
		names[i] = p.color + " " + p.shape
	}
	held := regexp.MustCompile(strings.Join(names, "|"))
	options := Options{Seed: 9, Pretrain: 200, Finetune: 200, BaseCaptions: 200, BaseConversations: 5000, Questions: 20}
	demo, base := writeDemo(t, options), writeBase(t, options)
	for _, path := range []string{demo + "/pretrain.json", demo + "/finetune.json", base + "/captions.json", base + "/conversations.json", base + "/echoes.json"} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if found := held.FindString(string(content)); found != "" {
			t.Errorf("%s contains %q", path, found)
		}
	}
	for _, set := range []string{"pretrain", "finetune", "base"} {
		for i := range options.Pretrain {
			s := trainingScene(newStream(options.Seed, set, i))
			if found := held.FindString(describe(s.objects)); found != "" {
				t.Errorf("picture %d of set %s shows a %s", i, set, found)
			}
		}
	}
}

func TestHeldOutQuestions(t *testing.T) {
	dir := writeDemo(t, small)
	training := map[string]map[string]int{}
	for i, r := range readJSON[row](t, dir+"/finetune.json") {
		scene := read(t, describe(trainingScene(newStream(small.Seed, "finetune", i)).objects))
		for k := 0; k < len(r.Conversations); k += 2 {
			form, _, err := derive(scene, strings.TrimPrefix(r.Conversations[k].Value, "<image>\n"))
			if err != nil {
				t.Fatal(err)
			}
			if training[form] == nil {
				training[form] = map[string]int{}
			}
			training[form][r.Conversations[k+1].Value]++
		}
	}
	for _, set := range []string{"new", "unseen"} {
		questions, err := ReadQuestions(filepath.Join(dir, set+".json"))
		if err != nil || len(questions) < small.Questions {
			t.Fatalf("set %s: %d questions, %v", set, len(questions), err)
		}
		var images []string
		asked := map[string]bool{}
		for _, q := range questions {
			asked[q.Form] = true
			if !slices.Contains(images, q.Image) {
				images = append(images, q.Image)
				checkPicture(t, filepath.Join(dir, "images", q.Image))
			}
			draw := map[string]func(*stream) scene{"new": trainingScene, "unseen": unseenScene}[set]
			scene := read(t, describe(draw(newStream(small.Seed, set, len(images)-1)).objects))
			form, answer, err := derive(scene, q.Text)
			if err != nil || form != q.Form || answer != q.Answer {
				t.Errorf("set %s: %+v: want %s, %q (%v)", set, q, form, answer, err)
			}
			if set == "unseen" && form != "count" && !involvesHeldOut(scene, q) {
				t.Errorf("set %s: %+v is not about a held-out pair of %v", set, q, scene)
			}
			for answer, n := range training[form] {
				if n > training[form][q.Guess] {
					t.Errorf("form %s: guess %q, but %q is commoner", form, q.Guess, answer)
				}
			}
		}
		if len(asked) != len(forms) {
			t.Errorf("set %s: only the forms %v are asked", set, asked)
		}
	}
}

// involvesHeldOut looks for a held-out object's shape, colour or place in the question and its answer.
func involvesHeldOut(scene []told, q Question) bool {
	return slices.ContainsFunc(scene, func(o told) bool {
		text := q.Text + " " + q.Answer
		named := strings.Contains(text, o.shape) || strings.Contains(text, o.color) || strings.Contains(text, o.place())
		return named && slices.Contains(heldOut, pair{o.color, o.shape})
	})
}

func TestDefaultsGiveHeldOutSetsOfSixHundred(t *testing.T) {
	if got := (Options{}).withDefaults(); got.Questions < 600 || got.Pretrain == 0 || got.Finetune == 0 || got.BaseCaptions == 0 || got.BaseConversations == 0 {
		t.Errorf("defaults: %+v", got)
	}
	if diff := cmp.Diff(small, small.withDefaults()); diff != "" {
		t.Error(diff)
	}
}

func TestCommonest(t *testing.T) {
	asked := []ask{
		{form: "color", answer: "red"}, {form: "color", answer: "blue"}, {form: "color", answer: "red"},
		{form: "count", answer: "3"}, {form: "count", answer: "2"},
	}
	if diff := cmp.Diff(map[string]string{"color": "red", "count": "2"}, commonest(asked)); diff != "" {
		t.Error(diff)
	}
}

func TestProgressCountsEveryPicture(t *testing.T) {
	var last, calls, total int
	err := WriteBase(t.TempDir(), small, func(done, all int) {
		if done != last+1 {
			t.Errorf("progress went from %d to %d", last, done)
		}
		last, total, calls = done, all, calls+1
	})
	if err != nil || calls != small.BaseCaptions || total != calls {
		t.Errorf("%d calls, total %d, %v", calls, total, err)
	}
}

func TestErrorsNameThePath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "taken")
	if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, readErr := ReadQuestions(file)
	for name, err := range map[string]error{
		"demo": WriteDemo(file, small, nil), "base": WriteBase(file, small, nil),
		"configs": WriteConfigs(file), "questions": readErr,
	} {
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error %v does not name %s", name, err, file)
		}
	}
	taken := t.TempDir() // a folder lies where the first picture goes
	if err := os.MkdirAll(filepath.Join(taken, "images", "base-00000.png"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteBase(taken, small, nil); err == nil || !strings.Contains(err.Error(), "base-00000.png") {
		t.Errorf("picture that cannot be written: %v", err)
	}
	if _, err := os.Stat(filepath.Join(taken, "captions.json")); err == nil {
		t.Error("rows were written although a picture is missing")
	}
}
