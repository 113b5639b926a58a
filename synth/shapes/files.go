package shapes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
)

// row is one sample in LLaVA's JSON.
type row struct {
	ID            string    `json:"id"`
	Image         string    `json:"image,omitempty"`
	Conversations []message `json:"conversations"`
}

type message struct {
	From  string `json:"from"` // human or gpt
	Value string `json:"value"`
}

// picture is a scene with the name of its file.
type picture struct {
	name  string
	scene scene
}

func itemName(set string, index int) string { return fmt.Sprintf("%s-%05d", set, index) }

// dialog turns questions into a conversation whose first turn starts with its subject: an image placeholder or a
// description.
func dialog(about string, asks []ask) []message {
	var messages []message
	for i, a := range asks {
		text := a.text
		if i == 0 {
			text = about + "\n" + text
		}
		messages = append(messages, message{"human", text}, message{"gpt", a.answer})
	}
	return messages
}

// writeArray writes items as a JSON array, one item per line.
func writeArray[T any](path string, items []T) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // "<image>" stays readable
	out.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := encoder.Encode(item); err != nil {
			return fmt.Errorf("rows for %s: %w", path, err)
		}
	}
	out.WriteString("]\n")
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	return nil
}

// writePictures paints on all processors. After an error no further image is started.
func writePictures(folder string, pictures []picture, progress func(done, total int)) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("images: %w", err)
	}
	var (
		begun   atomic.Int64
		mutex   sync.Mutex // guards done, failed and calls of progress
		done    int
		failed  error
		workers sync.WaitGroup
	)
	finish := func(err error) (goOn bool) {
		mutex.Lock()
		defer mutex.Unlock()
		if failed == nil {
			failed = err
		}
		if done++; progress != nil && failed == nil {
			progress(done, len(pictures))
		}
		return failed == nil
	}
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				i := int(begun.Add(1)) - 1
				if i >= len(pictures) || !finish(writePicture(folder, pictures[i])) {
					return
				}
			}
		})
	}
	workers.Wait()
	return failed
}

func writePicture(folder string, p picture) error {
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := encoder.Encode(&out, paint(p.scene)); err != nil {
		return fmt.Errorf("image %s: %w", p.name, err)
	}
	if err := os.WriteFile(filepath.Join(folder, p.name), out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}
