package chat

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Limits of OpenAI's Batch API, which others have taken over.
const (
	batchLines = 50_000
	batchBytes = 200_000_000
)

// partSuffix marks a batch file that must not be sent yet.
const partSuffix = ".part"

// BatchOut writes requests without an answer to batch files in a folder, one JSON object a line in the form of OpenAI's
// Batch API, and claims their keys: Run leaves them alone until BatchIn has read what became of them. next and done are
// those of Run. It returns the files that can be sent, also with an error: the budget may suffice for a part only.
func (c *Client) BatchOut(folder string, next func() (Request, bool), done func(Answer) Verdict) ([]string, error) {
	if err := c.mayWrite(); err != nil {
		return nil, err
	}
	if c.settings.Model == "" {
		return nil, failure.Inputf("no model is named")
	}
	address, err := url.Parse(c.settings.URL)
	if err != nil {
		return nil, failure.Inputf("the endpoint's address cannot be read")
	}
	w := &batchWriter{c: c, folder: folder, dialect: dialectOf(c.settings.Dialect, address)}
	if err := w.begin(); err != nil {
		return nil, err
	}
	r := newRun(context.Background(), c, next, done)
	for r.stop == nil {
		it, _ := r.pick(time.Now())
		if it == nil {
			break
		}
		r.stop = w.add(&it.request)
	}
	return w.names, errors.Join(r.stop, w.finish())
}

// batchWriter writes batch files one after the other.
type batchWriter struct {
	dialect
	c      *Client
	folder string
	names  []string // of finished files

	file   *os.File // nil: none was begun
	out    *bufio.Writer
	bytes  int
	record record
	bill   bill // what the requests in file should cost
}

// begin makes the folder, and ends what an earlier process was killed in: a file whose keys are claimed gets its name,
// others go.
func (w *batchWriter) begin() error {
	if err := os.MkdirAll(w.folder, 0o777); err != nil {
		return failure.Storage(err)
	}
	parts, err := filepath.Glob(filepath.Join(escapeGlob(w.folder), "batch-*"+partSuffix))
	for _, part := range parts {
		if path := strings.TrimSuffix(part, partSuffix); slices.Contains(w.c.index.batches, filepath.Base(path)) {
			err = errors.Join(err, os.Rename(part, path))
			w.names = append(w.names, path)
		} else {
			err = errors.Join(err, os.Remove(part))
		}
	}
	return failure.Storage(err)
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// add writes a request, into a new file if the last is full.
func (w *batchWriter) add(request *Request) error {
	if err := w.c.afford(bill{batch: w.bill.batch.plus(w.c.index.estimator.most(request))}); err != nil {
		return err
	}
	line := encode(struct {
		CustomID string          `json:"custom_id"`
		Method   string          `json:"method"`
		URL      string          `json:"url"`
		Body     json.RawMessage `json:"body"`
	}{request.Key, "POST", w.batchURL, request.body(w.c.settings.Model, w.limit)})
	if w.file != nil && (len(w.record.Keys) == batchLines || w.bytes+len(line) > batchBytes) {
		if err := w.finish(); err != nil {
			return err
		}
	}
	if err := w.open(); err != nil {
		return err
	}
	w.bytes += len(line)
	expected := w.c.index.estimator.mean(request)
	w.record.Keys, w.record.Prompts = append(w.record.Keys, request.Key), append(w.record.Prompts, expected.Prompt)
	w.record.Completion = expected.Completion
	w.bill.batch = w.bill.batch.plus(expected)
	_, err := w.out.Write(line)
	return failure.Storage(err)
}

func (w *batchWriter) open() (err error) {
	if w.file != nil {
		return nil
	}
	w.file, err = os.Create(filepath.Join(w.folder, "batch-new"+partSuffix))
	if err != nil {
		w.file = nil
		return failure.Storage(err)
	}
	w.out = bufio.NewWriterSize(w.file, 1<<20)
	w.bytes, w.bill, w.record = 0, bill{}, record{Record: recordBatch, At: milliseconds(time.Now())}
	return nil
}

// finish completes the file. It gets a name by which it could be sent once its keys are claimed.
func (w *batchWriter) finish() error {
	if w.file == nil {
		return nil
	}
	keys := sha256.Sum256([]byte(strings.Join(w.record.Keys, " ")))
	w.record.Batch = fmt.Sprintf("batch-%04d-%x.jsonl", len(w.c.index.batches)+1, keys[:4])
	path := filepath.Join(w.folder, w.record.Batch)
	err := errors.Join(w.out.Flush(), w.file.Sync(), w.file.Close())
	if err == nil {
		err = os.Rename(w.file.Name(), path+partSuffix)
	}
	if err != nil {
		os.Remove(w.file.Name())
	}
	w.file = nil
	if err == nil {
		err = w.c.write(w.record)
	}
	if err == nil {
		err = errors.Join(os.Rename(path+partSuffix, path), syncFolder(w.folder))
	}
	if err != nil {
		return failure.Storage(err)
	}
	w.names = append(w.names, path)
	return nil
}
