package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/runs"
)

// pageOf writes a page and reads it: it must be well-formed and address nothing but itself. The text has a space for
// each border of an element.
func pageOf(t testing.TB, list []*Run) (html, text string) {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, list, dawn.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	html = out.String()
	var words strings.Builder
	style := false
	for decoder := xml.NewDecoder(&out); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return html, strings.ReplaceAll(words.String(), "\u00a0", " ")
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if style = token.Name.Local == "style"; token.Name.Local == "script" {
				t.Error("the page has a script")
			}
			for _, a := range token.Attr {
				if strings.HasPrefix(a.Value, "data:image/jpeg;base64,") {
					continue
				}
				own := a.Name.Local == "href" && (strings.HasPrefix(a.Value, "#") || a.Value == "data:,")
				if strings.Contains(a.Value, "//") || !own && (a.Name.Local == "href" || a.Name.Local == "src") {
					t.Errorf("%s has %s %q", token.Name.Local, a.Name.Local, a.Value)
				}
			}
			words.WriteString(" ")
		case xml.EndElement:
			style = false
			words.WriteString(" ")
		case xml.CharData:
			if !style {
				words.Write(token)
			} else if found := regexp.MustCompile(`https?:|url\(|@import`).Find(token); found != nil {
				t.Errorf("the style has %s", found)
			}
		}
	}
}

func requireText(t *testing.T, text string, fragments ...string) {
	t.Helper()
	squeezed := strings.Join(strings.Fields(text), " ")
	for _, fragment := range fragments {
		if !strings.Contains(squeezed, fragment) {
			t.Errorf("the page lacks %q:\n%.6000s", fragment, squeezed)
		}
	}
}

func TestPageOfARun(t *testing.T) {
	dir := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 40)
	html, text := pageOf(t, opened(t, dir))
	requireText(t, text,
		"tiny, finetune", "Finished after 40 steps. Begun on 3 November 2026, 08:00 UTC, on cpu in fp32.",
		"The run took 1 step without a finite loss or gradient, which changed no weight",
		// what is shown in large type
		"Loss 2.0250 in the last step; in the first 3.0000", "Held-out loss 3.6000 lowest 3.6000, after step 40",
		"Steps 40 4 epochs, 160 samples", "Time in steps 40.0 s 10.0 % of it waiting for data",
		"Tokens a second 100 4,000 tokens in all", "Peak memory 2.50 GB",
		// the ends of the curves: points, first, last
		"all 39 3 2.025", "image 40 3.25 3.25", "text 40 1.125 1.125", "all 4 3.9 3.6", "coco/train 4 3.375 3.375",
		"text 4 1.625 1.625", "projector 40 0.001 2.5e-5", "Gradient norm 39 0.5 0.5", "Speed 40 100 100",
		"Waiting for data 40 10 10", "Memory 40 2.5 2.5",
		"tiny 3.00 GB 2.00 GB 2.50 GB +25.0 %",
		// what happened
		"3 Nov 2026, 08:00 started on cpu in fp32 0",
		"3 Nov 2026, 08:10 4 checkpoints, in 1.5 s each, the last at 3 Nov 2026, 08:40 10 to 40",
		"3 Nov 2026, 09:00 finished 40", "Steps that were not applied", "4 NaN +Inf",
		"image <gone> is missing 5 8 to 40",
		"Recipe", "finetune.train.projector.lr 1e-3", "Made by llavatrain report on 5 November 2026, 08:00 UTC.")
	for _, absent := range []string{"Differences", "--resume", "pretrain.steps"} {
		if strings.Contains(text, absent) {
			t.Errorf("the page has %q", absent)
		}
	}
	if again, _ := pageOf(t, opened(t, dir)); again != html {
		t.Error("the same run has two pages")
	}
}

func TestPageOfAnInterruptedRun(t *testing.T) {
	dir := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 3)
	_, text := pageOf(t, opened(t, dir))
	requireText(t, text, "Stopped after step 3 of 40.", "The run stopped after step 3 of 40 and has not gone on. The "+
		"same command with --resume continues it.", "Steps 3 of 40; 0.3 epochs, 12 samples", "tiny 3.00 GB – – –")
	if strings.Contains(text, "Held-out loss") {
		t.Error("a run without evaluations has a held-out loss")
	}
	for _, name := range []string{runs.EventsFile, runs.QuarantineFile} {
		write(t, filepath.Join(dir, name), "")
	}
	_, text = pageOf(t, opened(t, dir))
	requireText(t, text, "Nothing is recorded")
}

// Runs of a stage are compared curve by curve, and by their recipes.
func TestPageOfSeveralRuns(t *testing.T) {
	parent := t.TempDir()
	a := writeRun(t, filepath.Join(parent, "a", "finetune"), "1e-3", 40)
	b := writeRun(t, filepath.Join(parent, "b", "finetune"), "2e-3", 20)
	_, text := pageOf(t, opened(t, a, b))
	requireText(t, text, "tiny Overview", a+" finished after 40 steps 2.0250 3.6000", b+" stopped after step 20 of 40",
		b+" stopped after step 20 of 40 and has not gone on", "Training loss: image", "Held-out loss: coco/train",
		a+" 39 3 2.025", b+" 19 3 2.05", "Events: "+b,
		"Differences An empty value: the recipe lacks the key. Key "+a+" "+b+
			" finetune.train.projector.lr 1e-3 2e-3 Recipe")
	if n := strings.Count(text, "as the recipe's loss key defines it"); n != 1 {
		t.Errorf("the note on losses stands there %d times", n)
	}
	_, text = pageOf(t, opened(t, a, a))
	requireText(t, text, "The recipes are the same.")

	writeRun(t, filepath.Join(parent, "a", "pretrain"), "1e-3", 40)
	_, text = pageOf(t, opened(t, filepath.Join(parent, "a")))
	requireText(t, text, "Training loss, pretrain", "Training loss, finetune", "pretrain.steps 5")
	if strings.Contains(text, "Differences") {
		t.Error("the stages of a run are compared by their recipe")
	}
}

// A long run's page stays small, whatever its curves look like.
func TestPageOfALongRunIsSmall(t *testing.T) {
	const most = 2_000_000
	r := &Run{Name: "long", Stage: "finetune", Dir: t.TempDir()}
	seed := uint64(1)
	noise := func() runs.Number {
		seed = seed*6364136223846793005 + 1442695040888963407
		return runs.Number(1 + float64(seed>>40)/(1<<24))
	}
	for step := 1; step <= 10_000; step++ {
		m := runs.Metrics{Step: step, Loss: noise(), GradNorm: noise(), TokensPerS: noise(), StepMS: noise(),
			DataWaitMS: noise(), LossBy: map[string]runs.Number{"image": noise(), "text": noise()},
			LR: map[string]runs.Number{"vision": noise(), "projector": noise(), "language": noise()}}
		r.metrics = append(r.metrics, m)
		e := runs.Evaluation{Step: step, Loss: noise(), LossBySource: map[string]runs.Number{}}
		for source := range 6 {
			e.LossBySource[fmt.Sprint(source)] = noise()
		}
		r.evaluations = append(r.evaluations, e)
		r.events = append(r.events, runs.Event{Event: runs.Resumed, Step: step},
			runs.Event{Event: runs.Checkpoint, Step: step})
	}
	html, text := pageOf(t, []*Run{r})
	if t.Logf("%d bytes", len(html)); len(html) > most {
		t.Errorf("the page has %d bytes, more than %d", len(html), most)
	}
	requireText(t, text, "The first 100 of 20,000.", "mean of the last 200 steps",
		"Bold lines: the geometric mean of the 200 points around.")
}
