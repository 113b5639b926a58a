package benchmarks

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// ScienceQA (Lu et al. 2022), test. The figure that papers quote is img_accuracy, of questions with a picture.
var scienceQA = &Benchmark{
	Name: "scienceqa", Title: "ScienceQA", Hub: "lmms-lab/ScienceQA", Limit: 1024, pictures: "images/test",
	Files: []string{sqaQuestions, sqaProblems, sqaSplits},
	Rules: []Rule{
		{Name: "original", What: "a letter; missing answers are wrong, and have no part in img_accuracy",
			forgives: true,
			mark: func(q *Question, answer string) Mark {
				letter := rule.ScienceQA(answer)
				return letterMark(letter, q.letter, letter == "")
			}, figures: withPictures},
		{Name: "lmms", What: "the right letter in any case, or a capital with a period",
			mark: func(q *Question, answer string) Mark {
				letter := rule.ScienceQAOfLMMS(answer, q.letter)
				return letterMark(letter, q.letter, letter == "")
			}, figures: withPictures},
	},
	read: readScienceQA,
}

const (
	sqaQuestions = "llava_test_CQM-A.json"
	sqaProblems  = "problems.json"
	sqaSplits    = "pid_splits.json"
)

// letterMark marks a letter.
func letterMark(letter, right string, unparsed bool) Mark {
	return Mark{Score: float64(count(letter == right && !unparsed)), Parsed: letter, Unparsed: unparsed}
}

func withPictures(rows []Row) []figure.Figure {
	answered := slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return r.Missing })
	return []figure.Figure{accuracy("accuracy", rows), accuracy("img_accuracy", among(answered, "picture", "yes"))}
}

// sqaLabel is a problem of ScienceQA's, and a row of the hub's set.
type sqaLabel struct {
	Question, Hint, Subject, Grade string
	Choices                        []string
	Answer                         int
	Image                          any
}

func (l sqaLabel) key() (k key, err error) {
	k.options = rule.Options(l.Choices)
	k.tags = []Tag{{"picture", "no"}, {"subject", l.Subject}}
	if l.Image != nil && l.Image != "" {
		k.tags[0].Value = "yes"
	}
	k.letter, err = letterOf(l.Answer, len(l.Choices))
	return k, err
}

func readScienceQA(r *reading) error {
	if !r.Has(sqaQuestions) {
		return readScienceQAHub(r)
	}
	r.Split = "test"
	list, err := files.Document[[]struct {
		ID            string
		Image         string
		Conversations []struct{ From, Value string }
	}](r.Folder, sqaQuestions)
	if err != nil {
		return err
	}
	problems, err := files.Document[map[string]sqaLabel](r.Folder, sqaProblems)
	if err != nil {
		return err
	}
	splits, err := files.Document[map[string][]string](r.Folder, sqaSplits)
	if err != nil {
		return err
	}
	without := 0
	for _, l := range list {
		problem, ok := problems[l.ID]
		if !ok {
			without++
			continue
		}
		if len(l.Conversations) == 0 {
			return fmt.Errorf("%s: question %q has no conversations", sqaQuestions, l.ID)
		}
		q, err := sqaQuestion(l.ID, l.Image, l.Conversations[0].Value, problem)
		if err != nil {
			return fmt.Errorf("%s: problem %q: %w", sqaProblems, l.ID, err)
		}
		r.add(q)
	}
	return otherRelease(sqaQuestions, sqaSplits, without, len(splits["test"])-len(r.Questions)+without)
}

// sqaQuestion is a question as model_vqa_science.py asks it: only its prompt keeps the mark of the picture.
func sqaQuestion(id, image, value string, problem sqaLabel) (q Question, err error) {
	text := strings.TrimSpace(strings.ReplaceAll(value, imageMark, ""))
	if text == "" {
		return q, errors.New("its question is empty")
	}
	q = Question{ID: textID(id), Text: text + letterAnswer, Image: image}
	problem.Image = image
	if q.Prompt = q.Text; image != "" {
		q.Prompt = imageMark + "\n" + q.Text
	}
	q.key, err = problem.key()
	return q, err
}

func readScienceQAHub(r *reading) error {
	if err := r.open("test", "ScienceQA-FULL/test-*.parquet", "ScienceQA-IMG/test-*.parquet"); err != nil {
		return err
	}
	columns := []string{"question", "choices", "answer", "hint", "subject", "image"}
	return files.EachRow(r.hub, columns, func(row int, l sqaLabel) (err error) {
		q := Question{ID: textID(strconv.Itoa(row))}
		if l.Hint != "" {
			q.Text = "Context: " + l.Hint + "\n"
		}
		if q.key, err = l.key(); err != nil {
			return err
		}
		q.Text += l.Question + lettered(q.options) + letterAnswer
		if l.Image != nil {
			q.images = r.held(row, "image")
		}
		r.add(q)
		return nil
	})
}
