package runs

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Sample is a line of samples.jsonl: the answer to a held-out row after some steps.
type Sample struct {
	Step     int    `json:"step"`   // completed optimizer steps
	Sample   int    `json:"sample"` // from 0; the same row each time
	ID       string `json:"id"`
	Picture  string `json:"picture"` // path of its first picture, as the row has it
	Question string `json:"question"`
	Expected string `json:"expected"` // the row's own answer
	Answer   string `json:"answer"`
	Cut      bool   `json:"cut,omitempty"` // the answer ended at the limit of tokens
}

// Thumbnail is a small picture of a sample.
type Thumbnail struct {
	Width, Height int
	JPEG          []byte
}

// ThumbnailFile is the thumbnail of a sample in a run folder.
func ThumbnailFile(dir string, sample int) string {
	return filepath.Join(dir, SamplesDir, fmt.Sprintf("%d.jpg", sample))
}

// Write writes the thumbnail of a sample into a run folder.
func (t Thumbnail) Write(dir string, sample int) error {
	return failure.Storage(checkpoints.ReplaceFile(ThumbnailFile(dir, sample), t.JPEG))
}

// markdown is a sample as TensorBoard shows it. Texts are set as code, so that nothing in them is taken for
// marks.
func (s Sample) markdown() string {
	var b strings.Builder
	for _, part := range []struct{ name, text string }{
		{"question", s.Question}, {"answer after step " + fmt.Sprint(s.Step), s.Answer}, {"expected", s.Expected}} {
		text := strings.ReplaceAll(part.text, "\n", "\n    ")
		fmt.Fprintf(&b, "%s:\n\n    %s\n\n", part.name, text)
	}
	return b.String()
}
