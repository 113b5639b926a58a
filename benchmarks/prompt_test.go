package benchmarks

import (
	"encoding/csv"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/data/datatest"
)

// asOriginal is a question as the original's scripts hand it to a model by vicuna_v1, without a system message.
func asOriginal(q *Question, pictured bool) string {
	text := q.Text
	if pictured {
		text = imageMark + "\n" + text
	}
	return "USER: " + text + " ASSISTANT:"
}

type recordedPrompts struct {
	Generate struct {
		Sample bool `json:"do_sample"`
		Limit  int  `json:"max_new_tokens"`
	}
	Prompts []string
}

// The prompts that reached the model in the original's scripts, and the limits of answers.
func TestPromptsAreTheOriginals(t *testing.T) {
	for _, name := range []string{"scienceqa", "mmbench_en", "mmbench_cn"} {
		want := document[recordedPrompts](t, name, "prompts.json")
		set := opened(t, name, recorded(t, name), "", ToScore)
		if set.Benchmark.Limit != want.Generate.Limit || want.Generate.Sample {
			t.Errorf("%s: %d tokens, the original's %+v", name, set.Benchmark.Limit, want.Generate)
		}
		answers, err := ReadAnswers(recorded(t, name, "answers.jsonl"), false)
		if err != nil {
			t.Fatal(err)
		}
		var asked []*Question // the scripts were stopped before some questions
		for i, a := range set.Join(answers).Answers {
			if a != nil {
				asked = append(asked, &set.Questions[i])
			}
		}
		same, cut := 0, 0
		for i, prompt := range want.Prompts {
			q := asked[i]
			_, prompt, _ = strings.Cut(prompt, "USER: ")
			got := asOriginal(q, q.Image != "" || q.images != nil)
			switch {
			case got == "USER: "+prompt:
				same++
			case strings.HasPrefix(name, "mmbench") && slices.ContainsFunc(q.options, isNone):
				cut++ // the original takes an option none for the end of the list
			default:
				t.Errorf("%s question %s is %q, the original's %q", name, q.ID, got, prompt)
			}
		}
		if same < len(want.Prompts)/2 || same+cut != len(want.Prompts) {
			t.Errorf("%s: %d the same, %d of %d with an option none", name, same, cut, len(want.Prompts))
		}
	}
}

func isNone(o rule.Option) bool { return strings.EqualFold(o.Text, "none") }

