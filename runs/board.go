package runs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/runs/tensorboard"
)

// Board shows a run in TensorBoard: it repeats what metrics.jsonl and eval.jsonl say, in event files. A nil Board shows
// nothing.
type Board struct {
	out    *tensorboard.Writer
	shown  map[string]int // the last step that is in the files, by what tags begin with; of samples by tag
	recipe string         // as it is in the files
}

// What the tags of metrics and of evaluations begin with. Those of a benchmark go on with its name.
const (
	trainTag     = "train"
	evalTag      = "eval"
	benchmarkTag = "benchmark"
)

// OpenBoard opens the board of a run folder that goes on after a step, once its metrics and evaluations have been cut
// to that step. What the files lack of them is written first: a run of an earlier version has none, and they may have
// been damaged or removed. The recipe is shown as text, and settings, its keys that change numbers, as a row of the
// table of runs.
func OpenBoard(dir string, step int, recipe string, settings map[string]string) (_ *Board, err error) {
	b := &Board{shown: map[string]int{}}
	if b.out, err = tensorboard.Open(filepath.Join(dir, TensorBoardDir), step, b.kept); err != nil {
		return nil, err
	}
	err = b.begin(step, recipe, settings)
	if err == nil {
		err = b.repeat(filepath.Join(dir, MetricsFile), step, func(line []byte) (tagged, error) {
			return tagged{tag: trainTag, line: line}, nil
		})
	}
	if err == nil {
		err = b.repeat(filepath.Join(dir, EvalFile), step, evaluated)
	}
	if err == nil {
		err = b.repeatSamples(filepath.Join(dir, SamplesFile), step)
	}
	if err != nil {
		b.out.Close()
		return nil, err
	}
	return b, nil
}

const recipeTag = "recipe"

// What tags of samples begin with; their number follows.
const (
	pictureTag = "eval/picture/"
	answerTag  = "eval/answer/"
)

// kept takes note of an event that is in the files.
func (b *Board) kept(e tensorboard.Event) {
	for _, v := range e.Values {
		group, rest, _ := strings.Cut(v.Tag, "/")
		if group == benchmarkTag {
			name, _, _ := strings.Cut(rest, "/")
			group += "/" + name
		}
		switch {
		case v.Kind == tensorboard.Text && v.Tag == recipeTag:
			b.recipe = v.Text
		case v.Kind == tensorboard.Scalar:
			b.shown[group] = int(e.Step)
		default:
			b.shown[v.Tag] = int(e.Step)
		}
	}
}

// tagged is what is shown of a line of a file: its numbers, under a tag.
type tagged struct {
	tag  string
	line []byte
}

// evaluated is what is shown of a line of eval.jsonl: of a benchmark its figures.
func evaluated(line []byte) (tagged, error) {
	var l EvalLine
	if err := json.Unmarshal(line, &l); err != nil || l.Benchmark == nil {
		return tagged{evalTag, line}, err
	}
	figures, err := json.Marshal(l.Benchmark.Metrics)
	return tagged{benchmarkTag + "/" + l.Benchmark.Benchmark, figures}, err
}

// begin writes the recipe, unless the files have it.
func (b *Board) begin(step int, recipe string, settings map[string]string) error {
	text := "    " + strings.ReplaceAll(strings.TrimRight(recipe, "\n"), "\n", "\n    ") // code, in Markdown
	if b.recipe == text {
		return nil
	}
	return b.out.Append(step,
		tensorboard.Value{Tag: recipeTag, Kind: tensorboard.Text, Text: text},
		tensorboard.Experiment(settings, trainTag+"/loss", evalTag+"/loss"),
		tensorboard.Session(settings, time.Now()))
}

// repeatSamples is repeat for answers to held-out rows.
func (b *Board) repeatSamples(path string, until int) error {
	return eachLine(path, until, func(_ int, line []byte) error {
		var s Sample
		if json.Unmarshal(line, &s) != nil {
			return nil
		}
		if last, shown := b.shown[answerTag+strconv.Itoa(s.Sample)]; shown && s.Step <= last {
			return nil
		}
		return b.Sample(s)
	})
}

