package answer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs"
)

// Questionnaire is `generate --batch`: a file of questions, Size of which are answered at a time.
type Questionnaire struct {
	Questions, Images, Out string
	Size                   int
	How                    model.Sampling
	SkipBad                bool // the answer to a question that cannot be asked is the reason
}

// Run answers the questions that have no answer yet, in order, to the file Out or, if that is "", to out.
func (b Questionnaire) Run(ctx context.Context, out io.Writer, report runs.Observer, named Named) error {
	all, err := readQuestions(b.Questions)
	if err != nil {
		return err
	}
	if keys := unreadKeys(all); keys != "" {
		report.Say("keys that are not read, and the questions that have them: " + keys)
	}
	open := all
	if b.Out != "" {
		if open, err = unanswered(all, b.Out); err != nil {
			return err
		}
	}
	if n := len(all) - len(open); n > 0 {
		report.Say(fmt.Sprintf("%d of %d questions are already answered in %s", n, len(all), b.Out))
	}
	if len(open) == 0 {
		return nil
	}
	if _, err := named.Locate(); err != nil {
		return err
	}
	survey := b.survey(open)
	if !b.SkipBad {
		if err := survey.Look("--skip-bad writes the reason in place of such answers"); err != nil {
			return err
		}
	}
	a, err := OpenAnswerer(named, report)
	if err != nil {
		return err
	}
	defer a.Close()
	write, closeOut, err := b.writer(out)
	if err != nil {
		return err
	}
	survey.Write = func(i int, r Reply) error {
		return write(newQuestionAnswer(open[i], r.Text, named.Path))
	}
	if b.SkipBad {
		survey.Skip = func(i int, err error) error {
			return write(newQuestionAnswer(open[i], "not answered: "+err.Error(), named.Path))
		}
	}
	survey.Progress = func(done int) {
		report.Progress("answering", int64(len(all)-len(open)+done), int64(len(all)))
	}
	return errors.Join(survey.Run(ctx, a), closeOut())
}

// survey is the questions as a list to ask.
func (b Questionnaire) survey(questions []question) *Survey {
	s := &Survey{Folder: b.Images, Size: b.Size, How: b.How}
	for _, q := range questions {
		item := Item{System: q.System, Text: q.Text, Images: q.Images, Stream: uint64(q.index),
			Where: fmt.Sprintf("questions: %s line %d, question_id %s", filepath.Base(b.Questions), q.line, q.ID)}
		if len(q.Images) > 0 {
			item.About = fmt.Sprint(q.Images)
		}
		s.Items = append(s.Items, item)
	}
	return s
}

// writer returns what appends answers to the file, or writes them to standard output.
func (b Questionnaire) writer(out io.Writer) (write func(record any) error, closeOut func() error, err error) {
	if b.Out == "" {
		return json.NewEncoder(out).Encode, func() error { return nil }, nil
	}
	log, err := checkpoints.OpenJSONL(b.Out)
	if err != nil {
		return nil, nil, err
	}
	return log.Append, log.Close, nil
}
