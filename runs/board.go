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
	out      *tensorboard.Writer
	trained  int    // the last step of metrics that is in the files
	assessed int    // the last step of evaluations
	recipe   string // as it is in the files
}

// What the tags of metrics and of evaluations begin with.
const (
	trainTag = "train"
	evalTag  = "eval"
)

// OpenBoard opens the board of a run folder that goes on after a step, once its metrics and evaluations have been cut
// to that step. What the files lack of them is written first: a run of an earlier version has none, and they may have
// been damaged or removed. The recipe is shown as text, and settings, its keys that change numbers, as a row of the
// table of runs.
func OpenBoard(dir string, step int, recipe string, settings map[string]string) (_ *Board, err error) {
	b := &Board{}
	if b.out, err = tensorboard.Open(filepath.Join(dir, TensorBoardDir), step, b.kept); err != nil {
		return nil, err
	}
	err = b.begin(step, recipe, settings)
	if err == nil {
		err = b.repeat(filepath.Join(dir, MetricsFile), trainTag, b.trained, step)
	}
	if err == nil {
		err = b.repeat(filepath.Join(dir, EvalFile), evalTag, b.assessed, step)
	}
	if err != nil {
		b.out.Close()
		return nil, err
	}
	return b, nil
}

const recipeTag = "recipe"

// kept takes note of an event that is in the files.
func (b *Board) kept(e tensorboard.Event) {
	for _, v := range e.Values {
		switch {
		case v.Kind == tensorboard.Text && v.Tag == recipeTag:
			b.recipe = v.Text
		case strings.HasPrefix(v.Tag, trainTag+"/"):
			b.trained = int(e.Step)
		case strings.HasPrefix(v.Tag, evalTag+"/"):
			b.assessed = int(e.Step)
		}
	}
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

// repeat writes the lines of a file that come after one step, up to another: evaluations are not cut if the recipe has
// none any more.
func (b *Board) repeat(path, tag string, after, until int) error {
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
		if json.Unmarshal(line, &at) != nil || at.Step <= after || at.Step > until {
			continue
		}
		if err := b.add(tag, at.Step, line); err != nil {
			return err
		}
	}
}

// Step shows a step's metrics.
func (b *Board) Step(m Metrics) error { return b.show(trainTag, m.Step, m) }

// Evaluation shows the result of an evaluation.
func (b *Board) Evaluation(e Evaluation) error { return b.show(evalTag, e.Step, e) }

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
