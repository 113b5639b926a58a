package answer

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/input"
)

// Questionnaire is `generate --batch`: a file of questions, Size of which are answered at a time.
type Questionnaire struct {
	Questions, Images, Out string
	Size                   int
	How                    model.Sampling
}

// Run answers the questions that have no answer yet, in order, to the file Out or, if that is "", to out.
func (b Questionnaire) Run(out io.Writer, report runs.Observer, named Named) error {
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
	a, err := OpenAnswerer(named, report)
	if err != nil {
		return err
	}
	defer a.Close()
	images, err := picture.OpenImages(b.Images, a.Images())
	if err != nil {
		return err
	}
	defer images.Close()
	write, closeOut, err := b.writer(out)
	if err != nil {
		return err
	}
	done := len(all) - len(open)
	for group := range slices.Chunk(open, b.Size) {
		if err = b.answer(a, images, group, named.Path, write); err != nil {
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

// answer answers a group of questions in one batch.
func (b Questionnaire) answer(
	a *Answerer, images *picture.Images, group []question, modelID string, write func(record any) error,
) error {
	prompts := make([]model.Prompt, len(group))
	texts, streams := make([]strings.Builder, len(group)), make([]*stream, len(group))
	for i, q := range group {
		in, err := b.prompt(a, images, q)
		if err == nil {
			err = a.LLaVA.CheckPrompt(in)
		}
		if err != nil {
			return fmt.Errorf("questions: %s line %d, question_id %s: %w",
				filepath.Base(b.Questions), q.line, q.ID, err)
		}
		streams[i] = a.stream(func(text string) { texts[i].WriteString(text) })
		prompts[i] = model.Prompt{Input: in, Stream: uint64(q.index), Emit: streams[i].token}
	}
	if err := a.LLaVA.GenerateBatch(prompts, a.stopping(b.How)); err != nil {
		return fmt.Errorf("questions: %s lines %d to %d: %w",
			filepath.Base(b.Questions), group[0].line, group[len(group)-1].line, err)
	}
	for i, q := range group {
		streams[i].end()
		if err := write(newQuestionAnswer(q, strings.TrimSpace(texts[i].String()), modelID)); err != nil {
			return err
		}
	}
	return nil
}

// prompt reads a question's images and makes the model's input of both.
func (b Questionnaire) prompt(a *Answerer, images *picture.Images, q question) (in model.Input, err error) {
	var about []picture.Picture
	for _, image := range q.Images {
		decoded, err := images.Decode(image)
		if err != nil {
			return in, err
		}
		about = append(about, a.Picture(decoded, a.Notes.Aspect, len(q.Images) > 1))
	}
	batch, err := a.Batch(q.System, q.Text, about...)
	return input.Input(batch), err
}
