package data

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Collate lays samples end to end in one batch. pixels allocates the memory for Batch.Pixels; it is called once if
// there are images, and not at all otherwise.
//
// Labels are shifted left by one, so that Labels[t] is the token after position t; the last position of a sample
// predicts nothing.
func Collate(samples []Sample, pixels func(n int) []uint8) (Batch, error) {
	b := Batch{Starts: []int64{0}}
	next := nextRows{maps: countFeatures(samples)}
	for index, s := range samples {
		if err := checkImages(s); err != nil {
			return Batch{}, fmt.Errorf("sample %q (data[%d], row %d): %w", s.ID, s.Data, s.Row, err)
		}
		b.appendViews(s)
		slots := b.appendPositions(s)
		for _, image := range s.Images {
			b.appendRows(image.Layout, slots[:image.Positions()], &next)
			slots = slots[image.Positions():]
			for range image.Layout.Tiles() {
				b.Tiles = append(b.Tiles, Tile{Sample: index, Width: image.Width, Height: image.Height})
			}
		}
		b.Images += len(s.Images)
		b.Samples = append(b.Samples, s.ID)
		b.Origins = append(b.Origins, Origin{s.Data, s.Row, s.Folder})
		b.Places = append(b.Places, s.Place)
	}
	if err := b.copyPixels(samples, pixels); err != nil {
		return Batch{}, err
	}
	return b, nil
}

// appendViews says which positions see which images of a sample whose images take no positions: each text position sees
// those that stand before it.
func (b *Batch) appendViews(s Sample) {
	start, first := int64(len(b.IDs)), int64(len(b.Tiles))
	last, end := first, first
	for i, image := range s.Images {
		if image.Layout.Features > 0 {
			return
		}
		last, end = end, end+int64(image.Layout.Tiles())
		view := View{From: start + int64(s.Before[i]), To: start + int64(len(s.IDs)), First: first, Last: last,
			End: end}
		if i+1 < len(s.Images) {
			view.To = start + int64(s.Before[i+1])
		}
		if view.From < view.To { // nothing may stand between two images
			b.Views = append(b.Views, view)
		}
	}
}

// appendPositions appends a sample's positions and returns those of its images.
func (b *Batch) appendPositions(s Sample) (slots []int64) {
	for t, id := range s.IDs {
		at := int64(len(b.IDs))
		if id == ImageToken {
			id = 0
			slots = append(slots, at)
		}
		label := int32(Ignore)
		if t+1 < len(s.Labels) {
			label = s.Labels[t+1]
		}
		if label != Ignore {
			b.Supervised = append(b.Supervised, at)
			b.FromImage = append(b.FromImage, len(s.Images) > 0)
		}
		b.IDs = append(b.IDs, int64(id))
		b.Labels = append(b.Labels, int64(label))
		b.Positions = append(b.Positions, int64(t))
	}
	b.Starts = append(b.Starts, int64(len(b.IDs)))
	return slots
}

// nextRows are the numbers of the next image's rows: of its tiles' features, and of its map if it has one.
type nextRows struct{ features, maps int64 }

// countFeatures is how many rows all tiles of the samples have.
func countFeatures(samples []Sample) (rows int64) {
	for _, s := range samples {
		for _, image := range s.Images {
			rows += int64(image.Layout.Tiles() * image.Layout.Features)
		}
	}
	return rows
}

// appendRows says what each position of an image receives.
func (b *Batch) appendRows(l picture.Layout, slots []int64, next *nextRows) {
	shrunk := l.ShrunkRows > 0
	for i, row := range l.AppendRows(make([]int64, 0, len(slots))) {
		switch {
		case row == picture.Newline:
			b.Newlines = append(b.Newlines, slots[i])
			continue
		case shrunk && row >= int64(l.Features):
			row += next.maps - int64(l.Features)
		default:
			row += next.features
		}
		b.Slots = append(b.Slots, slots[i])
		b.Rows = append(b.Rows, row)
	}
	if shrunk {
		m := Map{Rows: l.Kept.Rows, Columns: l.Kept.Columns, ToRows: l.ShrunkRows, ToColumns: l.ShrunkColumns}
		for _, row := range l.AppendKept(nil) {
			m.From = append(m.From, next.features+row)
		}
		b.Maps = append(b.Maps, m)
		next.maps += int64(m.ToRows * m.ToColumns)
	}
	next.features += int64(l.Tiles() * l.Features)
}

