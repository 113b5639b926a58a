package exam

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"strings"

	"golang.org/x/image/draw"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/answer"
	"github.com/llavatrain/llavatrain/train/input"
)

// answerTokens is the most tokens of an answer about a held-out row.
const answerTokens = 128

// Samples are held-out rows with pictures that a model is asked again and again, so that a reader sees what it learns.
type Samples struct {
	survey *answer.Survey
	list   []runs.Sample // without answers
	shown  []*picture.RGB
}

// openSamples takes about n rows of held-out data, evenly from all of it: of each n-th part the first row that can be
// asked, which has its pictures in its first question.
func openSamples(d *input.Dataset, n int) (*Samples, error) {
	s := &Samples{survey: &answer.Survey{Folder: d.Stage.Data[0].Images, Size: Together,
		How: model.Sampling{MaxTokens: answerTokens, TopP: 1}}}
	all := d.Order.Len()
	for part := range min(n, all) {
		for at := part * all / n; at < (part+1)*all/n; at++ {
			source, row := d.Order.At(int64(at))
			taken, err := s.take(d, source, row)
			if input.StorageFault(err) {
				return nil, err
			}
			if taken {
				break
			}
		}
	}
	if s.list == nil {
		return nil, failure.Inputf("samples: no row of eval.data has pictures that can be shown and a first question " +
			"about them (shards keep no pictures): leave samples out, or add such rows")
	}
	return s, nil
}

// take takes a row if it can be asked.
func (s *Samples) take(d *input.Dataset, source, row int) (bool, error) {
	record, err := d.Sources[source].Record(row)
	if err == nil {
		err = d.Encoder.Check(record)
	}
	if err != nil {
		return false, err
	}
	system, turns := "", record.Turns
	if turns[0].Role == "system" {
		system, turns = turns[0].Text, turns[1:]
	}
	if turns[0].Role != "human" || len(record.Images) == 0 || record.Images[0].Prepared != nil ||
		strings.Count(turns[0].Text, rows.ImageMark) != len(record.Images) {
		return false, nil
	}
	decoded, err := d.Images[source].Decode(record.Images[0])
	if err != nil {
		return false, err
	}
	id := record.ID
	if id == "" {
		id = fmt.Sprintf("row %d", row)
	}
	s.shown = append(s.shown, decoded)
	s.list = append(s.list, runs.Sample{Sample: len(s.list), ID: id, Picture: record.Images[0].Path,
		Question: strings.TrimSpace(strings.ReplaceAll(turns[0].Text, rows.ImageMark, "")), Expected: turns[1].Text})
	s.survey.Items = append(s.survey.Items, answer.Item{System: system, Text: turns[0].Text,
		Where: "held-out row " + id, Load: func() (files []picture.Image, err error) {
			for _, image := range record.Images {
				file, err := d.Images[source].File(image)
				if err != nil {
					return nil, err
				}
				files = append(files, picture.Image{Path: image.Path, File: file})
			}
			return files, nil
		}})
	return true, nil
}

// Len is how many rows there are.
func (s *Samples) Len() int { return len(s.list) }

// Ask has a model answer. A row that cannot be asked has the reason in place of an answer.
func (s *Samples) Ask(ctx context.Context, a *answer.Answerer, progress func(done int)) ([]runs.Sample, error) {
	survey := *s.survey
	answered := append([]runs.Sample(nil), s.list...)
	survey.Progress = progress
	survey.Write = func(i int, r answer.Reply) error {
		answered[i].Answer, answered[i].Cut = r.Text, r.Cut
		return nil
	}
	survey.Skip = func(i int, why error) error {
		answered[i].Answer = "not answered: " + why.Error()
		return nil
	}
	return answered, survey.Run(ctx, a)
}

// Thumbnail is the first picture of a row as a small JPEG.
func (s *Samples) Thumbnail(i int) (runs.Thumbnail, error) {
	const side = 336 // pixels, of the longer one
	from := s.shown[i].Image()
	width, height := s.shown[i].W, s.shown[i].H
	if longer := max(width, height); longer > side {
		width, height = max(1, width*side/longer), max(1, height*side/longer)
	}
	small := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.CatmullRom.Scale(small, small.Bounds(), from, from.Bounds(), draw.Src, nil)
	var encoded bytes.Buffer
	err := jpeg.Encode(&encoded, small, &jpeg.Options{Quality: 85})
	return runs.Thumbnail{Width: width, Height: height, JPEG: encoded.Bytes()}, err
}
