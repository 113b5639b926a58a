package convert

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/rows"
)

// checkRows checks what holds for the rows of every format: turns alternate, the picture stands at the start of the
// first question and nowhere else, and its path stays within the folder of pictures.
func checkRows(t interface{ Errorf(string, ...any) }, all []row) {
	for _, r := range all {
		if r.ID == "" || len(r.Turns) == 0 || len(r.Turns)%2 != 0 {
			t.Errorf("row %q with %d turns", r.ID, len(r.Turns))
		}
		if r.Image != "" && !filepath.IsLocal(r.Image) {
			t.Errorf("row %q: image %q leads out of the folder", r.ID, r.Image)
		}
		for i, one := range r.Turns {
			if one.From != []string{"human", "gpt"}[i%2] || strings.TrimSpace(one.Value) == "" {
				t.Errorf("row %q, turn %d: %+v", r.ID, i, one)
			}
			marks := strings.Count(one.Value, imageMark)
			if first := i == 0 && r.Image != ""; first != strings.HasPrefix(one.Value, imageMark+"\n") ||
				marks > 1 || marks == 1 && !first {
				t.Errorf("row %q, turn %d has %d image marks: %q", r.ID, i, marks, one.Value)
			}
		}
	}
}

// Every question with an answer comes out once, under its picture, in the order of the file; limits take whole pictures
// and do not change their rows; a smaller limit takes a part of what a larger one takes.
func TestGrouping(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		type question struct {
			ID       int    `json:"question_id"`
			Picture  int    `json:"image_id"`
			Question string `json:"question"`
		}
		type answer struct {
			ID     int    `json:"question_id"`
			Answer string `json:"multiple_choice_answer"`
		}
		n := rapid.IntRange(1, 40).Draw(r, "questions")
		var questions []question
		var answers []answer
		for i := range n {
			picture := rapid.IntRange(0, 8).Draw(r, "picture")
			questions = append(questions, question{i, picture, fmt.Sprintf("Q%d of %d?", i, picture)})
			answers = append(answers, answer{i, fmt.Sprint("a", i)})
		}
		shuffled := rapid.Permutation(answers).Draw(r, "answers")
		first, _ := json.Marshal(map[string]any{"questions": questions})
		second, _ := json.Marshal(map[string]any{"annotations": shuffled})
		files := written(t, string(first), string(second))
		seed := rapid.Uint64().Draw(r, "seed")

		all, report := converted(t, "vqa", files, Options{Seed: seed})
		checkRows(r, all)
		if report.Pairs != n || report.Pictures != report.Rows {
			r.Fatalf("report %+v of %d questions", report, n)
		}
		checkOrder(r, all)

		limit := rapid.IntRange(1, 10).Draw(r, "limit")
		limited, report := converted(t, "vqa", files, Options{Seed: seed, Limit: limit})
		c := conversion{Options: Options{Seed: seed}}
		chosen := slices.Clone(all)
		slices.SortFunc(chosen, func(a, b row) int { return cmp.Compare(c.draw(a.ID), c.draw(b.ID)) })
		chosen = chosen[:min(limit, len(chosen))]
		var want []row
		for _, one := range all {
			if slices.ContainsFunc(chosen, func(r row) bool { return r.ID == one.ID }) {
				want = append(want, one)
			}
		}
		if !slices.EqualFunc(want, limited, sameRow) {
			r.Fatalf("limit %d: %v, want %v", limit, brief(limited), brief(want))
		}
		if report.Pictures != len(want) || report.Passed.Total() != len(all)-len(want) {
			r.Fatalf("limit %d of %d: %+v", limit, len(all), report)
		}
	})
}

// checkOrder checks that questions "Q3 of 7?" stand under their picture, with their answer and in order.
func checkOrder(r *rapid.T, all []row) {
	next := map[string]int{} // number of the last question, by picture
	last := -1               // number of the last picture's first question
	for _, one := range all {
		for i := 0; i < len(one.Turns); i += 2 {
			var number, picture int
			text := strings.TrimPrefix(one.Turns[i].Value, imageMark+"\n")
			if _, err := fmt.Sscanf(text, "Q%d of %d?", &number, &picture); err != nil {
				r.Fatal(err)
			}
			if fmt.Sprint(picture) != one.ID || fmt.Sprint("A", number) != one.Turns[i+1].Value {
				r.Fatalf("row %s has %q, %q", one.ID, text, one.Turns[i+1].Value)
			}
			if i == 0 && number <= last || i > 0 && number <= next[one.ID] {
				r.Fatalf("question %d comes too late", number)
			}
			if i == 0 {
				last = number
			}
			next[one.ID] = number
		}
	}
}

func sameRow(a, b row) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// In the rows of a picture each option of a question stands under each letter equally often, and the right letter names
// the right option.
func TestRotation(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, len(letters)).Draw(r, "options")
		q := choice{"Q?", make([]string, n), rapid.IntRange(0, n-1).Draw(r, "right")}
		for i := range q.options {
			q.options[i] = fmt.Sprint("option", i)
		}
		seen := map[string]bool{}
		for k := range n {
			p := q.rotated(k)
			if !strings.Contains(p.question+"\n", fmt.Sprintf("\n%s. option%d\n", p.answer, q.right)) {
				r.Fatalf("%q is no answer to %q", p.answer, p.question)
			}
			seen[p.answer] = true
		}
		if len(seen) != n || q.rotated(n) != q.rotated(0) {
			r.Fatalf("letters %v of %d options", seen, n)
		}
	})
}

