package picture

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// preprocessed is what the processors of transformers and of LLaVA-NeXT make of the recorded images. Pictures are named
// below the folders parity-connectors/images, or parity-connectors and parity.
type preprocessed struct {
	Next      []preprocessedImage
	OneVision []preprocessedImage
	TrueSize  []struct {
		Image     string
		Next      recordedLayout `json:"llava_next_336"`
		OneVision recordedLayout `json:"onevision_384_max9"`
	} `json:"true_size"`
	NextConstants      constants `json:"next_constants"`
	OneVisionConstants constants `json:"onevision_constants"`
}

type preprocessedImage struct {
	recordedLayout
	Image        string
	Original     recordedLayout `json:"list_read_as_width_height"`
	OneOfSeveral *struct {
		Tokens int
		Hash   string `json:"tile_sha256"`
	} `json:"one_of_several"`
}

// recordedLayout has sizes as (width, height), grids as (columns, rows), and sizes of the map as (rows, columns).
type recordedLayout struct {
	Best, Grid, Resized, Paste, Unpadded, Downsampled []int
	Tiles, Tokens                                     int
	Hash                                              string `json:"tiles_sha256"`
}

// record is a layout in that form, with the hash of the tiles.
func record(l Layout, tiles []uint8) recordedLayout {
	r := recordedLayout{
		Best: []int{l.Pinpoint.Width, l.Pinpoint.Height}, Grid: []int{l.Columns, l.Rows},
		Resized: []int{l.Width, l.Height}, Paste: []int{l.Left, l.Top}, Unpadded: []int{l.Kept.Rows, l.Kept.Columns},
		Tiles: l.Tiles(), Tokens: l.Positions(), Hash: hashOf(tiles),
	}
	if l.ShrunkRows > 0 {
		r.Downsampled = []int{l.ShrunkRows, l.ShrunkColumns}
	}
	return r
}

func hashOf(tiles []uint8) string {
	sum := sha256.Sum256(tiles)
	return hex.EncodeToString(sum[:])
}

// constants are the settings of a small model.
type constants struct {
	Tile, Side int
	Pinpoints  [][]int `json:"pinpoints_height_width"`
	Max        int     `json:"max_tiles"`
	Mean, Std  [3]float64
}

// open is the model's tiling, with the list as transformers reads it, and its processor.
func (c constants) open(t *testing.T) (*Tiling, *Processor) {
	t.Helper()
	list, err := PairPinpoints(c.Pinpoints, c.Tile)
	if err != nil {
		t.Fatal(err)
	}
	tiling := &Tiling{Edge: c.Tile, Side: c.Side, Pinpoints: swapPinpoints(list), Max: c.Max,
		Merge: MergeSpatialUnpad, Features: c.Side * c.Side}
	if err := tiling.Check(); err != nil {
		t.Fatal(err)
	}
	return tiling, &Processor{Size: c.Tile, Filter: bicubic, Mean: c.Mean, Std: c.Std, Rescale: 1.0 / 255}
}

func readPreprocessed(t *testing.T) (p preprocessed) {
	t.Helper()
	text := readTestFile(t, datatest.Shared(t, "parity-connectors", "preprocess.json"))
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Next) == 0 || len(p.OneVision) == 0 || len(p.TrueSize) == 0 {
		t.Fatal("preprocess.json lacks a kind of records")
	}
	return p
}

