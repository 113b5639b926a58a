package train

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// benchRow is the lengths of one conversation.
type benchRow struct {
	Image bool     `json:"image"`
	Turns [][2]int `json:"turns"`

	size [2]int // of the image, with tiles
}

// benchSizes are the widths and heights of the images with tiles, in turn: those of photos and screenshots.
var benchSizes = [][2]int{{640, 480}, {480, 640}, {500, 375}, {640, 427}, {1024, 768}, {375, 500}, {1000, 300},
	{300, 200}}

// rows reads the rows of the file, or makes some up: 6 of 7 with an image, one to six turns. Stage 1 uses only rows
// with images.
func (b Bench) rows() (rows []benchRow, err error) {
	if b.Rows != "" {
		text, err := os.ReadFile(b.Rows)
		if err == nil {
			err = json.Unmarshal(text, &rows)
		}
		if err != nil {
			return nil, failure.Inputf("rows: %w", err)
		}
	}
	if len(rows) == 0 {
		rows = madeUpRows(512)
	}
	for i := range rows {
		rows[i].size = benchSizes[i%len(benchSizes)]
	}
	if b.Stage == 1 {
		rows = slices.DeleteFunc(rows, func(r benchRow) bool { return !r.Image })
	}
	if len(rows) == 0 {
		return nil, failure.Inputf("rows: %s has no row with an image, and stage 1 uses only those", b.Rows)
	}
	if i := slices.IndexFunc(rows, func(r benchRow) bool { return len(r.Turns) == 0 }); i >= 0 {
		return nil, failure.Inputf("rows: row %d of %s has no turns", i, b.Rows)
	}
	return rows, nil
}

func madeUpRows(n int) (rows []benchRow) {
	random := rand.New(rand.NewPCG(2, 0))
	for range n {
		row := benchRow{Image: random.IntN(7) > 0}
		for range 1 + random.IntN(6) {
			row.Turns = append(row.Turns, [2]int{10 + random.IntN(20), 3 + random.IntN(60)})
		}
		rows = append(rows, row)
	}
	return rows
}

// step makes step i from the rows in order, with random ids and pixels.
func (b Bench) step(i int, rows []benchRow, t *trainer, random *rand.Rand) (data.Step, error) {
	vocabulary := int32(t.model.Language.Describe().VocabSize)
	st := data.Step{Number: i}
	for m := range b.accum() {
		var samples []data.Sample
		for k := range b.Batch {
			row := rows[((i*b.accum()+m)*b.Batch+k)%len(rows)]
			samples = append(samples, b.sample(row, t, vocabulary, random))
		}
		batch, err := data.Collate(samples, func(n int) []uint8 { return make([]uint8, n) })
		if err != nil {
			return st, err
		}
		st.Micro = append(st.Micro, batch)
	}
	return st, nil
}

func (b Bench) accum() int { return max(1, b.Accum) }

// layout is how an image lies, by its size if there are tiles.
func (b Bench) layout(t *trainer, size [2]int) picture.Layout {
	shape := t.model.ProjectorShape
	if !b.Tiles {
		return picture.Flat(int(shape.Tokens))
	}
	edge, merge := int(t.model.Tower.Describe().ImageSize), picture.MergeSpatialUnpad
	if shape.Side == 0 {
		merge = picture.MergeFlat
	}
	tiling := picture.Tiling{Edge: edge, Side: int(shape.Side), Features: int(shape.Tokens), Merge: merge}
	for _, grid := range [][2]int{{1, 2}, {2, 1}, {2, 2}, {3, 1}, {1, 3}} {
		tiling.Pinpoints = append(tiling.Pinpoints, picture.Pinpoint{Width: grid[0] * edge, Height: grid[1] * edge})
	}
	return tiling.Layout(size[0], size[1])
}

func (b Bench) sample(r benchRow, t *trainer, vocabulary int32, random *rand.Rand) data.Sample {
	maxLength := 2048
	if b.Tiles {
		maxLength = 4096
	}
	s := data.Sample{IDs: []int32{1}, Labels: []int32{data.Ignore}}
	if r.Image {
		layout, edge := b.layout(t, r.size), t.model.Tower.Describe().ImageSize
		s.Before = []int{len(s.IDs)}
		for range layout.Positions() {
			s.IDs, s.Labels = append(s.IDs, data.ImageToken), append(s.Labels, data.Ignore)
		}
		pixels := make([]uint8, int64(layout.Tiles())*3*edge*edge)
		for i := range pixels {
			pixels[i] = uint8(random.Uint32())
		}
		s.Images = []picture.Picture{{Pixels: pixels, Layout: layout}}
	}
	turns := r.Turns
	if b.Stage == 1 { // a caption of ordinary length
		turns = [][2]int{{0, max(8, min(r.Turns[0][1], 24))}}
	}
	for _, turn := range turns {
		for i := range turn[0] + turn[1] {
			id, label := 3+random.Int32N(vocabulary-4), int32(data.Ignore)
			if i >= turn[0] {
				label = id
			}
			s.IDs, s.Labels = append(s.IDs, id), append(s.Labels, label)
		}
	}
	n := min(maxLength, len(s.IDs))
	s.IDs, s.Labels = s.IDs[:n], s.Labels[:n]
	return s
}