// An option none is an option: its question has all that the table has.
func TestAnOptionNoneIsAnOption(t *testing.T) {
	file, err := os.Open(recorded(t, "mmbench_en", "mmbench_dev_20230712.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	table := csv.NewReader(file)
	table.Comma = '\t'
	rows, err := table.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	set, found := opened(t, "mmbench_en", recorded(t, "mmbench_en"), "", ToScore), 0
	for i, row := range rows[1:] {
		var texts []string
		for _, text := range row[3:7] {
			if text != "" {
				texts = append(texts, text)
			}
		}
		if got := set.Questions[i].options; len(got) != len(texts) {
			t.Errorf("index %s has the options %q, the table %q", row[0], got, texts)
		}
		if slices.Contains(texts, "none") {
			found++
		}
	}
	if found == 0 {
		t.Error("the set has no option none")
	}
}

// Questions are the same from LLaVA's files and from the site's, or where one is made of the other.
func TestPromptsOfLLaVAsFiles(t *testing.T) {
	lines := map[string]string{}
	r := &reading{Set: &Set{}}
	var err error
	if r.Folder, err = files.Open(recorded(t, "vqav2")); err != nil {
		t.Fatal(err)
	}
	if err := r.llava("llava_vqav2_mscoco_val2014.jsonl"); err != nil {
		t.Fatal(err)
	}
	for _, q := range r.Questions {
		lines[q.ID.String()+q.Image] = q.Text
	}
	for _, q := range opened(t, "vqav2", recorded(t, "vqav2"), "", ToScore).Questions {
		if lines[q.ID.String()+q.Image] != q.Text {
			t.Errorf("question %s is %q, LLaVA's %q", q.ID, q.Text, lines[q.ID.String()+q.Image])
		}
	}
	for _, q := range opened(t, "textvqa", recorded(t, "textvqa"), "lmms", ToScore).Questions[:3] {
		if strings.Contains(q.Text, "OCR") || !strings.HasSuffix(q.Text, shortAnswer) {
			t.Errorf("without OCR tokens: %q", q.Text)
		}
	}
}

// The prompts that lmms-eval makes of the hub's sets.
func TestPromptsOfTheHub(t *testing.T) {
	want := document[map[string][]string](t, "hub", "expected_prompts.json")
	for key, c := range map[string]struct{ name, folder, rule string }{
		"VQAv2": {"vqav2", "VQAv2", "original"}, "GQA": {"gqa", "GQA", "lmms"}, "VizWiz-VQA": {"vizwiz", "VizWiz-VQA",
			"lmms"},
		"ScienceQA": {"scienceqa", "ScienceQA", "lmms"}, "textvqa": {"textvqa", "textvqa", "lmms"},
		"textvqa with ocr": {"textvqa", "textvqa", "original"}, "POPE": {"pope", "POPE", "lmms"}, "MME": {"mme", "MME",
			"lmms"},
		"MMBench en": {"mmbench_en", "MMBench", "lmms"}, "SEED-Bench": {"seed", "SEED-Bench", "lmms"},
		"MMMU": {"mmmu", "MMMU", "lmms"}, "ai2d": {"ai2d", "ai2d", "lmms"},
	} {
		set := opened(t, c.name, recorded(t, "hub", c.folder), c.rule, ToScore)
		if len(want[key]) == 0 || len(set.Questions) != len(want[key]) {
			t.Errorf("%s: %d questions, want %d", key, len(set.Questions), len(want[key]))
			continue
		}
		for i, prompt := range want[key] {
			if set.Questions[i].Prompt != prompt {
				t.Errorf("%s question %d is %q, lmms-eval's %q", key, i, set.Questions[i].Prompt, prompt)
			}
		}
		delete(want, key)
	}
	for key := range want {
		t.Errorf("the prompts of %s are not compared", key)
	}
}

// Every set of the hub is read, and gives its pictures.
func TestPicturesOfTheHub(t *testing.T) {
	for name, folder := range map[string]string{"vqav2": "VQAv2", "gqa": "GQA", "vizwiz": "VizWiz-VQA",
		"scienceqa": "ScienceQA", "textvqa": "textvqa", "pope": "POPE", "mme": "MME", "mmbench_en": "MMBench",
		"seed": "SEED-Bench", "llavabench": "llava-bench-in-the-wild", "mmvet": "MMVet", "mmmu": "MMMU", "ai2d": "ai2d",
		"chartqa": "ChartQA", "docvqa": "DocVQA", "mmstar": "MMStar", "realworldqa": "RealWorldQA"} {
		set := opened(t, name, recorded(t, "hub", folder), "", ToScore)
		for i := range set.Questions {
			q := &set.Questions[i]
			images, err := q.Images()
			if err != nil {
				t.Errorf("%s question %d: %v", name, i, err)
			}
			want := 1
			if name == "scienceqa" && i%2 == 1 {
				want = 0
			} else if name == "mmmu" {
				want = strings.Count(q.Prompt, "<image ")
			}
			if len(images) != want || want > 0 && len(images[0].File) == 0 {
				t.Errorf("%s question %d has %d pictures, want %d", name, i, len(images), want)
			}
			if len(set.Sources) == 0 || !set.Labelled {
				t.Errorf("%s rests on %v", name, set.Sources)
			}
		}
	}
}

func TestPicturesOfATable(t *testing.T) {
	set := opened(t, "mmbench_en", recorded(t, "mmbench_en"), "", ToScore)
	for i := range set.Questions {
		images, err := set.Questions[i].Images()
		if err != nil || len(images) != 1 || len(images[0].File) == 0 {
			t.Fatalf("%d pictures, %v", len(images), err)
		}
	}
	pope := opened(t, "pope", recorded(t, "pope"), "", ToScore)
	images, err := pope.Questions[0].Images()
	if err != nil || len(images) != 1 || images[0].Path != pope.Questions[0].Image ||
		!strings.HasSuffix(pope.PictureFolder, "val2014") {
		t.Errorf("%v below %s, %v", images, pope.PictureFolder, err)
	}
}

// MMStar's options are in its questions; the recorded rows have them apart too.
func TestOptionsOfMMStar(t *testing.T) {
	for _, row := range datatest.JSONLines[struct {
		Question string
		Choices  []string
	}](t, recorded(t, "mmstar", "rows.jsonl")) {
		if got := starOptions(row.Question); !slices.Equal(got, row.Choices) {
			t.Errorf("%q has the options %q, want %q", row.Question, got, row.Choices)
		}
	}
	if starOptions("Which?") != nil {
		t.Error("options are found where there are none")
	}
}
