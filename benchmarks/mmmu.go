package benchmarks

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/data/picture"
)

// MMMU (Yue et al. 2024), val. The original draws a letter at random where it finds none. Here such an answer is wrong
// in accuracy, and right at the rate of chance in accuracy_at_chance; no figure is random.
var mmmu = &Benchmark{
	Name: "mmmu", Title: "MMMU", Hub: "lmms-lab/MMMU", Limit: 1024,
	Files: []string{"data/validation-*.parquet"},
	Rules: []Rule{
		{Name: "lmms", What: "lmms-eval's letters; open questions are always wrong, as they are there today",
			mark: func(q *Question, answer string) Mark {
				if len(q.options) == 0 {
					return Mark{Parsed: parsedItems(answer)}
				}
				letter := rule.ChoiceOfLMMS(answer, q.options)
				return letterMark(letter, q.letter, letter == "")
			}, figures: atChance},
		{Name: "official", What: "MMMU's evaluator",
			mark: func(q *Question, answer string) Mark {
				if len(q.options) == 0 {
					right := rule.OpenIsRight(rule.Open(answer), q.answers)
					return Mark{Score: float64(count(right)), Parsed: parsedItems(answer)}
				}
				letter := rule.Choice(answer, q.options)
				return letterMark(letter, q.letter, letter == "")
			}, figures: atChance},
	},
	read: readMMMU,
}

func parsedItems(answer string) string {
	var items []string
	for _, item := range rule.Open(answer) {
		items = append(items, item.String())
	}
	return strings.Join(items, "; ")
}

func atChance(rows []Row) []figure.Figure {
	return []figure.Figure{accuracy("accuracy", rows), mean("accuracy_at_chance", rows, func(r *Row) float64 {
		if r.Unparsed && r.Choices > 0 {
			return 1 / float64(r.Choices)
		}
		return r.Score
	})}
}

// mmmuDomains are MMMU's disciplines, with their subjects.
var mmmuDomains = map[string]string{
	"Art and Design": "Art Art_Theory Design Music",
	"Business":       "Accounting Economics Finance Manage Marketing",
	"Science":        "Biology Chemistry Geography Math Physics",
	"Health and Medicine": "Basic_Medical_Science Clinical_Medicine " +
		"Diagnostics_and_Laboratory_Medicine Pharmacy Public_Health",
	"Humanities and Social Science": "History Literature Sociology Psychology",
	"Tech and Engineering": "Agriculture Architecture_and_Engineering Computer_Science Electronics Energy_and_Power " +
		"Materials Mechanical_Engineering",
}

// mmmuTags are the subject that is in a question's id, validation_SUBJECT_NUMBER, and its discipline.
func mmmuTags(id string) (tags []Tag) {
	_, subject, _ := strings.Cut(id, "_")
	at := strings.LastIndex(subject, "_")
	if at < 0 {
		return nil
	}
	subject = subject[:at]
	tags = []Tag{{"subject", subject}}
	for domain, subjects := range mmmuDomains {
		if slices.Contains(strings.Fields(subjects), subject) {
			tags = append(tags, Tag{"domain", domain})
		}
	}
	return tags
}

// mmmuRow is a row of the hub's set. Its lists are text, as Python writes them.
type mmmuRow struct {
	ID, Question, Options string
	Answer                any
}

func readMMMU(r *reading) error {
	if err := r.open("val", "data/validation-*.parquet"); err != nil {
		return err
	}
	return files.EachRow(r.hub, []string{"id", "question", "options", "answer"}, func(row int, l mmmuRow) error {
		q, err := r.mmmuQuestion(row, l)
		if err != nil {
			return fmt.Errorf("%s: %w", l.ID, err)
		}
		r.add(q)
		return nil
	})
}

func (r *reading) mmmuQuestion(row int, l mmmuRow) (q Question, err error) {
	texts, err := rule.PythonList(l.Options)
	if err != nil {
		return q, fmt.Errorf("options: %w", err)
	}
	q = Question{ID: textID(l.ID)}
	q.options, q.tags = rule.Options(texts), mmmuTags(l.ID)
	answers := goldAnswers(l.Answer)
	if len(texts) == 0 {
		q.answers = answers
		q.Prompt = l.Question + r.blankLine() + shortAnswer
	} else {
		if len(answers) != 1 || len(answers[0]) != 1 {
			return q, fmt.Errorf("answer is %.40q; want the letter of an option", answers)
		}
		q.letter = answers[0]
		q.Prompt = l.Question + r.mmmuOptions(q.options) + "\n" + letterAnswer
	}
	var columns []string
	q.Text = numberedMark.ReplaceAllStringFunc(q.Prompt, func(mark string) string {
		columns = append(columns, "image_"+numberedMark.FindStringSubmatch(mark)[1])
		return imageMark
	})
	if columns == nil {
		columns = []string{"image_1"}
	}
	q.images = r.mmmuImages(row, columns)
	return q, nil
}

// mmmuImages are the pictures in the order of their marks: one that is marked twice is shown twice.
func (r *reading) mmmuImages(row int, columns []string) func() ([]picture.Image, error) {
	hub := r.hub
	return func() (all []picture.Image, err error) {
		for _, column := range columns {
			images, err := hub.Images(row, column)
			if err != nil {
				return nil, err
			}
			all = append(all, images...)
		}
		return all, nil
	}
}

var numberedMark = regexp.MustCompile(`<image ([1-7])>`)

// blankLine stands before the ending of open questions in lmms-eval.
func (r *reading) blankLine() string {
	if r.rule == "lmms" {
		return "\n"
	}
	return ""
}

// mmmuOptions are the lines of the options: lmms-eval writes "A. x", MMMU's own script "(A) x".
func (r *reading) mmmuOptions(options []rule.Option) string {
	if r.rule == "lmms" {
		return lettered(options)
	}
	var b strings.Builder
	for _, option := range options {
		b.WriteString("\n(" + option.Letter + ") " + option.Text)
	}
	return b.String()
}

// goldAnswers are the answers of an open question: one, or a list, perhaps as text.
func goldAnswers(value any) (answers []string) {
	switch v := value.(type) {
	case string:
		if list, err := rule.PythonList(v); err == nil {
			return list
		}
		return []string{v}
	case []any:
		for _, one := range v {
			answers = append(answers, fmt.Sprint(one))
		}
	}
	return answers
}
