package caption

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/synth/caption/phrase"
)

// recorded is what the recorded set says of a run of the rule.
type recorded struct {
	Captions int
	Phrases  int
	Enough   int `json:"phrases_at_least_3"`
	Above    int `json:"phrases_above_100"`
	Seed     uint64
	Runs     []recordedRun
	Shown    []recordedChoice `json:"phrases_shown"`
}

type recordedRun struct {
	Seed            uint64
	Min, Cap, Limit int
	Kept            int
	SHA256          string
}

type recordedChoice struct {
	Phrase string
	Count  int
	Chosen []string
}

// recordedFilter is the set, and a file with its captions and their phrases.
func recordedFilter(t testing.TB) (want recorded, captions string) {
	t.Helper()
	text, err := os.ReadFile(datatest.Shared(t, "parity-synth", "filter", "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	file := datatest.Unzip(t, datatest.Shared(t, "parity-synth", "filter", "captions.jsonl.gz"))
	return want, datatest.WriteFile(t, t.TempDir(), "captions.jsonl", string(file))
}

type recordedCaption struct {
	ID, Image, Caption string
	Phrases            []string
}

func recordedCaptions(t testing.TB, path string) []recordedCaption {
	return datatest.JSONLines[recordedCaption](t, path)
}

// indexOf adds captions as they come.
func indexOf(captions []recordedCaption) *index {
	x := newIndex()
	for _, c := range captions {
		x.addPhrases(x.ids.add(c.ID), normalForms(slices.Clone(c.Phrases)))
	}
	return x
}

// keptIDs are the ids of kept captions, in the order of the files.
func (c *choice) keptIDs() (ids []string) {
	for caption, kept := range c.kept {
		if kept {
			ids = append(ids, c.ids.at(uint32(caption)))
		}
	}
	return ids
}

func sha(ids []string) string {
	h := sha256.New()
	for _, id := range ids {
		io.WriteString(h, id+"\n")
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestRecordedRuns(t *testing.T) {
	want, path := recordedFilter(t)
	captions := recordedCaptions(t, path)
	x := indexOf(captions).group()
	if n := len(x.ids.places); n != want.Captions || len(x.counts) != want.Phrases {
		t.Errorf("%d captions and %d phrases, want %d and %d", n, len(x.counts), want.Captions, want.Phrases)
	}
	if len(want.Runs) == 0 {
		t.Fatal("no runs recorded")
	}
	for _, run := range want.Runs {
		c := x.choose(Rule{Seed: run.Seed, Min: run.Min, Cap: run.Cap, Limit: run.Limit})
		if ids := c.keptIDs(); len(ids) != run.Kept || c.count != run.Kept || sha(ids) != run.SHA256 {
			t.Errorf("%+v: kept %d (%d), SHA-256 %s", run, len(ids), c.count, sha(ids))
		}
	}
}

// The recorded ids show where a difference begins.
func TestRecordedIDs(t *testing.T) {
	_, path := recordedFilter(t)
	list := datatest.Shared(t, "parity-synth", "filter", "kept-42-3-100.jsonl.gz")
	want := datatest.Lines[string](t, datatest.Unzip(t, list), list)
	got := indexOf(recordedCaptions(t, path)).group().choose(Rule{Seed: 42, Min: 3, Cap: 100}).keptIDs()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%.2000s", diff)
	}
}

func TestRecordedChoices(t *testing.T) {
	want, path := recordedFilter(t)
	captions := recordedCaptions(t, path)
	x := indexOf(captions).group()
	c := x.choose(Rule{Seed: want.Seed, Min: 3, Cap: 100})
	numbers := map[string]uint32{}
	for i := range x.counts {
		numbers[x.phrases.at(uint32(i))] = uint32(i)
	}
	if len(want.Shown) == 0 {
		t.Fatal("no phrases recorded")
	}
	for _, shown := range want.Shown {
		number, ok := numbers[shown.Phrase]
		if !ok {
			t.Errorf("%q is not found", shown.Phrase)
			continue
		}
		chosen := []string{}
		for _, caption := range c.chosen(number) {
			chosen = append(chosen, x.ids.at(caption))
		}
		got := recordedChoice{shown.Phrase, int(x.counts[number]), chosen[:min(5, len(chosen))]}
		if diff := cmp.Diff(shown, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
}

// The recorded runs from files to rows.
func TestRecordedRunsOfFiles(t *testing.T) {
	want, path := recordedFilter(t)
	byID := map[string]recordedCaption{}
	for _, c := range recordedCaptions(t, path) {
		byID[c.ID] = c
	}
	for i, run := range want.Runs {
		if i > 0 && run.Limit == 0 {
			continue // TestRecordedRuns has them all
		}
		var out bytes.Buffer
		report, err := Filter(context.Background(), []string{path}, Options{Rule: Rule{run.Seed, run.Min, run.Cap,
			run.Limit}, Phrases: path, Requests: []string{"One.", "Two."}}, &out)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		asked := map[string]int{}
		for _, row := range readRows(t, out.Bytes()) {
			asked[row.Conversations[0].Value]++
			c := byID[row.ID]
			if row.Image != c.Image || row.Conversations[1] != (turn{"gpt", c.Caption}) {
				t.Fatalf("row %+v, caption %+v", row, c)
			}
			ids = append(ids, row.ID)
		}
		// Empty captions have no phrases, so it does not matter that they are skipped.
		if report.Kept != run.Kept || sha(ids) != run.SHA256 ||
			report.Captions+report.Skipped[NoCaption] != want.Captions {
			t.Errorf("%+v: %+v, SHA-256 %s", run, report, sha(ids))
		}
		if len(asked) != 2 || asked["<image>\nOne."]+asked["<image>\nTwo."] != run.Kept {
			t.Errorf("requests %v", asked)
		}
		if run.Min == 3 && (report.Phrases != want.Phrases || report.Enough != want.Enough || run.Cap == 100 &&
			report.Above != want.Above) {
			t.Errorf("%+v: %+v", run, report)
		}
	}
}

type rowRead struct {
	ID, Image     string
	Conversations []turn
}

func readRows(t testing.TB, text []byte) (rows []rowRead) {
	t.Helper()
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	if lines := bytes.Count(text, []byte("\n")); lines != len(rows)+2 {
		t.Fatalf("%d lines for %d rows", lines, len(rows))
	}
	return rows
}

// `auto` does the same on all processors as the chunker alone.
func TestAutoIsTheChunkerForEachCaption(t *testing.T) {
	_, path := recordedFilter(t)
	captions := recordedCaptions(t, path)
	for i := range captions {
		captions[i].Phrases = phrase.Open().Find(captions[i].Caption)
	}
	rule := Rule{Seed: 7, Min: 3, Cap: 20}
	want := indexOf(captions).group().choose(rule).keptIDs()
	var out bytes.Buffer
	_, err := Filter(context.Background(), []string{path}, Options{rule, Auto, []string{"?"}}, &out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range readRows(t, out.Bytes()) {
		got = append(got, row.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%.2000s", diff)
	}
	if len(got) == 0 || len(got) == len(captions) {
		t.Errorf("%d of %d captions are kept: the test shows nothing", len(got), len(captions))
	}
}