// Boxes are within the frame and lie where they lay in the picture, to half a hundredth.
func TestBoxes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := size{rapid.IntRange(1, 3000).Draw(r, "width"), rapid.IntRange(1, 3000).Draw(r, "height")}
		w, h := float64(s.width), float64(s.height)
		b := box{rapid.Float64Range(-w, 2*w).Draw(r, "x"), rapid.Float64Range(-h, 2*h).Draw(r, "y"),
			rapid.Float64Range(-1, 2*w).Draw(r, "w"), rapid.Float64Range(-1, 2*h).Draw(r, "h")}
		inside := max(0, b[0]) < min(w, b[0]+b[2]) && max(0, b[1]) < min(h, b[1]+b[3])
		for _, frame := range []string{"", "padded", "original"} {
			c := conversion{Options: Options{Frame: frame}}
			text, ok := c.text(b, s)
			if ok != inside {
				r.Fatalf("box %v of %v is taken: %v", b, s, ok)
			}
			if !ok {
				continue
			}
			var got [4]float64
			if err := json.Unmarshal([]byte(text), (*[4]float64)(&got)); err != nil || strings.Contains(text, " ") {
				r.Fatalf("box %s: %v", text, err)
			}
			side, dx, dy := w, 0, 0
			sideY := h
			if frame != "original" {
				side = math.Max(w, h)
				sideY = side
				dx, dy = (max(s.width, s.height)-s.width)/2, (max(s.width, s.height)-s.height)/2
			}
			want := [4]float64{(max(0, b[0]) + float64(dx)) / side, (max(0, b[1]) + float64(dy)) / sideY,
				(min(w, b[0]+b[2]) + float64(dx)) / side, (min(h, b[1]+b[3]) + float64(dy)) / sideY}
			for i := range got {
				if math.Abs(got[i]-want[i]) > 0.005+1e-9 || got[i] < 0 || got[i] > 1 {
					r.Fatalf("box %v of %v in frame %q: %s, want %v", b, s, frame, text, want)
				}
			}
		}
	})
}

// Fractions end in no zero but the one behind the point.
func TestFraction(t *testing.T) {
	for value, want := range map[float64]string{0: "0.0", 1: "1.0", 0.5: "0.5", 0.25: "0.25", 0.104: "0.1",
		0.999: "1.0", 0.001: "0.0", 0.006: "0.01"} {
		if got := fraction(value); got != want {
			t.Errorf("%v is written %s, want %s", value, got, want)
		}
	}
}

// Of more than ten regions those with the smallest hashes stay, in the order of the file.
func TestRegionChoice(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := conversion{Options: Options{Seed: rapid.Uint64().Draw(r, "seed")}, report: Report{Passed: Counts{}}}
		zero, one := 0.0, 1.0
		var regions []genomeRegion
		var ids []int64
		for i := range rapid.IntRange(0, 30).Draw(r, "regions") {
			id, phrase := int64(i), fmt.Sprint("p", i)
			ids = append(ids, id)
			regions = append(regions,
				genomeRegion{ID: &id, X: &zero, Y: &zero, Width: &one, Height: &one, Phrase: &phrase})
		}
		pairs, err := c.chooseRegions(entry{}, regions, size{9, 9})
		if err != nil {
			r.Fatal(err)
		}
		slices.SortFunc(ids, func(a, b int64) int { return cmp.Compare(c.draw(fmt.Sprint(a)), c.draw(fmt.Sprint(b))) })
		ids = ids[:min(len(ids), mostRegions)]
		slices.Sort(ids)
		var want []pair
		for _, id := range ids {
			want = append(want, c.region(fmt.Sprint(id), fmt.Sprint("p", id), "[0.0,0.0,0.11,0.11]"))
		}
		if !slices.Equal(want, pairs) || c.report.Passed.Total() != len(regions)-len(want) {
			r.Fatalf("%v, want %v; passed over %v", pairs, want, c.report.Passed)
		}
	})
}

// The trainer reads the rows, those without a picture too.
func TestRowsAreRead(t *testing.T) {
	files := written(t, `{"1": {"question": "Which <b>?", "choices": ["a", "b"], "answer": 1, "image": null},
		"2": {"question": "Which?", "choices": ["a"], "answer": 0, "image": "image.png"}}`, `{"train": ["2", "1"]}`)
	var out bytes.Buffer
	if _, err := Convert(&out, "scienceqa", files, Options{}); err != nil {
		t.Fatal(err)
	}
	source, err := rows.Open(written(t, out.String())[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	images := []string{"2/image.png", ""}
	if source.Len() != len(images) {
		t.Fatalf("%d rows", source.Len())
	}
	for i, want := range images {
		record, err := source.Record(i)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(record.Images) > 0 {
			got = record.Images[0].Path
		}
		if got != want || len(record.Turns) != 2 {
			t.Errorf("row %d: %+v", i, record)
		}
	}
	if !strings.Contains(out.String(), "Which <b>?") {
		t.Errorf("angle brackets are escaped: %s", out.String())
	}
}
