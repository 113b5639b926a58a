package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/llavatrain/llavatrain/checkpoints"
)

// outcome is what the tests said about a mutant.
type outcome string

const (
	killed       outcome = "killed" // a test failed
	survived     outcome = "survived"
	timeout      outcome = "timeout"
	doesNotBuild outcome = "does-not-build"
)

// result is a line of the results.
type result struct {
	mutant
	Outcome outcome `json:"outcome"`
	Seconds float64 `json:"seconds"` // for building and testing
}

// results is the file of all results so far.
type results struct {
	*checkpoints.JSONL
	known map[mutant]outcome
}

// openResults reads the results at path, which need not exist, to append to them. A torn last line is cut off.
func openResults(path string) (*results, error) {
	if err := checkpoints.TruncateJSONL(path, func([]byte) bool { return true }); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	known := map[mutant]outcome{}
	for number, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if len(text) == 0 {
			break
		}
		var r result
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("file %q, line %d: %w", path, number+1, err)
		}
		known[r.mutant] = r.Outcome
	}
	file, err := checkpoints.OpenJSONL(path)
	return &results{file, known}, err
}

func (r *results) add(line result) error {
	r.known[line.mutant] = line.Outcome
	return r.Append(line)
}
