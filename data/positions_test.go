package data

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// tiled gives an image a position for each tile of 100 pixels a side that it fills, so that small ones have none.
type tiled struct{}

func tilesOf(width, height int) int { return width / 100 * (height / 100) }

func (tiled) Of(_ bool, size picture.Size) (picture.Layout, error) {
	width, height, err := size()
	return picture.Flat(tilesOf(width, height)), err
}

func (tiled) String() string { return "tiles of 100 pixels" }

func supervised(label int32) bool { return label != Ignore }

// sizedRow is a row with images of any sizes in any places.
type sizedRow struct {
	rows.Record
	sizes [][2]int
}

func drawSizedRow(t *rapid.T) (r sizedRow) {
	word := rapid.SampledFrom([]string{"cat", "a dog sat", "why?"})
	for round := range rapid.IntRange(1, 3).Draw(t, "rounds") {
		question := word.Draw(t, "question")
		for range rapid.IntRange(0, 3).Draw(t, "images") {
			question += rows.ImageMark + rapid.SampledFrom([]string{"", " and "}).Draw(t, "between")
			side := rapid.IntRange(1, 399)
			r.sizes = append(r.sizes, [2]int{side.Draw(t, "width"), side.Draw(t, "height")})
			r.Images = append(r.Images, picture.Image{Path: fmt.Sprint(len(r.sizes), ".jpg")})
		}
		answer := rows.Turn{Role: "gpt", Text: fmt.Sprint("answer ", round)}
		r.Turns = append(r.Turns, rows.Turn{Role: "human", Text: question + word.Draw(t, "end")}, answer)
	}
	return r
}

// expanded is a sample whose every image takes one position with as many as its size asks for, and where its last image
// ends: what encoding with different numbers must give.
func (r sizedRow) expanded(single Sample) (whole Sample, lastImage int) {
	for i, id := range single.IDs {
		times := 1
		if id == ImageToken {
			size := r.sizes[len(whole.Images)]
			times = tilesOf(size[0], size[1])
			whole.Before = append(whole.Before, len(whole.IDs))
			whole.Images = append(whole.Images, picture.Picture{Layout: picture.Flat(times)})
			lastImage = len(whole.IDs) + times
		}
		whole.IDs = append(whole.IDs, slices.Repeat([]int32{id}, times)...)
		whole.Labels = append(whole.Labels, slices.Repeat(single.Labels[i:i+1], times)...)
	}
	return whole, lastImage
}

func (r sizedRow) encode(t *rapid.T, tokens *tokenizer.Tokenizer, maxLength int, p picture.Positions) (Sample, error) {
	template, err := OpenTemplate("v1")
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEncoder(tokens, template, maxLength, p)
	if err != nil {
		t.Fatal(err)
	}
	return e.Encode(r.Record, func(i int) (width, height int, err error) { return r.sizes[i][0], r.sizes[i][1], nil })
}

