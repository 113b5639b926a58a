package rule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// recordings reads a file of ../shared/parity-bench, where the originals' own programs left what they make of answers.
func recordings[T any](t *testing.T, path string) (list []T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(datatest.Shared(t, "parity-bench"), filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		var one T
		if line == "" {
			continue
		}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, one)
	}
	if len(list) == 0 {
		t.Fatalf("%s is empty", path)
	}
	return list
}

func TestNormalisersAreTheOriginals(t *testing.T) {
	for _, path := range []string{"vqa/normalize.jsonl", "vqa/normalize-rare.jsonl"} {
		for _, r := range recordings[struct{ Raw, M4C, Official, VLMEval string }](t, path) {
			for name, got := range map[string][2]string{"m4c": {M4C(r.Raw), r.M4C},
				"official": {Official(r.Raw), r.Official}, "vlmeval": {VLMEval(r.Raw), r.VLMEval}} {
				if got[0] != got[1] {
					t.Errorf("%s, %s of %q: %q, the original's %q", path, name, r.Raw, got[0], got[1])
				}
			}
		}
	}
}

func TestLettersAreTheOriginals(t *testing.T) {
	for _, r := range recordings[struct {
		Response string
		Want     string `json:"extract_mcq_answer_ABCD"`
	}](t, "mcq/extract.jsonl") {
		if got := LetterByForm(r.Response, "ABCD"); got != r.Want {
			t.Errorf("by form, %q: %q, the original's %q", r.Response, got, r.Want)
		}
	}
	for _, r := range recordings[struct {
		Response string
		Choices  map[string]string
		Want     any `json:"vlmevalkit_can_infer"`
	}](t, "mcq/can_infer.jsonl") {
		var options []Option
		for letter, text := range r.Choices {
			options = append(options, Option{letter, text})
		}
		slices.SortFunc(options, func(a, b Option) int { return strings.Compare(a.Letter, b.Letter) })
		want, _ := r.Want.(string)
		if got := InferredLetter(r.Response, options); got != want {
			t.Errorf("inferred, %q of %v: %q, the original's %q", r.Response, options, got, want)
		}
	}
}

func TestMMMUIsTheOriginals(t *testing.T) {
	type parsed struct {
		ID         string
		Parsed     any
		Random     bool
		LMMS       string `json:"lmms_parsed"`
		LMMSRandom bool   `json:"lmms_random"`
		Correct    bool   `json:"official_correct"`
	}
	var expected struct{ Rows []parsed }
	text, err := os.ReadFile(filepath.Join(datatest.Shared(t, "parity-bench"), "mmmu", "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	for i, r := range recordings[struct {
		ID, Options, Response string
		Answer                any
	}](t, "mmmu/rows.jsonl") {
		want := expected.Rows[i]
		texts, err := PythonList(r.Options)
		if err != nil || r.ID != want.ID {
			t.Fatalf("%s: %v", r.ID, err)
		}
		if list, ok := want.Parsed.([]any); ok {
			var items []string
			for _, item := range Open(r.Response) {
				items = append(items, item.String())
			}
			slices.Sort(items)
			items = slices.Compact(items)
			var wanted []string
			for _, w := range list {
				wanted = append(wanted, w.(string))
			}
			slices.Sort(wanted)
			if !slices.Equal(items, wanted) {
				t.Errorf("%s, %q: %q, the original's %q", r.ID, r.Response, items, wanted)
			}
			var golds []string
			if one, ok := r.Answer.(string); ok {
				golds = []string{one}
			} else {
				for _, gold := range r.Answer.([]any) {
					golds = append(golds, gold.(string))
				}
			}
			if got := OpenIsRight(Open(r.Response), golds); got != want.Correct {
				t.Errorf("%s, %q against %q: %v", r.ID, r.Response, golds, got)
			}
			continue
		}
		for name, got := range map[string]struct {
			letter, want string
			random       bool
		}{"official": {Choice(r.Response, Options(texts)), want.Parsed.(string), want.Random},
			"lmms": {ChoiceOfLMMS(r.Response, Options(texts)), want.LMMS, want.LMMSRandom}} {
			if got.random != (got.letter == "") || !got.random && got.letter != got.want {
				t.Errorf("%s, %s of %q in %q: %+v", r.ID, name, r.Response, texts, got)
			}
		}
	}
}

func TestDocumentsAndChartsAreTheOriginals(t *testing.T) {
	for _, r := range recordings[struct {
		Answers  []string
		Response string
		LMMS     float64 `json:"lmms_eval"`
		VLMEval  float64 `json:"vlmevalkit"`
	}](t, "docvqa/rows.jsonl") {
		if got := ANLS(r.Response, r.Answers); !near(got, r.LMMS) {
			t.Errorf("ANLS of %q in %q: %v, the original's %v", r.Response, r.Answers, got, r.LMMS)
		}
		if got := ANLSOfVLMEval(r.Response, r.Answers); !near(got, r.VLMEval) {
			t.Errorf("VLMEvalKit's ANLS of %q in %q: %v, the original's %v", r.Response, r.Answers, got, r.VLMEval)
		}
	}
	for _, r := range recordings[struct {
		Answer, Response string
		LMMS             float64 `json:"lmms_eval"`
	}](t, "chartqa/rows.jsonl") {
		if got := Relaxed(r.Response, r.Answer); got != (r.LMMS == 1) {
			t.Errorf("%q against %q: %v, the original's %v", r.Response, r.Answer, got, r.LMMS)
		}
	}
}

func near(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }
