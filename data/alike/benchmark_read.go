package alike

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Limits of a line. A question may contain its picture.
const (
	maxQuestion = 2 * picture.MaxFileBytes
	maxName     = 4096
)

// OpenBenchmark reads a file of one of three kinds, which it recognises by its content: questions in LLaVA's form, a
// JSON object a line with image and text; a data set in any form that [rows.Open] reads, whose human turns are the
// questions; or a list of pictures, a path or file name a line. Lines and rows that cannot be read are counted; a file
// that has nothing else is an error.
func OpenBenchmark(path string) (_ *Benchmark, err error) {
	defer failure.MarkInput(&err)
	b := &Benchmark{
		Path: path, seen: map[string]bool{}, numbers: map[int64]Place{}, names: map[string]Place{},
		questions: map[uint64]Place{},
	}
	first, err := firstLine(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case isQuestion(first):
		err = b.readLines(maxQuestion, b.readQuestion)
	case bytes.HasPrefix(first, []byte("{")) || !isName(first) || bytes.HasPrefix(first, []byte("[")):
		err = b.readRows()
	default:
		b.list = true
		err = b.readLines(maxName, b.readName)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	b.Numbered, b.Questions = len(b.numbers), len(b.questions)
	if b.Pictures = len(b.images); b.Pictures == 0 && b.Questions == 0 {
		if b.Fault == nil {
			b.Fault = errors.New("it has no pictures and no questions")
		}
		return nil, fmt.Errorf("%s: %w", path, b.Fault)
	}
	return b, nil
}

// firstLine is the first line of a text file that is not blank, or as much of it as a question may have.
func firstLine(path string) (line []byte, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, picture.Bare(err)
	case info.IsDir():
		return nil, errors.New("it is a folder: write a list of its pictures, a path a line, and give the list")
	case !info.Mode().IsRegular(): // opening a pipe would wait for its writer
		return nil, fmt.Errorf("not a regular file (%s)", info.Mode())
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, picture.Bare(err)
	}
	defer file.Close()
	text := bufio.NewReader(io.LimitReader(file, maxQuestion))
	for len(line) == 0 {
		if line, err = text.ReadBytes('\n'); err != nil && err != io.EOF {
			return nil, err
		}
		ended := err == io.EOF
		if line, err = rows.PlainText(line); err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); ended {
			break
		}
	}
	if len(line) == 0 {
		return nil, errors.New("it is empty")
	}
	return line, nil
}

// isQuestion says whether a line is a question and not a row of a data set.
func isQuestion(line []byte) bool {
	var keys map[string]json.RawMessage
	if json.Unmarshal(line, &keys) != nil || keys["conversations"] != nil || keys["messages"] != nil {
		return false
	}
	return keys["question_id"] != nil || keys["text"] != nil
}

// isName says whether a line may be a path.
func isName(line []byte) bool {
	return len(line) <= maxName && utf8.Valid(line) && !bytes.ContainsFunc(line, unicode.IsControl)
}

// readLines reads a text file line by line.
func (b *Benchmark) readLines(longest int, read func(line []byte, at int) error) error {
	file, err := os.Open(b.Path)
	if err != nil {
		return picture.Bare(err)
	}
	defer file.Close()
	b.Lines = true
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 0, maxName), longest)
	at := 1
	for ; lines.Scan(); at++ {
		line := lines.Bytes()
		if at == 1 {
			line, _ = rows.PlainText(line) // as firstLine has found
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := read(line, at); err != nil {
			b.fault(fmt.Errorf("line %d: %w", at, err))
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d bytes", at, longest)
	}
	return lines.Err()
}

// fault counts a line or row that cannot be read.
func (b *Benchmark) fault(err error) {
	if b.Unread++; b.Fault == nil {
		b.Fault = err
	}
}

func (b *Benchmark) readQuestion(line []byte, at int) error {
	q, err := rows.ParseQuestion(line)
	if err == nil {
		b.take(at, q.Images, q.Text)
	}
	return err
}

func (b *Benchmark) readName(line []byte, at int) error {
	if !isName(line) {
		return errors.New("it is not a path; a list of pictures has a path or file name a line")
	}
	b.take(at, []picture.Image{{Path: string(line)}})
	return nil
}

func (b *Benchmark) readRows() error {
	source, err := rows.Open(b.Path, nil)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), b.Path+": ")) // the caller names the file
	}
	defer source.Close()
	for row := range source.Len() {
		record, err := source.Record(row)
		switch {
		case errors.Is(err, picture.ErrRow):
			b.fault(fmt.Errorf("row %d: %w", row, err))
			continue
		case err != nil:
			return err
		}
		b.take(row, record.Images, Questions(record)...)
	}
	return nil
}

// Questions is the human turns of a row.
func Questions(r rows.Record) (texts []string) {
	for _, turn := range r.Turns {
		if turn.Role == "human" {
			texts = append(texts, turn.Text)
		}
	}
	return texts
}

// take notes what a line or row says. The first of several with the same picture or question stands for all.
func (b *Benchmark) take(at int, images []picture.Image, questions ...string) {
	for _, text := range questions {
		if key := Key(Question(text)); key != 0 {
			note(b.questions, key, Place{At: at})
		}
	}
	for _, image := range images {
		if image.Prepared != nil { // its file is not known
			continue
		}
		if image.File != nil {
			b.images = append(b.images, placedImage{image, Place{At: at}})
			continue
		}
		place := Place{at, image.Path}
		if number, ok := COCONumber(image.Path); ok {
			note(b.numbers, number, place)
		}
		name := within(image.Path)
		if b.seen[name] {
			continue
		}
		b.seen[name] = true
		b.images = append(b.images, placedImage{image, place})
		// A name alone, such as 001.jpg, says too little, unless names are all that the file has.
		if b.list || strings.Contains(name, "/") {
			b.names[name] = place
		}
	}
}

func note[K comparable](places map[K]Place, key K, place Place) {
	if _, ok := places[key]; !ok {
		places[key] = place
	}
}