// TestTilesEqualReference compares geometry, positions and every byte of the tiles with the processors of two small
// models, and with LLaVA-NeXT's own code for the same list read as (width, height).
func TestTilesEqualReference(t *testing.T) {
	p := readPreprocessed(t)
	for name, kind := range map[string]struct {
		constants constants
		images    []preprocessedImage
	}{"next": {p.NextConstants, p.Next}, "onevision": {p.OneVisionConstants, p.OneVision}} {
		tiling, processor := kind.constants.open(t)
		for _, want := range kind.images {
			what := name + " " + want.Image
			img := readPNG(t, datatest.Shared(t, "parity-connectors", "images", want.Image))
			l := tiling.Layout(img.W, img.H)
			got := record(l, processor.PrepareTiles(img, l))
			if diff := cmp.Diff(want.recordedLayout, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
			l = layoutOfLLaVANeXT(swapped(tiling), img.W, img.H)
			all := record(l, processor.PrepareTiles(img, l))
			original := recordedLayout{Grid: all.Grid, Unpadded: all.Unpadded, Tokens: all.Tokens, Hash: all.Hash}
			if diff := cmp.Diff(want.Original, original); diff != "" {
				t.Errorf("%s, original (-want +got):\n%s", what, diff)
			}
			if several := want.OneOfSeveral; several != nil {
				l = tiling.Single()
				hash := hashOf(processor.PrepareTiles(img, l))
				if n := l.Positions(); l.Tiles() != 1 || n != several.Tokens || hash != several.Hash {
					t.Errorf("%s, one of several: %d positions, hash %s, want %+v", what, n, hash, *several)
				}
			}
		}
	}
}

// TestTilesEqualReferenceAtTrueSize is the same at the sizes of LLaVA-1.6 and LLaVA-OneVision.
func TestTilesEqualReferenceAtTrueSize(t *testing.T) {
	published := publishedTilings(t)
	for _, want := range readPreprocessed(t).TrueSize {
		folder := "parity-connectors"
		if !strings.HasPrefix(want.Image, "images/") {
			folder = "parity"
		}
		img := readPNG(t, datatest.Shared(t, folder, want.Image))
		for _, model := range []struct {
			tiling    *Tiling
			processor *Processor
			want      recordedLayout
		}{
			{swapped(published["336"]), CLIPProcessor(336), want.Next},
			{swapped(published["384"]), SigLIPProcessor(384), want.OneVision},
		} {
			l := model.tiling.Layout(img.W, img.H)
			got := record(l, model.processor.PrepareTiles(img, l))
			if diff := cmp.Diff(model.want, got); diff != "" {
				t.Errorf("%s at %d (-want +got):\n%s", want.Image, l.Edge, diff)
			}
		}
	}
}

// TestStoredTiles compares with the tensors of preprocess.safetensors: whole tiles, the first lines of the normalised
// tile 0, and the rows of the positions.
func TestStoredTiles(t *testing.T) {
	p := readPreprocessed(t)
	models := map[string]constants{"next": p.NextConstants, "onevision": p.OneVisionConstants}
	tensors := readTensors(t, datatest.Shared(t, "parity-connectors", "preprocess.safetensors"))
	counts := map[string]int{}
	for name, want := range tensors {
		first, last := strings.Index(name, "."), strings.LastIndex(name, ".")
		tiling, processor := models[name[:first]].open(t)
		img := readPNG(t, datatest.Shared(t, "parity-connectors", "images", name[first+1:last]))
		l := tiling.Layout(img.W, img.H)
		got := processor.PrepareTiles(img, l)
		switch name[last+1:] {
		case "tiles":
		case "map":
			got = littleEndian(l.AppendRows(nil))
		case "pixel_values":
			got = firstLines(floats(processor, got[:3*l.Edge*l.Edge]), l.Edge, len(want)/(4*3*l.Edge))
		default:
			t.Errorf("tensor %s is of an unknown kind", name)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs", name)
		}
		counts[name[last+1:]]++
	}
	if counts["tiles"] == 0 || counts["map"] == 0 || counts["pixel_values"] == 0 {
		t.Errorf("tensors lack a kind: %v", counts)
	}
	t.Logf("compared %v", counts)
}

// littleEndian is rows as a tensor of int32.
func littleEndian(rows []int64) (raw []byte) {
	for _, row := range rows {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(int32(row)))
	}
	return raw
}

