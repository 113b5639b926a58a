package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// TestEncodeMatchesOriginal compares with what the original's data set gives for both files of coco-mini.
func TestEncodeMatchesOriginal(t *testing.T) {
	type row struct {
		File     string
		Index    int
		Template string
		Legacy   bool
		InputIDs []int32 `json:"input_ids"`
		Labels   []int32
	}
	drawn := datatest.JSONLines[row](t, datatest.Shared(t, "parity", "preprocess.jsonl"))
	tokenizers := map[bool]*tokenizer.Tokenizer{true: llamaTokenizer(t, true), false: llamaTokenizer(t, false)}
	sources := map[string]rows.Source{}
	for _, file := range []string{"pretrain.json", "instruct.json"} {
		source, err := rows.Open(datatest.Shared(t, "coco-mini", file), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		sources[file] = source
	}
	for _, want := range drawn {
		record, err := sources[want.File].Record(want.Index)
		if err != nil {
			t.Fatal(err)
		}
		got, err := newEncoder(t, tokenizers[want.Legacy], want.Template, 2048, 1).Encode(record, nil)
		if err != nil {
			t.Fatalf("%s row %d, %s: %v", want.File, want.Index, want.Template, err)
		}
		if !slices.Equal(got.IDs, want.InputIDs) || !slices.Equal(got.Labels, withoutImages(want.Labels)) ||
			got.Cut != 0 {
			t.Errorf("%s row %d, template %s, legacy %t differs:\n%s",
				want.File, want.Index, want.Template, want.Legacy,
				cmp.Diff(want.InputIDs, got.IDs)+cmp.Diff(withoutImages(want.Labels), got.Labels))
		}
	}
	type setting struct {
		file, template string
		legacy         bool
	}
	compared := map[setting]int{}
	for _, want := range drawn {
		compared[setting{want.File, want.Template, want.Legacy}]++
	}
	for of, n := range compared {
		if rows := sources[of.file].Len(); n != rows {
			t.Errorf("%+v: %d rows compared, the file has %d", of, n, rows)
		}
	}
	for file := range sources {
		if !slices.ContainsFunc(drawn, func(want row) bool { return want.File == file }) {
			t.Errorf("no row of %s is compared", file)
		}
	}
}

// withoutImages is labels as splicing leaves them: an image is never supervised.
func withoutImages(labels []int32) []int32 {
	out := slices.Clone(labels)
	for i, label := range out {
		if label == ImageToken {
			out[i] = Ignore
		}
	}
	return out
}

// trickyRow is a line of parity/tricky.jsonl.
type trickyRow struct {
	Name      string
	Template  string
	Legacy    bool
	MaxLength int `json:"model_max_length"`
	Sample    json.RawMessage
	Exception *struct{ Type, Message string }
	InputIDs  []int32 `json:"input_ids"`
	Labels    []int32
	Warning   json.RawMessage
	Collated  struct {
		SplicedLength int             `json:"spliced_length"`
		SplicedLabels []int32         `json:"spliced_labels"`
		Exception     json.RawMessage `json:"splice_exception"`
	}
}

// trickyPatches is how many positions an image takes in the parity set: the patches of its tower.
func trickyPatches(t *testing.T) int {
	t.Helper()
	var tower struct {
		Image int `json:"image_size"`
		Patch int `json:"patch_size"`
	}
	text, err := os.ReadFile(datatest.Shared(t, "parity", "clip", "config.json"))
	if err == nil {
		err = json.Unmarshal(text, &tower)
	}
	if err != nil || tower.Patch == 0 {
		t.Fatalf("the tower's configuration: %+v, %v", tower, err)
	}
	side := tower.Image / tower.Patch
	return side * side
}

func (r trickyRow) encode(t *testing.T, tokenizer *tokenizer.Tokenizer, imageTokens int) (Sample, error) {
	source, err := rows.Open(datatest.WriteFile(t, t.TempDir(), "rows.json", "["+string(r.Sample)+"]"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	record, err := source.Record(0)
	if err != nil {
		return Sample{}, picture.BadRow("%s", err.Error())
	}
	return newEncoder(t, tokenizer, r.Template, r.MaxLength, imageTokens).Encode(record, nil)
}

// TestTrickyRows compares with the original on rows that are hard in some way: equal, or refused with the text that
// docs/differences.md has.
func TestTrickyRows(t *testing.T) {
	rows := datatest.JSONLines[trickyRow](t, datatest.Shared(t, "parity", "tricky.jsonl"))
	tokenizers := map[bool]*tokenizer.Tokenizer{true: llamaTokenizer(t, true), false: llamaTokenizer(t, false)}
	refused, patches := deliberateDifferences(t), trickyPatches(t)
	met := map[string]bool{}
	for _, row := range rows {
		t.Run(fmt.Sprintf("%s/legacy=%t", row.Name, row.Legacy), func(t *testing.T) {
			sample, err := row.encode(t, tokenizers[row.Legacy], patches)
			if want, ok := refused[row.Name]; ok {
				met[row.Name] = true
				if err == nil || err.Error() != want || !errors.Is(err, picture.ErrRow) {
					t.Fatalf("error is %v, docs/differences.md says %q", err, want)
				}
				return
			}
			if row.Exception != nil && row.Exception.Type == "FileNotFoundError" {
				return // the picture is missing, which encoding text cannot know
			}
			if row.Name == "unknown role first" {
				return // a system message: TestSystemMessage
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			compareTricky(t, row, sample, tokenizers[row.Legacy])
		})
	}
	for name := range refused {
		if !met[name] {
			t.Errorf("docs/differences.md lists %q, which is no row of tricky.jsonl", name)
		}
	}
}

func compareTricky(t *testing.T, row trickyRow, spliced Sample, tokenizer *tokenizer.Tokenizer) {
	if row.Exception != nil {
		t.Fatalf("original raises %v, this encodes", row.Exception)
	}
	if len(spliced.IDs) != row.Collated.SplicedLength {
		t.Errorf("%d positions, original has %d", len(spliced.IDs), row.Collated.SplicedLength)
	}
	if diff := cmp.Diff(row.Collated.SplicedLabels, spliced.Labels); diff != "" {
		t.Errorf("labels after splicing differ (-original +this):\n%s", diff)
	}
	row.MaxLength = len(row.InputIDs) // before splicing the original cuts rows without an image only
	plain, err := row.encode(t, tokenizer, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(row.InputIDs, plain.IDs); diff != "" {
		t.Errorf("ids differ (-original +this):\n%s", diff)
	}
	if diff := cmp.Diff(withoutImages(row.Labels), plain.Labels); diff != "" {
		t.Errorf("labels differ (-original +this):\n%s", diff)
	}
}

// deliberateDifferences reads the table of docs/differences.md: name of the row to text of the error.
func deliberateDifferences(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]string{}
	rows, _, _ := strings.Cut(string(page), "## Other differences")
	for line := range strings.Lines(rows) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 4 || !strings.HasPrefix(cells[0], "| `") {
			continue
		}
		name := strings.Trim(strings.TrimPrefix(cells[0], "| "), "`")
		table[name] = strings.Trim(strings.TrimSuffix(cells[3], " |"), "`")
	}
	if len(table) == 0 {
		t.Fatal("docs/differences.md has no table")
	}
	return table
}

// TestPromptMatchesOriginal compares with the prompts that the original generated from.
func TestPromptMatchesOriginal(t *testing.T) {
	content, err := os.ReadFile(datatest.Shared(t, "parity", "llava-hf.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Patches    int
		ImageToken int32 `json:"image_token_index"`
		Prompts    []struct {
			Prompt   string
			InputIDs []int32 `json:"input_ids"`
			Expanded []int32 `json:"hf_input_ids"`
			NewIDs   []int32 `json:"new_ids"`
			Text     string
		}
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	var config struct{ Legacy bool }
	settings, err := os.ReadFile(datatest.Shared(t, "parity", "llm", "tokenizer_config.json"))
	if err := errors.Join(err, json.Unmarshal(settings, &config)); err != nil {
		t.Fatal(err)
	}
	for _, want := range file.Prompts {
		_, question, _ := strings.Cut(strings.TrimSuffix(want.Prompt, " ASSISTANT:"), "<image>\n")
		tokenizer := llamaTokenizer(t, config.Legacy)
		for patches, ids := range map[int][]int32{1: want.InputIDs, file.Patches: want.Expanded} {
			got, err := newEncoder(t, tokenizer, "v1", 2048, patches).Prompt("", question, picture.Picture{})
			if err != nil {
				t.Fatal(err)
			}
			ids = slices.Clone(ids)
			for i, id := range ids {
				if id == file.ImageToken {
					ids[i] = ImageToken // as Hugging Face writes it
				}
			}
			if diff := cmp.Diff(ids, got.IDs); diff != "" {
				t.Errorf("prompt %q (-original +this):\n%s", question, diff)
			}
		}
		if got := tokenizer.Decode(want.NewIDs); got != want.Text {
			t.Errorf("answer decodes to %q, original has %q", got, want.Text)
		}
	}
}