func TestEncodeGivesEachImageItsOwnPositions(t *testing.T) {
	tokens := tinyTokenizer(t, false)
	rapid.Check(t, func(t *rapid.T) {
		row := drawSizedRow(t)
		single, err := row.encode(t, tokens, 1<<20, picture.Grid(1))
		if err != nil {
			t.Fatal(err)
		}
		want, lastImage := row.expanded(single)
		maxLength := rapid.IntRange(1, want.Length()+2).Draw(t, "max_length")
		refused := ""
		if maxLength < want.Length() {
			want.Cut = want.Length() - maxLength
			want.IDs, want.Labels = want.IDs[:maxLength], want.Labels[:maxLength]
			if !slices.ContainsFunc(want.Labels, supervised) {
				refused = "hold no supervised token"
			}
			if lastImage > maxLength {
				refused = "image does not fit"
			}
		}
		got, err := row.encode(t, tokens, maxLength, tiled{})
		if refused != "" {
			if err == nil || !strings.Contains(err.Error(), refused) || !errors.Is(err, picture.ErrRow) {
				t.Fatalf("error is %v, want %q", err, refused)
			}
			return
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
	})
}

func TestStretchesTellImagesOfDifferentPositionsApart(t *testing.T) {
	tokens := tinyTokenizer(t, false)
	text := func(stretches []Stretch) (all string) {
		for _, s := range stretches {
			all += s.Text
		}
		return all
	}
	rapid.Check(t, func(t *rapid.T) {
		row := drawSizedRow(t)
		single, err := row.encode(t, tokens, 1<<20, picture.Grid(1))
		if err != nil {
			t.Fatal(err)
		}
		sample, _ := row.expanded(single)
		got := Stretches(tokens, sample)
		var want, images []Stretch
		for i, image := range sample.Images {
			if image.Positions() > 0 {
				want = append(want, Stretch{Image: i + 1, Positions: image.Positions()})
			}
		}
		positions := 0
		for _, s := range got {
			positions += s.Positions
			if s.Image > 0 {
				images = append(images, s)
			}
		}
		if diff := cmp.Diff(want, images); diff != "" || positions != sample.Length() {
			t.Fatalf("%d of %d positions; images (-want +got):\n%s", positions, sample.Length(), diff)
		}
		if want := text(Stretches(tokens, single)); text(got) != want {
			t.Fatalf("the text is %q, want %q", text(got), want)
		}
	})
}

func TestCollateLaysOutImagesOfDifferentPositions(t *testing.T) {
	tokens := tinyTokenizer(t, false)
	rapid.Check(t, func(t *rapid.T) {
		var samples []Sample
		var want Batch // what does not follow from single samples
		length := int64(0)
		for index := range rapid.IntRange(1, 4).Draw(t, "samples") {
			row := drawSizedRow(t)
			sample, err := row.encode(t, tokens, 1<<20, tiled{})
			if err != nil {
				t.Fatal(err)
			}
			for i, size := range row.sizes {
				sample.Images[i].Pixels = []uint8{uint8(index), uint8(i), 0}
				sample.Images[i].Width, sample.Images[i].Height = size[0], size[1]
				want.Pixels = append(want.Pixels, sample.Images[i].Pixels...)
				want.Tiles = append(want.Tiles, Tile{Sample: index, Width: size[0], Height: size[1]})
			}
			for i, id := range sample.IDs {
				if id == ImageToken {
					want.Rows = append(want.Rows, int64(len(want.Rows)))
					want.Slots = append(want.Slots, length+int64(i))
				}
			}
			want.Starts = append(want.Starts, length)
			length += int64(sample.Length())
			samples = append(samples, sample)
		}
		want.Starts = append(want.Starts, length)
		got, err := Collate(samples, ordinaryMemory)
		if err != nil {
			t.Fatal(err)
		}
		layout := Batch{Starts: got.Starts, Slots: got.Slots, Rows: got.Rows, Tiles: got.Tiles, Pixels: got.Pixels}
		if diff := cmp.Diff(want, layout); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		broken := rapid.IntRange(0, len(samples)-1).Draw(t, "broken")
		if images := samples[broken].Images; len(images) > 0 {
			images[rapid.IntRange(0, len(images)-1).Draw(t, "image")].Layout.Features++
			_, err := Collate(samples, ordinaryMemory)
			if err == nil || !strings.Contains(err.Error(), "image placeholders") {
				t.Fatalf("an image of one position too many: %v", err)
			}
		}
	})
}

// An error that keeps an image's size from being known is the error of the row.
func TestEncodePassesAnErrorOfTheSizeOn(t *testing.T) {
	gone := errors.New("disk is gone")
	e, err := NewEncoder(tinyTokenizer(t, false), openTemplate(t, "v1"), 2048, tiled{})
	if err != nil {
		t.Fatal(err)
	}
	sizes := func(int) (width, height int, err error) { return 0, 0, gone }
	if _, err := e.Encode(catRecord(), sizes); !errors.Is(err, gone) {
		t.Errorf("error is %v", err)
	}
}

// A prompt has as many positions as its image takes in training, and the image itself.
func TestPromptHasThePositionsOfItsPicture(t *testing.T) {
	e, err := NewEncoder(tinyTokenizer(t, false), openTemplate(t, "v1"), 2048, tiled{})
	if err != nil {
		t.Fatal(err)
	}
	asked := picture.Picture{Pixels: []uint8{1, 2, 3}, Width: 250, Height: 340}
	got, err := e.Prompt("", "Hi?", asked)
	if err != nil {
		t.Fatal(err)
	}
	want := asked
	want.Layout = picture.Flat(2 * 3)
	if diff := cmp.Diff([]picture.Picture{want}, got.Images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if n := countIDs(got.IDs, ImageToken); n != 6 || asked.Positions() != 0 ||
		slices.ContainsFunc(got.Labels, supervised) {
		t.Errorf("%d image positions, labels %v; the picture asked about has become %+v", n, got.Labels, asked)
	}
}
