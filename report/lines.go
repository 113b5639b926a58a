package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// readLines reads a file with one JSON object per line; it has none if it is missing. A last line without its end is
// being written, or a kill cut it off: it is left out. Any other line that is no such object is an error.
func readLines[T any](path string) (list []T, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, failure.Input(err)
	}
	defer file.Close()
	for lines := bufio.NewReaderSize(file, 1<<16); ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return nil, failure.Input(err)
		}
		var record T
		if err := json.Unmarshal(line, &record); err != nil {
			return nil, failure.Inputf("%s: line %d is damaged: %w", path, len(list)+1, err)
		}
		list = append(list, record)
	}
}

// count is a number of things in words.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%s %s", grouped(n), many)
}