// checkImages checks a sample's invariants: as many labels as ids, and for each image as many consecutive placeholders
// as it has positions.
func checkImages(s Sample) error {
	if len(s.Labels) != len(s.IDs) {
		return fmt.Errorf("labels: %d for %d ids", len(s.Labels), len(s.IDs))
	}
	var slots []int
	for t, id := range s.IDs {
		if id == ImageToken {
			slots = append(slots, t)
		}
	}
	positions := 0
	for _, image := range s.Images {
		positions += image.Positions()
	}
	if len(slots) != positions {
		return fmt.Errorf("image placeholders: %d for %d images with %d positions in total",
			len(slots), len(s.Images), positions)
	}
	for _, image := range s.Images {
		run := slots[:image.Positions()]
		slots = slots[image.Positions():]
		for k, t := range run {
			if t != run[0]+k {
				return fmt.Errorf("image placeholders: a gap before position %d, within an image", t)
			}
			if s.Labels[t] != Ignore {
				return fmt.Errorf("image placeholder at position %d: label %d, want %d", t, s.Labels[t], Ignore)
			}
		}
	}
	return nil
}

// copyPixels gathers the pixels of all tiles.
func (b *Batch) copyPixels(samples []Sample, pixels func(n int) []uint8) error {
	if len(b.Tiles) == 0 {
		return nil
	}
	size, at := 0, 0 // of a tile; of the next image
	for _, s := range samples {
		for _, image := range s.Images {
			tiles := image.Layout.Tiles()
			if size == 0 {
				size = len(image.Pixels) / tiles
				b.Pixels = pixels(len(b.Tiles) * size)
			}
			if len(image.Pixels) != tiles*size {
				return fmt.Errorf("sample %q: image of %d bytes in %d tiles, in a batch whose tiles have %d; "+
					"all must have the tower's size", s.ID, len(image.Pixels), tiles, size)
			}
			at += copy(b.Pixels[at:], image.Pixels)
		}
	}
	return nil
}

// Split cuts samples into groups of at most micro samples, in order. Only the last may be smaller.
func Split(samples []Sample, micro int) [][]Sample {
	return slices.Collect(slices.Chunk(samples, micro))
}

// SplitTokens packs samples into groups of at most tokens positions; a longer sample gets a group for itself. Packing
// is first-fit decreasing and depends only on the samples: they keep their order within a group, and groups are in the
// order of their first samples.
func SplitTokens(samples []Sample, tokens int) [][]Sample {
	longest := make([]int, len(samples))
	for i := range longest {
		longest[i] = i
	}
	slices.SortStableFunc(longest, func(a, b int) int { return cmp.Compare(samples[b].Length(), samples[a].Length()) })

	var groups [][]int
	var room []int
	for _, i := range longest {
		length := samples[i].Length()
		fit := slices.IndexFunc(room, func(left int) bool { return left >= length })
		if fit < 0 {
			fit = len(groups)
			groups = append(groups, nil)
			room = append(room, tokens)
		}
		groups[fit] = append(groups[fit], i)
		room[fit] -= length
	}
	for _, group := range groups {
		slices.Sort(group)
	}
	slices.SortFunc(groups, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	return gather(samples, groups)
}

func gather(samples []Sample, groups [][]int) [][]Sample {
	out := make([][]Sample, len(groups))
	for g, group := range groups {
		for _, i := range group {
			out[g] = append(out[g], samples[i])
		}
	}
	return out
}
