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
	for index, s := range samples {
		if err := checkImages(s); err != nil {
			return Batch{}, fmt.Errorf("sample %q (data[%d], row %d): %w", s.ID, s.Data, s.Row, err)
		}
		b.appendPositions(s)
		for _, image := range s.Images {
			b.Tiles = append(b.Tiles, Tile{Sample: index, Width: image.Width, Height: image.Height})
		}
		b.Samples = append(b.Samples, s.ID)
		b.Origins = append(b.Origins, Origin{s.Data, s.Row, s.Folder})
		b.Places = append(b.Places, s.Place)
	}
	if err := b.copyPixels(samples, pixels); err != nil {
		return Batch{}, err
	}
	return b, nil
}

func (b *Batch) appendPositions(s Sample) {
	for t, id := range s.IDs {
		at := int64(len(b.IDs))
		if id == ImageToken {
			id = 0
			b.Slots = append(b.Slots, at)
			b.Rows = append(b.Rows, int64(len(b.Rows))) // an image has as many rows of features as positions
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
		positions += image.Positions
	}
	if len(slots) != positions {
		return fmt.Errorf("image placeholders: %d for %d images with %d positions in total",
			len(slots), len(s.Images), positions)
	}
	for _, image := range s.Images {
		run := slots[:image.Positions]
		slots = slots[image.Positions:]
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

func (b *Batch) copyPixels(samples []Sample, pixels func(n int) []uint8) error {
	if len(b.Tiles) == 0 {
		return nil
	}
	var images []picture.Picture
	for _, s := range samples {
		images = append(images, s.Images...)
	}
	size := len(images[0].Pixels)
	b.Pixels = pixels(len(images) * size)
	for i, image := range images {
		if len(image.Pixels) != size {
			return fmt.Errorf("sample %q: image of %d bytes in a batch with one of %d; all must have the tower's size",
				samples[b.Tiles[i].Sample].ID, len(image.Pixels), size)
		}
		copy(b.Pixels[i*size:], image.Pixels)
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
