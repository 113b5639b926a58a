package data

import (
	"context"
	"encoding/json"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Special values in ids and labels, as in the original (llava/constants.py).
const (
	Ignore     = -100 // a label that is not supervised
	ImageToken = -200 // an id that stands for one row of image features; never looked up in the embedding
)

// Sample is one row ready for training: every number is final. IDs and Labels have the same length.
// Each image stands in IDs as a run of ImageToken, as long as its Positions in Images say, and its labels are Ignore.
type Sample struct {
	ID     string            // for messages: the row's id, or its number
	Row    int               // row number in its data set
	Data   int               // index in the recipe's data list
	Folder string            // of its first image, as FolderOf gives it; "" without an image
	IDs    []int32           // token ids, ImageToken where features go
	Labels []int32           // Labels[t] is IDs[t] if position t is supervised, else Ignore (not shifted)
	Images []picture.Picture // in order of their placeholders
	Before []int             // the position that each image stands before, or starts at
	Cut    int               // positions lost to max_length
	Place  int               // in its step, from 0; set by the Loader
}

// Tile says where a [3,S,S] block of Batch.Pixels comes from.
type Tile struct {
	Sample        int // index within the batch
	Width, Height int // of the whole image
}

// Map is the map of an image's features that is interpolated to fewer rows and columns (LLaVA-OneVision).
type Map struct {
	From              []int64 // [Rows*Columns] rows of the tiles' concatenated features, by rows of the map
	Rows, Columns     int
	ToRows, ToColumns int
}

// View says that positions [From, To) see images of their sample: of its tiles, which begin with First, those up to
// End, of which Last is the first of the last image.
type View struct {
	From, To         int64 // positions of the batch
	First, Last, End int64 // tiles of the batch
}

// Batch is a micro-batch: its samples lie end to end, T positions in all. There is no padding.
type Batch struct {
	IDs       []int64 // [T] token ids; 0 at positions that receive image features
	Labels    []int64 // [T] Labels[t] is the token that position t predicts (already shifted by one), or Ignore
	Positions []int64 // [T] position within the sample, from 0
	Starts    []int64 // [n+1] sample k is positions Starts[k] to Starts[k+1]
	Pixels    []uint8 // [tiles,3,S,S], or as picture.Picture has them for two towers
	Tiles     []Tile  // [tiles]
	Slots     []int64 // positions that receive a row of features, ascending
	Rows      []int64 // row that each of Slots receives: of the tiles' concatenated features, then of Maps
	Maps      []Map   // of images that take fewer positions than they have features
	Views     []View  // which positions see which images, where images take no positions
	Newlines  []int64 // positions that receive the learned newline behind a row of an image's map, ascending

	Supervised []int64  // the positions whose label is not Ignore, ascending
	FromImage  []bool   // for each of Supervised: whether its sample has an image
	Images     int      // in all samples
	Samples    []string // [n] sample ids, for messages
	Origins    []Origin // [n] which rows the samples are
	Places     []int    // [n] each sample's place in its step, before it was cut into micro-batches
}

// Origin is where a sample comes from.
type Origin struct {
	Data   int    // index in the recipe's data list
	Row    int    // row number in it, from 0
	Folder string // Sample.Folder
}

// Step holds the samples of one optimizer step, already split into micro-batches.
type Step struct {
	Number  int     // 0 for the first optimizer step
	Epoch   float64 // passes over the data completed at the end of this step
	Rows    []Drawn // all rows that the order gave to the step, including skipped ones, in order
	Micro   []Batch // those that this process computes, in order
	Shared  []Size  // of all micro-batches in order, whoever computes them; nil where one process computes all
	Skipped []Skip  // samples of this step that were left out
	Cut     int     // samples of this step that were cut to max_length
}

// Sizes are those of all micro-batches of the step, in order, whoever computes them.
func (s Step) Sizes() []Size {
	if s.Shared != nil {
		return s.Shared
	}
	all := make([]Size, len(s.Micro))
	for i, b := range s.Micro {
		all[i] = Size{Samples: len(b.Samples), Images: b.Images, Positions: len(b.IDs), Supervised: len(b.Supervised)}
		for _, image := range b.FromImage {
			if image {
				all[i].FromImage++
			}
		}
	}
	return all
}

// Size is what a micro-batch holds, and which process computes it.
type Size struct {
	Rank       int
	Samples    int
	Images     int
	Positions  int
	Supervised int // supervised tokens
	FromImage  int // of them, those of samples with an image
}

// Skip is a sample that was left out, with the reason.
type Skip struct {
	Data   int    `json:"data"` // index in the recipe's data list
	Row    int    `json:"row"`
	ID     string `json:"id,omitempty"`
	Step   int    `json:"step"` // from 1, as in metrics.jsonl
	Reason string `json:"reason"`
}

// UnmarshalJSON also reads the lines of earlier versions, in which "source" stands for "data".
func (s *Skip) UnmarshalJSON(text []byte) error {
	type plain Skip // without this method
	line := struct {
		*plain
		Source *int `json:"source"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(text, &line); err != nil {
		return err
	}
	if line.Source != nil {
		s.Data = *line.Source
	}
	return nil
}

// ImageSizes gives the width and height in pixels of a row's image, by its number from 0. It is called only if the
// image's number of positions depends on them.
type ImageSizes func(image int) (width, height int, err error)

// Prepare turns a record into a sample. It is safe for concurrent use.
type Prepare func(ctx context.Context, source, row int) (Sample, error)

// Length is how many positions the sample takes.
func (s Sample) Length() int { return len(s.IDs) }

// Drawn is a row that the order gave to a step.
type Drawn struct {
	Data    int  // index in the recipe's data list
	Row     int  // row number in it, from 0
	Skipped bool // it could not be used and was left out
}