// firstLines is a tensor of float32 with the first lines of each channel of a tile [3,edge,edge].
func firstLines(tile []float32, edge, lines int) (raw []byte) {
	for c := range 3 {
		for _, x := range tile[c*edge*edge:][:lines*edge] {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
	}
	return raw
}

// recordedModel is what two small models made of rows: llava-next.json and llava-onevision.json.
type recordedModel struct {
	Rows []struct {
		Sizes    [][2]int         `json:"image_sizes"`
		Geometry []recordedLayout // an image that is one of several has no grid
		Slots    [][2]int         // first position and number of each image
	}
	Padded []struct{ Slots [][2]int } `json:"padded_rows"` // rows with each image as one of several
}

// TestRowsEqualReference compares with the rows of features that two small models took for the positions of each image,
// among them images that are one of several.
func TestRowsEqualReference(t *testing.T) {
	p := readPreprocessed(t)
	compared := 0
	for name, constants := range map[string]constants{"llava-next": p.NextConstants,
		"llava-onevision": p.OneVisionConstants} {
		tiling, _ := constants.open(t)
		var model recordedModel
		text := readTestFile(t, datatest.Shared(t, "parity-connectors", name+".json"))
		if err := json.Unmarshal(text, &model); err != nil {
			t.Fatal(err)
		}
		tensors := readTensors(t, datatest.Shared(t, "parity-connectors", name+".safetensors"))
		for i, row := range model.Rows {
			for k, size := range row.Sizes {
				l := tiling.Layout(size[0], size[1])
				if row.Geometry[k].Grid == nil {
					l = tiling.Single()
				}
				key := fmt.Sprintf("row%d.map%d", i, k)
				want, stored := tensors[key]
				// What positions take of a map that is interpolated is not recorded.
				if stored == (l.ShrunkRows > 0) || stored && !bytes.Equal(littleEndian(l.AppendRows(nil)), want) {
					t.Errorf("%s %s differs", name, key)
				}
				n, w := l.Positions(), row.Geometry[k]
				if l.Tiles() != w.Tiles || n != w.Tokens || n != row.Slots[k][1] {
					t.Errorf("%s %s: %d tiles, %d positions, want %+v", name, key, l.Tiles(), n, w)
				}
				compared++
			}
		}
		for i, row := range model.Padded {
			for _, slot := range row.Slots {
				if n := tiling.Single().Positions(); n != slot[1] {
					t.Errorf("%s, padded row %d: %d positions, want %d", name, i, n, slot[1])
				}
				compared++
			}
		}
	}
	if compared == 0 {
		t.Error("no row has images")
	}
	t.Logf("compared %d images", compared)
}

// TestTilesArePlain: the tiles, cut without a canvas, equal those of a canvas that exists, by the plainest resizing.
func TestTilesArePlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		img := newRGB(rapid.IntRange(1, 24).Draw(t, "w"), rapid.IntRange(1, 24).Draw(t, "h"))
		copy(img.Pix, rapid.SliceOfN(rapid.Byte(), len(img.Pix), len(img.Pix)).Draw(t, "pixels"))
		p := SigLIPProcessor(7)
		p.Filter = rapid.IntRange(bilinear, bicubic).Draw(t, "filter")
		tiling := drawTiling(t, 8)
		l := tiling.Layout(img.W, img.H)
		want := channels(plainPillow13(img, l.Edge, l.Edge, p.Filter == bilinear), 0, 0, l.Edge)
		canvas := newRGB(l.Pinpoint.Width, l.Pinpoint.Height)
		picture := plainPillow13(img, l.Width, l.Height, p.Filter == bilinear)
		for y := range picture.H {
			copy(canvas.Pix[3*((l.Top+y)*canvas.W+l.Left):], picture.Pix[3*y*picture.W:][:3*picture.W])
		}
		for i := range l.Columns * l.Rows {
			want = append(want, channels(canvas, i%l.Columns*l.Edge, i/l.Columns*l.Edge, l.Edge)...)
		}
		if !bytes.Equal(p.PrepareTiles(img, l), want) {
			t.Fatalf("%dx%d, layout %+v: tiles differ", img.W, img.H, l)
		}
	})
}

// plainPillow13 resizes in the order of Pillow 13.
func plainPillow13(img *RGB, w, h int, bilinear bool) *RGB {
	if img.H > h && img.H-h > 2*(img.W-w) {
		return transpose(resizeWhole(transpose(img), h, w, bilinear))
	}
	return resizeWhole(img, w, h, bilinear)
}

func transpose(img *RGB) *RGB {
	out := newRGB(img.H, img.W)
	for y := range img.H {
		for x := range img.W {
			copy(out.Pix[3*(x*img.H+y):], img.Pix[3*(y*img.W+x):][:3])
		}
	}
	return out
}

// channels is a square of an image as [3,edge,edge].
func channels(img *RGB, left, top, edge int) (out []uint8) {
	for c := range 3 {
		for y := range edge {
			for x := range edge {
				out = append(out, img.Pix[3*((top+y)*img.W+left+x)+c])
			}
		}
	}
	return out
}

// TestTilesOfAStrip: an image of the most extreme shape allowed takes little more memory than its tiles.
func TestTilesOfAStrip(t *testing.T) {
	tiling := newTiling(t, 56, 4, "(1x1),...,(6x6)", 0)
	for _, strip := range []*RGB{newRGB(1, maxSide), newRGB(maxSide, 1)} {
		l := tiling.Layout(strip.W, strip.H)
		var got []uint8
		used := allocated(func() { got = CLIPProcessor(56).PrepareTiles(strip, l) })
		if used > 16<<20 || len(got) != l.Tiles()*3*56*56 {
			t.Errorf("%dx%d: %d values, %d bytes allocated", strip.W, strip.H, len(got), used)
		}
	}
}

func BenchmarkTiles(b *testing.B) {
	for name, size := range map[string][2]int{"640x480": {640, 480}, "480x640": {480, 640}, "4000x3000": {4000, 3000}} {
		for setting, tiling := range publishedTilings(b) {
			b.Run(name+"_"+setting, func(b *testing.B) {
				img := synthetic(size[0], size[1])
				p, l := CLIPProcessor(tiling.Edge), tiling.Layout(size[0], size[1])
				for b.Loop() {
					p.PrepareTiles(img, l)
				}
				b.ReportMetric(float64(l.Tiles()), "tiles")
			})
		}
	}
}
