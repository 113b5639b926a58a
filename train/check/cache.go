package check

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/train/input"
)

// checkVersion changes when check finds something different in the same data.
const checkVersion = 2

// sourceChecked is the result for one data set, and the files that it is valid for.
type sourceChecked struct {
	Found   DataChecked `json:"found"`
	Skipped []int       `json:"skipped"` // all rows that a run leaves out
	Images  []string    `json:"images"`  // every image that was checked
	Stamps  []int64     `json:"stamps"`  // of each, by picture.Images.Stamp
}

// cacheFile is the result's cache file, named by everything that the result depends on except the image files.
func (c *rowCheck) cacheFile() (string, error) {
	dir, err := checkpoints.CacheFolder()
	if err != nil {
		return "", err
	}
	entry := c.Stage.Data[c.source]
	prints, err := c.Fingerprints()
	if err != nil {
		return "", err
	}
	key := fmt.Sprintln(checkVersion, c.beside(), c.path(), entry.Images, picture.ArchiveStamps(entry.Images),
		c.Sources[c.source].Fingerprint(), prints["tokenizer"], prints["tokenizer.legacy"],
		c.Stage.Template, c.Stage.Turn, c.Stage.MaxPixels, c.Encoder.Settings(), c.options.Decode,
		c.options.NoTokens)
	return filepath.Join(dir, "check", input.HashOf([]byte(key))+".json"), nil
}

// beside hashes the files that say how to read the tokenizer's file.
func (c *rowCheck) beside() (hashes []string) {
	file, _ := c.Tokenizer.File()
	for _, name := range []string{"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"} {
		text, _ := os.ReadFile(filepath.Join(filepath.Dir(file), name)) // most folders lack some
		hashes = append(hashes, input.HashOf(text))
	}
	return hashes
}

// cached returns the result of an earlier check of the same rows and images, if there is one.
func (c *rowCheck) cached() (sourceChecked, bool) {
	var s sourceChecked
	file, err := c.cacheFile()
	if err != nil {
		return s, false
	}
	text, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(text, &s) != nil || len(s.Images) != len(s.Stamps) {
		return s, false
	}
	return s, c.unchanged(s)
}

// unchanged says whether all image files are as they were.
func (c *rowCheck) unchanged(s sourceChecked) bool {
	var next atomic.Int64
	var changed atomic.Bool
	var working sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(s.Images)) && !changed.Load(); i = next.Add(1) - 1 {
				if c.Dataset.Images[c.source].Stamp(s.Images[i]) != s.Stamps[i] {
					changed.Store(true)
				}
			}
		})
	}
	working.Wait()
	return !changed.Load()
}

// keep saves the result for the next check. A cache that cannot be written is not an error.
func (c *rowCheck) keep(s sourceChecked) {
	file, err := c.cacheFile()
	if err != nil || os.MkdirAll(filepath.Dir(file), 0o777) != nil {
		return
	}
	text, err := json.Marshal(s)
	if err != nil {
		return
	}
	_ = checkpoints.ReplaceFile(file, text)
}
