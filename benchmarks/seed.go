package benchmarks

import (
	"errors"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/data/picture"
)

// SEED-Bench (Li et al. 2023): pictures, and videos of which the frame in the middle is shown.
var seed = &Benchmark{
	Name: "seed", Title: "SEED-Bench", Hub: "lmms-lab/SEED-Bench", Limit: 128,
	Files: []string{seedQuestions, seedLabels},
	Rules: []Rule{
		{Name: "original", What: "the letter and nothing else", figures: byKind,
			mark: func(q *Question, answer string) Mark { return letterMark(answer, q.letter, !isOption(answer, q)) }},
		{Name: "lmms", What: "the first character", figures: byKind,
			mark: func(q *Question, answer string) Mark {
				letter := rule.First(answer)
				return letterMark(letter, q.letter, !isOption(letter, q))
			}},
	},
	Upload: "JSON lines, in the order of the questions",
	read:   readSEED,
	submit: func(s *submission) error {
		var lines []any
		for i, q := range s.Questions {
			if a := s.Answers[i]; a != nil {
				lines = append(lines, members{{"question_id", q.cells[0]}, {"prediction", a.Text}})
			}
		}
		return s.lines(lines)
	},
}

const (
	seedQuestions = "llava-seed-bench.jsonl"
	seedLabels    = "SEED-Bench.json"
)

func isOption(letter string, q *Question) bool {
	for _, option := range q.options {
		if option.Letter == letter {
			return true
		}
	}
	return false
}

func byKind(rows []Row) []figure.Figure {
	return []figure.Figure{accuracy("accuracy", rows), accuracy("image", among(rows, "kind", "image")),
		accuracy("video", among(rows, "kind", "video"))}
}

// seedLabel is an entry of SEED-Bench's file, and a row of the hub's set.
type seedLabel struct {
	ID       ID `json:"question_id"`
	Question string
	Answer   string
	Kind     string `json:"data_type"`
	Type     int    `json:"question_type_id"`
	A        string `json:"choice_a"`
	B        string `json:"choice_b"`
	C        string `json:"choice_c"`
	D        string `json:"choice_d"`
}

func (l seedLabel) key(types map[int]string) key {
	return key{letter: l.Answer, options: rule.Options([]string{l.A, l.B, l.C, l.D}), cells: []any{l.ID},
		tags: []Tag{{"kind", l.Kind}, {"type", types[l.Type]}}}
}

func readSEED(r *reading) error {
	if !r.Has(seedQuestions) {
		return readSEEDHub(r)
	}
	r.Split = "test"
	if err := r.llava(seedQuestions); err != nil {
		return err
	}
	file, err := files.Document[struct {
		Types     map[string]int `json:"question_type"`
		Questions []seedLabel
	}](r.Folder, seedLabels)
	if err != nil {
		return err
	}
	types := map[int]string{}
	for name, number := range file.Types {
		types[number] = name
	}
	labels := map[string]seedLabel{}
	for _, l := range file.Questions {
		labels[l.ID.text] = l
	}
	without := 0
	for i := range r.Questions {
		label, ok := labels[r.Questions[i].ID.text]
		r.Questions[i].key = label.key(types)
		without += count(!ok)
	}
	return otherRelease(seedQuestions, seedLabels, without, len(labels)-len(r.Questions)+without)
}

func readSEEDHub(r *reading) error {
	if err := r.open("test", "data/test-*.parquet"); err != nil {
		return err
	}
	columns := []string{"question_id", "question", "answer", "data_type", "question_type_id", "choice_a", "choice_b",
		"choice_c", "choice_d"}
	return files.EachRow(r.hub, columns, func(row int, l seedLabel) error {
		k := l.key(nil)
		k.tags = k.tags[:1]
		held := r.held(row, "image")
		r.add(Question{ID: l.ID, Text: strings.TrimSpace(l.Question) + lettered(k.options) + letterAnswer, key: k,
			images: func() ([]picture.Image, error) {
				frames, err := held()
				if err == nil && len(frames) == 0 {
					err = errors.New("it has no picture")
				}
				if err != nil {
					return nil, err
				}
				return frames[len(frames)/2:][:1], nil
			}})
		return nil
	})
}
