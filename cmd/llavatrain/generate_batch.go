package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/train"
)

// questionnaire is `generate --batch`: a file of questions, answered several at a time.
type questionnaire struct {
	questions, images, out string
	size                   int
	how                    model.Sampling
}

// run answers the questions that have no answer yet, in their order.
func (b questionnaire) run(out io.Writer, report train.Report, modelPath string) error {
	all, err := readQuestions(b.questions)
	if err != nil {
		return err
	}
	open := all
	if b.out != "" {
		if open, err = unanswered(all, b.out); err != nil {
			return err
		}
	}
	if n := len(all) - len(open); n > 0 {
		report.Say(fmt.Sprintf("%d of %d questions are answered in %s already", n, len(all), b.out))
	}
	if len(open) == 0 {
		return nil
	}
	a, err := openAnswerer(modelPath, report)
	if err != nil {
		return err
	}
	defer a.close()
	images, err := data.OpenImages(b.images, nil)
	if err != nil {
		return err
	}
	defer images.Close()
	write, closeOut, err := b.writer(out)
	if err != nil {
		return err
	}
	done := len(all) - len(open)
	for group := range slices.Chunk(open, b.size) {
		if err = b.answer(a, images, group, modelPath, write); err != nil {
			break
		}
		done += len(group)
		report.Progress("answering", int64(done), int64(len(all)))
	}
	if closeErr := closeOut(); err == nil {
		err = closeErr
	}
	return err
}

// writer takes answers: to the end of the file, or to standard output.
func (b questionnaire) writer(out io.Writer) (write func(record any) error, closeOut func() error, err error) {
	if b.out == "" {
		return json.NewEncoder(out).Encode, func() error { return nil }, nil
	}
	log, err := checkpoints.OpenJSONL(b.out)
	if err != nil {
		return nil, nil, err
	}
	return log.Append, log.Close, nil
}

// answer answers questions together.
func (b questionnaire) answer(a *answerer, images *data.Images, group []question, modelID string, write func(record any) error) error {
	prompts, texts, streams := make([]model.Prompt, len(group)), make([]strings.Builder, len(group)), make([]*stream, len(group))
	for i, q := range group {
		in, err := b.prompt(a, images, q)
		if err == nil {
			err = a.llava.CheckPrompt(in)
		}
		if err != nil {
			return fmt.Errorf("questions: %s line %d, question_id %s: %w", filepath.Base(b.questions), q.line, q.ID, err)
		}
		streams[i] = a.stream(func(text string) { texts[i].WriteString(text) })
		prompts[i] = model.Prompt{Input: in, Stream: uint64(q.index), Emit: streams[i].token}
	}
	if err := a.llava.GenerateBatch(prompts, a.stopping(b.how)); err != nil {
		return fmt.Errorf("questions: %s lines %d to %d: %w", filepath.Base(b.questions), group[0].line, group[len(group)-1].line, err)
	}
	for i, q := range group {
		streams[i].end()
		if err := write(newQuestionAnswer(q, strings.TrimSpace(texts[i].String()), modelID)); err != nil {
			return err
		}
	}
	return nil
}

// prompt reads a question's picture and asks about it.
func (b questionnaire) prompt(a *answerer, images *data.Images, q question) (in model.Input, err error) {
	var picture *data.Picture
	if q.Image != "" {
		decoded, err := images.Read(q.Image)
		if err != nil {
			return in, err
		}
		prepared := a.Picture(decoded, a.aspect)
		picture = &prepared
	}
	batch, err := a.batch(picture, q.Text)
	return train.Input(batch), err
}
