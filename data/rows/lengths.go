package rows

import (
	"errors"
	"path"
	"runtime"
	"strings"
	"sync"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Lengths is a rough length of every row for grouping, as the original counts it (modality_lengths in
// llava/train/train.py): the number of words in all turns, positive for a row with an image, negative without. A row
// that cannot be used counts as one word of text. It reads all the text again, on all cores, but no images if the
// format allows that; shards have the lengths in their index.
func Lengths(s Source) ([]int32, error) {
	if shards, ok := s.(*Shards); ok {
		return shards.lengths(), nil
	}
	lengths := make([]int32, s.Len())
	workers := runtime.GOMAXPROCS(0)
	faults := make([]error, workers)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for row := w * s.Len() / workers; row < (w+1)*s.Len()/workers; row++ {
				r, err := outline(s, row)
				if err != nil && !errors.Is(err, picture.ErrRow) {
					faults[w] = err
					return
				}
				lengths[row] = modalityLength(r)
			}
		})
	}
	wait.Wait()
	return lengths, errors.Join(faults...)
}

// outliner is a Source that can skip the bytes of a row's images.
type outliner interface {
	outline(row int) (Record, error)
}

// outline is a row whose Images have the right number but may be empty.
func outline(s Source, row int) (Record, error) {
	if o, ok := s.(outliner); ok {
		return o.outline(row)
	}
	return s.Record(row)
}

func modalityLength(r Record) int32 {
	words := 0
	for _, turn := range r.Turns {
		words += countWords(turn.Text)
	}
	words = max(words, 1) // 0 has no sign
	if len(r.Images) == 0 {
		return int32(-words)
	}
	return int32(words)
}

// countWords is len(text.split()) in Python.
func countWords(text string) int {
	words, blank := 0, true
	for _, r := range text {
		before := blank
		if blank = IsSpace(r); before && !blank {
			words++
		}
	}
	return words
}

// FolderOf returns the folder of an image, by the first two directories of its path, as in "coco/train2017": the data
// set within a mixture. It is "." for an image in no folder.
func FolderOf(image string) string {
	directories := strings.Split(path.Dir(path.Clean(image)), "/")
	return strings.Join(directories[:min(2, len(directories))], "/")
}
