package benchmarks

import (
	"path"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// MME (Fu et al. 2023): two closed questions about a picture. A category's score is the accuracy and that of pictures
// with both right, in percent; perception sums ten categories (at most 2,000 points), cognition four (800).
var mme = &Benchmark{
	Name: "mme", Title: "MME", Hub: "lmms-lab/MME", Limit: 128, pictures: mmeFolder, pairs: true,
	Files: []string{mmeQuestions, mmeFolder + "/CATEGORY/*.txt"},
	Rules: []Rule{
		{Name: "original", What: "yes or no in the first four characters", mark: yesNo(rule.MME), figures: mmeFigures},
		{Name: "lmms", What: "the same without spaces and periods, and y and n", mark: yesNo(rule.MMEOfLMMS),
			figures: mmeFigures},
	},
	Upload: "a folder with a file CATEGORY.txt each, as MME's calculation tool reads them",
	read:   readMME,
	submit: submitMME,
}

const (
	mmeFolder    = "MME_Benchmark_release_version"
	mmeQuestions = "llava_mme.jsonl"
	yesOrNo      = "Please answer yes or no."
)

var mmeParts = []struct {
	name       string
	categories []string
}{
	{"perception", []string{"existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark",
		"artwork", "OCR"}},
	{"cognition", []string{"commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"}},
}

func mmeFigures(rows []Row) (list []figure.Figure) {
	var below []figure.Figure
	for _, part := range mmeParts {
		var sum []figure.Part
		for _, category := range part.categories {
			terms := figure.Part{Weight: 100, Terms: byPicture(inCategory(rows, category))}
			sum = append(sum, terms)
			below = append(below, figure.New(category, terms))
		}
		list = append(list, figure.New(part.name, sum...))
	}
	return append(list, below...)
}

// byPicture is the accuracy and that of whole pictures, over pictures.
func byPicture(rows []Row) *figure.Terms {
	right, questions := map[string]float64{}, map[string]float64{}
	var firsts []Row // of each picture
	for _, row := range rows {
		if questions[row.Image] == 0 {
			firsts = append(firsts, row)
		}
		questions[row.Image]++
		right[row.Image] += row.Score
	}
	t := &figure.Terms{}
	for _, row := range firsts {
		whole := float64(count(right[row.Image] == questions[row.Image]))
		t.Add(row.at, right[row.Image]/questions[row.Image]+whole, 1)
	}
	return t
}

// mmeLabel is a line of one of MME's text files: a question and its answer.
type mmeLabel struct{ question, answer string }

func readMME(r *reading) error {
	r.promptKey = mmeQuestion
	if !r.Has(mmeQuestions) {
		return readMMEHub(r)
	}
	r.Split = "test"
	if err := r.llava(mmeQuestions); err != nil {
		return err
	}
	labels, total, err := r.mmeLabels()
	if err != nil {
		return err
	}
	without := 0
	for i := range r.Questions {
		q := &r.Questions[i]
		category, _, _ := strings.Cut(q.ID.text, "/")
		file := strings.TrimSuffix(path.Base(q.ID.text), path.Ext(q.ID.text)) + ".txt"
		at := slices.IndexFunc(labels[category+"/"+file], func(l mmeLabel) bool {
			return mmeQuestion(l.question) == mmeQuestion(q.Text)
		})
		if at < 0 {
			without++
			continue
		}
		label := labels[category+"/"+file][at]
		q.Category, q.letter = category, strings.ToLower(label.answer)
		q.cells = []any{file, label.question, label.answer}
	}
	return otherRelease(mmeQuestions, mmeFolder, without, total-len(r.Questions)+without)
}

// mmeQuestion is a question without what it says about the form of the answer, by which its forms are the same.
func mmeQuestion(prompt string) string {
	for _, ending := range []string{shortAnswer, yesOrNo} {
		prompt = strings.ReplaceAll(prompt, strings.TrimSpace(ending), "")
	}
	return strings.TrimSpace(prompt)
}

// mmeLabels reads the text files of the categories, some of which have them in a folder of their own.
func (r *reading) mmeLabels() (labels map[string][]mmeLabel, total int, err error) {
	labels = map[string][]mmeLabel{}
	for _, part := range mmeParts {
		for _, category := range part.categories {
			folder := mmeFolder + "/" + category
			if !r.Has(folder) {
				continue
			}
			if r.Has(folder + "/questions_answers_YN") {
				folder += "/questions_answers_YN"
			}
			names, err := r.Names(folder)
			if err != nil {
				return nil, 0, err
			}
			for _, name := range names {
				if path.Ext(name) != ".txt" {
					continue
				}
				list, err := r.mmeFile(folder + "/" + name)
				if err != nil {
					return nil, 0, err
				}
				labels[category+"/"+name] = list
				total += len(list)
			}
		}
	}
	if total == 0 {
		return nil, 0, failure.Inputf("%s/%s has no folder of a category with text files: it is MME's release with "+
			"the answers", r.Path, mmeFolder)
	}
	return labels, total, nil
}

func (r *reading) mmeFile(name string) (list []mmeLabel, err error) {
	text, err := r.Text(name)
	if err != nil {
		return nil, err
	}
	for _, line := range files.Lines(text) {
		question, answer, ok := strings.Cut(string(line.Text), "\t")
		answer = strings.TrimSpace(answer)
		if low := strings.ToLower(answer); !ok || low != "yes" && low != "no" {
			return nil, failure.Inputf("%s/%s line %d: it is not a question, a tab and Yes or No", r.Path, name,
				line.Number)
		}
		list = append(list, mmeLabel{question, answer})
	}
	return list, nil
}

func readMMEHub(r *reading) error {
	if err := r.open("test", "data/test-*.parquet"); err != nil {
		return err
	}
	type label struct {
		ID                         string `json:"question_id"`
		Question, Answer, Category string
	}
	columns := []string{"question_id", "question", "answer", "category"}
	return files.EachRow(r.hub, columns, func(row int, l label) error {
		text := strings.ReplaceAll(l.Question, " "+yesOrNo, "") + shortAnswer
		file := strings.TrimSuffix(path.Base(l.ID), path.Ext(l.ID)) + ".txt"
		r.add(Question{ID: textID(l.ID), Text: text, Image: l.ID, Category: l.Category, images: r.held(row, "image"),
			key: key{letter: strings.ToLower(strings.TrimSpace(l.Answer)), cells: []any{file, l.Question, l.Answer}}})
		return nil
	})
}

// submitMME writes a line an answer. Tabs and line breaks in answers, which would end the tool in an error, become
// spaces: it reads four characters of them at most.
func submitMME(s *submission) error {
	contents := map[string]*strings.Builder{}
	for i, q := range s.Questions {
		a := s.Answers[i]
		if a == nil {
			continue
		}
		if contents[q.Category] == nil {
			contents[q.Category] = &strings.Builder{}
		}
		text := strings.NewReplacer("\t", " ", "\r\n", " ", "\n", " ", "\r", " ").Replace(a.Text)
		if text != a.Text {
			s.report.Changed++
		}
		line := []string{q.cells[0].(string), q.cells[1].(string), q.cells[2].(string), text}
		contents[q.Category].WriteString(strings.Join(line, "\t") + "\n")
	}
	for category, text := range contents {
		if err := s.file(category+".txt", text.String()); err != nil {
			return err
		}
	}
	return nil
}
