package benchmarks

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/data/picture"
)

// MMBench (Liu et al. 2023), English and Chinese. A question comes in rotations of its options, each a row; their
// indices are the same but for millions. It counts as right if all rotations are (CircularEval).
var (
	mmbench = newMMBench("mmbench_en", "MMBench", "en", letterAnswer,
		[]string{"mmbench_dev_20230712.tsv", "mmbench_dev_en_20231003.tsv", "mmbench_test_20230712.tsv",
			"mmbench_test_en_20231003.tsv"})
	mmbenchCN = newMMBench("mmbench_cn", "MMBench-CN", "cn", "\n请直接回答选项字母。",
		[]string{"mmbench_dev_cn_20231003.tsv", "mmbench_test_cn_20231003.tsv"})
)

func newMMBench(name, title, language, ending string, tables []string) *Benchmark {
	return &Benchmark{
		Name: name, Title: title, Hub: "lmms-lab/MMBench", Limit: 1024,
		Files: tables,
		Rules: []Rule{
			{Name: "vlmeval",
				What: "VLMEvalKit's exact matching: a letter or the text of an option; all rotations right",
				mark: func(q *Question, answer string) Mark {
					letter := rule.InferredLetter(answer, q.options)
					return letterMark(letter, q.letter, letter == "")
				}, figures: circular},
			{Name: "lmms",
				What: "lmms-eval's static rule: a letter that is a word, or an option's text; all rotations right",
				mark: func(q *Question, answer string) Mark {
					letter := rule.LetterByWord(answer, q.options)
					return letterMark(letter, q.letter, letter == "")
				}, figures: circular},
		},
		Upload: "a workbook of Excel with a column prediction",
		read: func(r *reading) error {
			return mmbenchReading{r, language, ending}.read(tables)
		},
		submit: submitMMBench,
	}
}

// byForm marks a letter by its form.
func byForm(q *Question, answer string) Mark {
	letter := rule.LetterByForm(answer, rule.Letters(max(4, len(q.options))))
	return letterMark(letter, q.letter, letter == "")
}

// circular is the share of groups that are right as a whole; and the accuracy of rows, which is one pass.
func circular(rows []Row) []figure.Figure {
	right := map[string]float64{}
	var firsts []Row // of each group
	for _, row := range rows {
		if _, known := right[row.Group]; !known {
			right[row.Group] = 1
			firsts = append(firsts, row)
		}
		right[row.Group] *= row.Score
	}
	t := &figure.Terms{}
	for _, row := range firsts {
		t.Add(row.at, right[row.Group], 1)
	}
	return []figure.Figure{figure.New("accuracy", figure.Part{Weight: 100, Terms: t}),
		ratio("rows", rows, func(r *Row) (float64, float64) { return r.Score, 1 })}
}

type mmbenchReading struct {
	*reading
	language, ending string
}

func (m mmbenchReading) read(tables []string) error {
	for _, name := range tables {
		if m.Has(name) && (m.purpose == ToScore || strings.Contains(name, "test") || !m.Has(testTable(tables))) {
			return m.readTable(name)
		}
	}
	return m.readHub()
}

func testTable(tables []string) string { return tables[len(tables)-1] }

// absent is what stands for nothing in hints, and in the hub's set everywhere.
const absent = "nan"

// mmbenchRow is a row of either form; options end at the first that is absent.
type mmbenchRow struct {
	Index                  int
	Question, Hint, Answer string
	A, B, C, D             string
	Category, L2           string
	L2OfHub                string `json:"L2-category"`
	Split                  string
}

// question makes the question that the rule asks.
func (m mmbenchReading) question(row mmbenchRow, nothing string) (q Question) {
	var texts []string
	for _, text := range []string{row.A, row.B, row.C, row.D} {
		if text == nothing || text == "" {
			break
		}
		texts = append(texts, text)
	}
	q = Question{ID: numberID(row.Index), Category: row.Category}
	q.options = rule.Options(texts)
	q.letter, q.group = row.Answer, strconv.Itoa(row.Index%1_000_000)
	q.tags = []Tag{{"category", row.Category}, {"l2_category", row.L2 + row.L2OfHub}}
	hint := row.Hint
	if hint == absent {
		hint = ""
	}
	if m.rule == "lmms" {
		q.Text = m.ofLMMS(hint, row.Question, q.options)
		q.Prompt = q.Text
		return q
	}
	if hint != "" {
		hint += "\n"
	}
	q.Prompt = hint + row.Question + lettered(q.options)
	q.Text = q.Prompt + m.ending
	return q
}

