package shapes

import (
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var small = Options{Seed: 5, Pretrain: 60, Finetune: 80, Questions: 100, BasePictures: 50, BaseCaptions: 200,
	BaseConversations: 300}

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
		path               string
		rows, pictures     int // rows, at least so many of them with a picture
		minTurns, maxTurns int
	}{
		{demo + "/pretrain.json", small.Pretrain, small.Pretrain, 2, 2},
		{demo + "/finetune.json", small.Finetune, small.Finetune, 10, 14},
		{base + "/captions.json", small.BaseCaptions, small.BaseCaptions, 2, 2},
		{base + "/conversations.json", small.BaseConversations, small.BaseConversations / 2, 4, 20},
	}
	for _, test := range tests {
		rows, ids, lengths, pictures := readJSON[row](t, test.path), map[string]bool{}, map[int]bool{}, 0
		for _, r := range rows {
			ids[r.ID] = true
			lengths[len(r.Conversations)] = true
			for i, m := range r.Conversations {
				placeholders := 0
				if r.Image != "" && i == 0 {
					placeholders = 1
				}
				if m.From != []string{"human", "gpt"}[i%2] || m.Value != strings.TrimSpace(m.Value) ||
					strings.Count(m.Value, "<image>") != placeholders {
					t.Errorf("%s, row %s, turn %d: %+v", test.path, r.ID, i, m)
				}
			}
			if r.Image != "" {
				pictures++
				checkPicture(t, filepath.Join(filepath.Dir(test.path), "images", r.Image))
			}
		}
		if len(rows) != test.rows || len(ids) != test.rows || pictures < test.pictures || !lengths[test.minTurns] ||
			!lengths[test.maxTurns] {
			t.Errorf("%s: %d rows, %d ids, %d pictures, numbers of turns %v",
				test.path, len(rows), len(ids), pictures, lengths)
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

// Each written answer follows from the scene that its image was painted from, or from the words in the row.
func TestWrittenAnswersFollow(t *testing.T) {
	demo, base := writeDemo(t, small), writeBase(t, small)
	check := func(name, description string, conversation []message) {
		t.Helper()
		for i := 0; i < len(conversation); i += 2 {
			_, question, _ := strings.Cut("\n"+conversation[i].Value, "\n")
			if i == 0 {
				_, question, _ = strings.Cut(question, "\n")
			}
			if isRequest(question) {
				if err := verify(read(t, description), conversation[i+1].Value, question); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if _, answer, err := derive(read(t, description), question); err != nil ||
				answer != conversation[i+1].Value {
				t.Errorf("%s: %q is answered %q, want %q (%v)", name, question, conversation[i+1].Value, answer, err)
			}
		}
	}
	for i, r := range readJSON[row](t, demo+"/finetune.json") {
		check(r.ID, describe(trainingScene(newStream(small.Seed, "finetune", i)).objects), r.Conversations)
	}
	for _, r := range slices.Concat(readJSON[row](t, base+"/captions.json"),
		readJSON[row](t, base+"/conversations.json")) {
		description, _, asks := strings.Cut(r.Conversations[0].Value, "\n")
		switch {
		case r.Image != "":
			i, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Image, "base-"), ".png"))
			if err != nil {
				t.Fatal(err)
			}
			r.Conversations[0].Value = strings.TrimSuffix("<image>\n"+strings.TrimPrefix(r.Conversations[0].Value,
				"<image>\n"), "\n<image>")
			check(r.ID, describe(trainingScene(newStream(small.Seed, "base", i)).objects), r.Conversations)
		case asks:
			check(r.ID, description, r.Conversations)
		default: // an echo
			for i := 0; i < len(r.Conversations); i += 2 {
				if r.Conversations[i].Value != r.Conversations[i+1].Value {
					t.Errorf("%s: %q is echoed as %q", r.ID, r.Conversations[i].Value, r.Conversations[i+1].Value)
				}
			}
		}
	}
	for i, r := range readJSON[row](t, demo+"/pretrain.json") {
		scene := read(t, describe(trainingScene(newStream(small.Seed, "pretrain", i)).objects))
		if err := verify(scene, r.Conversations[1].Value, captionPrompts[0]); err != nil {
			t.Errorf("%s: %v", r.ID, err)
		}
	}
}

func isRequest(text string) bool {
	return slices.Contains(captionPrompts, text) || text == colorsPrompt || text == shapesPrompt
}

// While the base cannot see, no image's answer may tell which colour and which shape go together; afterwards captions
// do.
func TestCaptionsBeginWithOneAttributeAtATime(t *testing.T) {
	rows := readJSON[row](t, writeBase(t, small)+"/captions.json")
	captions, early := 0, len(rows)*captionCourse[0].share/100
	for i, r := range rows {
		if request := strings.TrimPrefix(r.Conversations[0].Value, "<image>\n"); request == colorsPrompt ||
			request == shapesPrompt {
			continue
		}
		if captions++; i < early {
			t.Errorf("row %d already says %q", i, r.Conversations[1].Value)
		}
	}
	if captions < (len(rows)-early)/2 {
		t.Errorf("%d of %d rows after the first %d are whole captions", captions, len(rows), early)
	}
}

func TestNoHeldOutPairInAnyTrainingText(t *testing.T) {
	names := make([]string, len(heldOut))
	for i, p := range heldOut {
		names[i] = fmt.Sprintf("%[1]s (one is a )?%[2]s|%[2]s (in the [a-z]+ [a-z]+ )?is %[1]s", p.color, p.shape)
	}
	held := regexp.MustCompile(strings.Join(names, "|"))
	options := Options{Seed: 9, Pretrain: 200, Finetune: 200, BasePictures: 200, BaseCaptions: 2000,
		BaseConversations: 4000, Questions: 20}
	demo, base := writeDemo(t, options), writeBase(t, options)
	for _, path := range []string{demo + "/pretrain.json", demo + "/finetune.json", base + "/captions.json", base +
		"/conversations.json"} {
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
	if got := (Options{}).withDefaults(); got.Questions < 600 || got.Pretrain == 0 || got.Finetune == 0 ||
		got.BasePictures == 0 || got.BaseCaptions == 0 || got.BaseConversations == 0 {
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
	if err != nil || calls != small.BasePictures || total != calls {
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
