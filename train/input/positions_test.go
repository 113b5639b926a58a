package input

import (
	"errors"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
)

// columns gives an image a position for every 10 pixels of its width.
type columns struct{}

func (columns) Of(_ bool, size picture.Size) (picture.Layout, error) {
	width, _, err := size()
	return picture.Flat(width / 10), err
}

func (columns) String() string { return "columns of 10 pixels" }

// openSized opens a data set: row 0 has images that are 40 and 90 pixels wide, row 1 only text, row 2 an image that
// does not exist, and row 3 both such an image and invalid text.
func openSized(t *testing.T, positions picture.Positions) *Dataset {
	t.Helper()
	dir := t.TempDir()
	sizes := map[string]image.Rectangle{"a.png": image.Rect(0, 0, 40, 20), "b.png": image.Rect(0, 0, 90, 30)}
	for name, size := range sizes {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(png.Encode(file, image.NewNRGBA(size)), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	path := datatest.WriteFile(t, dir, "rows.json", `[
		{"id": "pair", "image": ["a.png", "b.png"], "conversations": [
			{"from": "human", "value": "Is <image> like <image>?"}, {"from": "gpt", "value": "No."}]},
		{"id": "text", "conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes."}]},
		{"id": "absent", "image": "c.png", "conversations": [
			{"from": "human", "value": "<image>\nHi?"}, {"from": "gpt", "value": "Yes."}]},
		{"id": "empty", "image": "c.png", "conversations": [
			{"from": "human", "value": "<image>\nHi?"}, {"from": "gpt", "value": ""}]}
	]`)
	opened, err := tokenizer.OpenTokenizer("../../data/tokenizer/testdata/text_tiny.model", "false")
	if err != nil {
		t.Fatal(err)
	}
	stage := &recipes.Stage{
		Template: "v1", Image: "square", Order: "sequential", Epochs: 1, Batch: recipes.Batch{Global: 2},
		Data: []recipes.Data{{Path: path, Images: dir, Weight: 1}},
	}
	preprocessor := &Preprocessor{Tokenizer: opened, Processors: []*picture.Processor{picture.CLIPProcessor(28)}}
	r := &recipes.Recipe{Model: recipes.Model{Language: recipes.Language{MaxLength: 512}}}
	d, err := OpenDataset(r, stage, preprocessor, runs.Silent{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	template, err := data.OpenTemplate(stage.Template)
	if err != nil {
		t.Fatal(err)
	}
	if d.Encoder, err = data.NewEncoder(opened, template, 512, positions); err != nil {
		t.Fatal(err)
	}
	return d
}

// Everything that encodes a row gives its images the positions for their sizes: a run, which decodes them; a plan,
// which reads headers; the shard writer; a preview.
func TestPositionsFollowTheSizeOfEachPicture(t *testing.T) {
	d := openSized(t, columns{})
	sample, err := d.Prepare(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	pixels := make([]uint8, 3*28*28) // black images stay black
	want := []picture.Picture{
		{Pixels: pixels, Width: 40, Height: 20, Layout: picture.Flat(4)},
		{Pixels: pixels, Width: 90, Height: 30, Layout: picture.Flat(9)},
	}
	if diff := cmp.Diff(want, sample.Images); diff != "" {
		t.Fatalf("images (-want +got):\n%s", diff)
	}
	words, err := d.Prepare(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := data.Collate([]data.Sample{words, sample}, func(n int) []uint8 { return make([]uint8, n) })
	if err != nil {
		t.Fatal(err)
	}
	in := Input(batch)
	if len(in.Slots) != 4+9 || len(in.Rows) != 4+9 || !slices.Equal(in.PictureSamples, []int{1, 1}) {
		t.Errorf("%d slots for %d rows of images of samples %v", len(in.Slots), len(in.Rows), in.PictureSamples)
	}
	planned, err := d.Encode(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample.IDs, planned.IDs); diff != "" || len(planned.Images) != 2 {
		t.Errorf("%d images without pixels; ids (-run +plan):\n%s", len(planned.Images), diff)
	}
	for _, pixels := range []bool{false, true} {
		s := sharder{Dataset: d, options: ShardOptions{Pixels: pixels}}
		if m := s.row(0); m.err != nil || m.row.Tokens != sample.Length() {
			t.Errorf("a shard with pixels %v says %d tokens, want %d: %v", pixels, m.row.Tokens, sample.Length(), m.err)
		}
	}
	shown, err := d.preview("finetune", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var images []int
	for _, s := range shown.Stretches {
		if s.Image > 0 {
			images = append(images, s.Positions)
		}
	}
	if diff := cmp.Diff([]int{4, 9}, images); diff != "" {
		t.Errorf("a preview shows images of %v positions", images)
	}
}

// An image is decoded once, whether its size is asked for or not, and a row's text is checked before its images.
func TestReadSeesEachPictureOnce(t *testing.T) {
	for _, positions := range []picture.Positions{columns{}, picture.Grid(3)} {
		d := openSized(t, positions)
		seen := map[string]int{}
		see := func(image picture.Image, several bool) (picture.Picture, error) {
			seen[image.Path]++
			return d.picture(d.Images[0], image, several)
		}
		var faults []error
		for row := range d.Sources[0].Len() {
			_, _, err := d.Read(0, row, d.Encoder.Encode, see)
			faults = append(faults, err)
		}
		if diff := cmp.Diff(map[string]int{"a.png": 1, "b.png": 1, "c.png": 1}, seen); diff != "" {
			t.Errorf("%v: images seen (-want +got):\n%s", positions, diff)
		}
		_, absent := d.Images[0].Read("c.png")
		if faults[0] != nil || faults[1] != nil || faults[2] == nil || faults[2].Error() != absent.Error() {
			t.Errorf("%v: errors %v, want only that c.png is missing, in row 2", positions, faults)
		}
		if faults[3] == nil || faults[3].Error() == absent.Error() || !errors.Is(faults[3], picture.ErrRow) {
			t.Errorf("%v: row 3 is refused for %v, not for its text", positions, faults[3])
		}
	}
}

// Rows are grouped by the folder of their images, however the path is written.
func TestFolderOfAbsolutePaths(t *testing.T) {
	d := openSized(t, columns{})
	dir, err := filepath.Abs(d.Stage.Data[0].Images)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"coco/train/1.jpg": "coco/train", dir + "/coco/train/1.jpg": "coco/train",
		dir + "/./coco/train/1.jpg": "coco/train",
		dir + "/a.png":              ".", "/elsewhere/b/c.png": "/elsewhere",
	} {
		r := rows.Record{Images: []picture.Image{{Path: path}}}
		if got := d.FolderOf(0, r); got != want {
			t.Errorf("the folder of %s is %q, want %q", path, got, want)
		}
		if text := d.FolderOf(0, rows.Record{}); text != "" {
			t.Errorf("the folder of a row of text is %q", text)
		}
	}
	_, sample, err := d.Read(0, 0, func(r rows.Record, sizes data.ImageSizes) (data.Sample, error) {
		r.Images[0].Path = filepath.Join(dir, "coco/a.png")
		return data.Sample{Images: make([]picture.Picture, 2)}, nil
	}, func(picture.Image, bool) (picture.Picture, error) { return picture.Picture{}, nil })
	if err != nil || sample.Folder != "coco" {
		t.Errorf("a sample's folder is %q, %v", sample.Folder, err)
	}
}

// If the number of positions does not depend on the size, a plan reads no image.
func TestAGridNeedsNoPicture(t *testing.T) {
	sample, err := openSized(t, picture.Grid(3)).Encode(t.Context(), 0, 2) // whose image is missing
	if diff := cmp.Diff([]picture.Picture{{Layout: picture.Flat(3)}}, sample.Images); err != nil || diff != "" {
		t.Errorf("%v; images (-want +got):\n%s", err, diff)
	}
	if _, err := openSized(t, columns{}).Encode(t.Context(), 0, 2); !errors.Is(err, picture.ErrRow) {
		t.Errorf("an image that must be read and is missing: %v", err)
	}
}