// ofLMMS is lmms-eval's prompt. In Chinese it has the word nan where there is no hint.
func (m mmbenchReading) ofLMMS(hint, question string, options []rule.Option) string {
	ending := letterAnswer
	if m.language == "cn" {
		ending = "\n请直接使用所提供的选项字母作为答案回答。"
		if hint == "" {
			hint = absent
		}
	}
	if hint != "" {
		hint += " "
	}
	return hint + question + severalOptions + lettered(options) + "\n" + ending
}

const severalOptions = " There are several options:"

func (m mmbenchReading) readTable(name string) error {
	m.Split = "dev"
	pictures := map[string]string{}
	err := m.TSV(name, []string{"index", "question", "hint", "A", "B", "category", "image"},
		func(c map[string]string) error {
			index, err := strconv.Atoi(c["index"])
			if err != nil {
				return fmt.Errorf("index is %.20q; want a number", c["index"])
			}
			row := mmbenchRow{Index: index, Question: c["question"], Hint: c["hint"], Answer: c["answer"],
				A: c["A"], B: c["B"], C: c["C"], D: c["D"], Category: c["category"], L2: c["l2-category"]}
			if m.Labelled = c["answer"] != ""; !m.Labelled {
				m.Split = "test"
			}
			q := m.question(row, "")
			cell := c["image"]
			pictures[c["index"]] = cell
			if err := checkPicture(cell, pictures); err != nil {
				return fmt.Errorf("index %d: %w", index, err)
			}
			q.images = func() ([]picture.Image, error) { return decodePicture(cell, pictures) }
			q.cells = []any{index}
			for _, column := range []string{"question", "A", "B", "C", "D", "answer", "split"} {
				q.cells = append(q.cells, cellOrNil(c[column]))
			}
			m.add(q)
			return nil
		})
	return err
}

func cellOrNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// reference is the longest cell that is the index of the row whose picture it has, and not a picture.
const reference = 64

// checkPicture refuses a cell that is no picture. A reference to a row that comes later is found when it is read.
func checkPicture(cell string, pictures map[string]string) error {
	if len(cell) <= reference && cell != "" && pictures[cell] == "" {
		if _, err := strconv.Atoi(cell); err == nil {
			return nil
		}
	}
	_, err := decodePicture(cell, pictures)
	return err
}

func decodePicture(cell string, pictures map[string]string) ([]picture.Image, error) {
	if other := pictures[cell]; len(cell) <= reference && other != "" && other != cell {
		cell = other
	}
	bytes, err := base64.StdEncoding.DecodeString(cell)
	if err == nil && len(bytes) == 0 {
		err = errors.New("it is empty")
	}
	if err == nil {
		_, err = picture.ReadHeader(bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("image is no picture in base64: %w; the table is damaged, fetch it again", err)
	}
	return []picture.Image{{File: bytes}}, nil
}

func (m mmbenchReading) readHub() error {
	if err := m.open("dev", m.language+"/dev-*.parquet"); err != nil {
		return err
	}
	columns := []string{"index", "question", "hint", "answer", "A", "B", "C", "D", "category", "L2-category", "split"}
	return files.EachRow(m.hub, columns, func(at int, row mmbenchRow) error {
		q := m.question(row, absent)
		q.images = m.held(at, "image")
		m.add(q)
		return nil
	})
}

// submitMMBench writes the table without hints, categories and pictures, and with the answers.
func submitMMBench(s *submission) error {
	sheet := [][]any{{"index", "question", "A", "B", "C", "D", "prediction", "answer", "split"}}
	if !s.Labelled {
		sheet[0] = []any{"index", "question", "A", "B", "C", "D", "prediction", "split"}
	}
	for i, q := range s.Questions {
		if q.cells == nil {
			return errors.New("the upload is made of MMBench's TSV, not of the hub's set")
		}
		var text any
		if a := s.Answers[i]; a != nil {
			text = cellOrNil(a.Text)
		}
		row := append(append([]any{}, q.cells[:6]...), text)
		if s.Labelled {
			row = append(row, q.cells[6])
		}
		sheet = append(sheet, append(row, q.cells[7]))
	}
	return s.sheet(sheet)
}
