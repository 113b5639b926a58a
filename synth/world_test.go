package synth

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/synth/chat"
	"github.com/llavatrain/llavatrain/synth/synthtest"
)

// world is a folder with annotated images, an endpoint, and a recipe.
type world struct {
	t      *testing.T
	dir    string
	recipe string
	writer *synthtest.Writer
}

// newWorld has n scenes, each with an image, two captions and a box.
func newWorld(t *testing.T, n int, rest string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), writer: &synthtest.Writer{}}
	server := httptest.NewServer(w.writer)
	t.Cleanup(server.Close)
	w.annotate("a", n)
	w.recipe = filepath.Join(w.dir, "r.yaml")
	w.write("r.yaml", fmt.Sprintf("synth:\n  endpoint: {url: %s/v1, model: m, patience: 2s}\n", server.URL)+
		"  scenes: [{format: coco, captions: a.json, instances: a_boxes.json, images: a}]\n"+rest)
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o666); err != nil {
		w.t.Fatal(err)
	}
}

// annotate writes NAME.json, NAME_boxes.json and the images in the folder NAME.
func (w *world) annotate(name string, n int) {
	w.t.Helper()
	type object = map[string]any
	var images, captions, boxes []object
	if err := os.Mkdir(filepath.Join(w.dir, name), 0o777); err != nil {
		w.t.Fatal(err)
	}
	for i := range n {
		file := fmt.Sprintf("%s-%d.png", name, i)
		images = append(images, object{"id": i, "file_name": file, "width": 8, "height": 6})
		for j := range 2 {
			captions = append(captions, object{"id": 2*i + j, "image_id": i,
				"caption": fmt.Sprintf("caption %d of picture %s number %d", j, name, i)})
		}
		boxes = append(boxes, object{"id": i, "image_id": i, "category_id": 1, "bbox": []int{1, 1, 3, 2}, "iscrowd": 0})
		out, err := os.Create(filepath.Join(w.dir, name, file))
		if err == nil {
			err = png.Encode(out, image.NewGray(image.Rect(0, 0, 8, 6)))
			out.Close()
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	for file, content := range map[string]object{
		name + ".json": {"images": images, "annotations": captions},
		name + "_boxes.json": {"images": images, "annotations": boxes,
			"categories": []object{{"id": 1, "name": "hat"}}},
	} {
		text, err := json.Marshal(content)
		if err != nil {
			w.t.Fatal(err)
		}
		w.write(file, string(text))
	}
}

// quiet is an observer that keeps what it is told.
type quiet struct{ said []string }

func (q *quiet) Say(text string) { q.said = append(q.said, text) }
func (q *quiet) Progress(State)  {}

// open reads the recipe with changes, for a run in a folder of its own.
func (w *world) open(folder string, set ...string) *Run {
	w.t.Helper()
	run, err := w.read(folder, set...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { run.Close() })
	return run
}

func (w *world) read(folder string, set ...string) (*Run, error) {
	w.t.Helper()
	recipe, err := recipes.Load(w.recipe, append(set, "runs="+folder))
	if err != nil {
		w.t.Fatal(err)
	}
	return Read(w.t.Context(), recipe, 0, &quiet{})
}

// make makes rows and returns the summary, and the error of asking.
func (w *world) make(ctx context.Context, folder string, set ...string) (*Summary, error) {
	w.t.Helper()
	run := w.open(folder, set...)
	client, err := chat.Open(run.Folder, run.Settings(nil))
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	stopped := run.Make(ctx, client, false, &quiet{})
	summary, err := run.Build(client)
	if err != nil {
		w.t.Fatal(err)
	}
	return summary, stopped
}

// file is a file of the run in a folder.
func (w *world) file(folder, name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, folder, "r", "synth", name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// rows are the ids of rows.json with their texts.
func (w *world) rows(folder string) map[string]string {
	w.t.Helper()
	var list []struct {
		ID, Image     string
		Conversations []struct{ From, Value string }
	}
	if err := json.Unmarshal([]byte(w.file(folder, RowsFile)), &list); err != nil {
		w.t.Fatal(err)
	}
	rows := map[string]string{}
	for _, row := range list {
		if len(row.Conversations) == 0 || !strings.HasPrefix(row.Conversations[0].Value, "<image>\n") {
			w.t.Errorf("row %s begins with %+v", row.ID, row.Conversations)
		}
		rows[row.ID] = row.Image + fmt.Sprint(row.Conversations)
	}
	return rows
}