// repeat writes the lines of a file up to a step that are not shown yet.
func (b *Board) repeat(path string, until int, read func(line []byte) (tagged, error)) error {
	return eachLine(path, until, func(step int, line []byte) error {
		shown, err := read(line)
		if err != nil || step <= b.shown[shown.tag] {
			return nil
		}
		return b.add(shown.tag, step, shown.line)
	})
}

// eachLine visits the lines of a file up to a step: evaluations are not cut if the recipe has none any more.
func eachLine(path string, until int, visit func(step int, line []byte) error) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failure.Storage(err)
	}
	defer file.Close()
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		var at struct {
			Step int `json:"step"`
		}
		if err != nil {
			return failure.Storage(err)
		}
		if json.Unmarshal(line, &at) != nil || at.Step > until {
			continue
		}
		if err := visit(at.Step, line); err != nil {
			return err
		}
	}
}

// Step shows a step's metrics.
func (b *Board) Step(m Metrics) error { return b.show(trainTag, m.Step, m) }

// Evaluation shows the loss on held-out rows.
func (b *Board) Evaluation(e Evaluation) error { return b.show(evalTag, e.Step, e) }

// Benchmark shows the figures of a benchmark.
func (b *Board) Benchmark(r Benchmarked) error {
	return b.show(benchmarkTag+"/"+r.Benchmark, r.Step, r.Metrics)
}

// Sample shows an answer to a held-out row.
func (b *Board) Sample(s Sample) error {
	if b == nil {
		return nil
	}
	return b.out.Append(s.Step, tensorboard.Value{Tag: answerTag + strconv.Itoa(s.Sample), Kind: tensorboard.Text,
		Text: s.markdown()})
}

// Picture shows the picture of a held-out row, once.
func (b *Board) Picture(step, sample int, t Thumbnail) error {
	tag := pictureTag + strconv.Itoa(sample)
	if b == nil {
		return nil
	}
	if _, shown := b.shown[tag]; shown {
		return nil
	}
	return b.out.Append(step, tensorboard.Value{Tag: tag, Kind: tensorboard.Picture, Width: t.Width, Height: t.Height,
		Encoded: t.JPEG})
}

func (b *Board) show(tag string, step int, record any) error {
	if b == nil {
		return nil
	}
	line, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return b.add(tag, step, line)
}

// Finished says that the run has come to its end.
func (b *Board) Finished(step int) error {
	if b == nil {
		return nil
	}
	return b.out.Append(step, tensorboard.SessionEnd(time.Now()))
}

// Sync flushes what is shown to the disk.
func (b *Board) Sync() error {
	if b == nil {
		return nil
	}
	return b.out.Sync()
}

// Close flushes and closes the board.
func (b *Board) Close() error {
	if b == nil {
		return nil
	}
	return b.out.Close()
}

// add writes every number of a line under the name of its key, all but the step.
func (b *Board) add(tag string, step int, line []byte) error {
	var values []tensorboard.Value
	err := numbers(json.NewDecoder(bytes.NewReader(line)), tag, func(name string, v float64) {
		if name != tag+"/step" {
			values = append(values, tensorboard.Value{Tag: name, Number: float32(v)})
		}
	})
	if err != nil {
		return err
	}
	return b.out.Append(step, values...)
}

// numbers visits the numbers of a JSON value in their order, also those that are not finite and so written as strings.
// Keys are joined by slashes.
func numbers(in *json.Decoder, name string, visit func(name string, v float64)) error {
	token, err := in.Token()
	if err != nil {
		return err
	}
	switch v := token.(type) {
	case float64:
		visit(name, v)
	case string:
		if f, err := strconv.ParseFloat(v, 64); err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
			visit(name, f)
		}
	case json.Delim: // of an object: lines hold no lists
		for in.More() {
			key, err := in.Token()
			if err != nil {
				return err
			}
			if err := numbers(in, fmt.Sprint(name, "/", key), visit); err != nil {
				return err
			}
		}
		_, err = in.Token() // its end
	}
	return err
}
