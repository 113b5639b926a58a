package model

import (
	"fmt"
	"slices"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// LLaVA is a tower, a projector and a language model, and their parameters.
type LLaVA struct {
	Params    *nn.Params
	Tower     Tower
	Projector Projector
	Language  Language

	// ProjectorShape is what the projector makes of a tile.
	ProjectorShape ProjectorShape

	// Notes are what the user should know about where weights came from.
	Notes []string

	// Fingerprints identify the weights that each part was loaded from, by part; "random" for a part made from its
	// configuration.
	Fingerprints map[string]string

	// Settings are what the model computes apart from its weights: the fields of both configurations, by part and name.
	Settings map[string]string

	configs     folderConfigs
	newline     *nn.Param         // [D], behind each row of an image's map; nil if there is none
	identities  map[string]string // see identity.go
	tables      []*torch.Tensor   // [3,256] fp32, owned, of each tower: normalised value of each channel's pixel levels
	trainsTower bool
}

// Input is a micro-batch: n concatenated samples, T positions in all.
type Input struct {
	IDs       []int64      // [T] token ids; any valid id in the positions that receive features
	Positions []int64      // [T]
	Starts    []int64      // [n+1] offsets of the samples, and T
	Pixels    []uint8      // [tiles,3,S,S]; with two towers [tiles,3*S1*S1+3*S2*S2]
	Slots     []int64      // positions that receive features
	Rows      []int64      // which row each slot receives: of the projector's output [tiles*N,D], then of Maps
	Maps      []Map        // maps of features that are interpolated to fewer rows and columns
	Newlines  []int64      // positions that receive the learned newline
	Views     []View       // which positions see which images, for layers of cross-attention
	Wanted    []int64      // positions whose hidden state is wanted; nil for all
	Recompute nn.Recompute // what backward recomputes; "" is nothing

	DropoutKeys    []uint64 // [n] random keys of the samples' dropout; nil: nothing is dropped
	PictureSamples []int    // [tiles] which sample each tile belongs to; needed with DropoutKeys

	// Hooks are called around the decoder layers; nil for none. When the gradients of a layer's weights are complete,
	// those of all weights behind it are.
	Hooks *nn.Hooks

	Lap func(part string) // stopwatch: called when a part's forward work has been queued; nil: not called
}

// Map is a map of features that is interpolated, bilinearly, to fewer rows and columns (LLaVA-OneVision).
type Map struct {
	From              []int64 // [Rows*Columns] rows of the projector's output, by rows of the map
	Rows, Columns     int64
	ToRows, ToColumns int64
}

func (in Input) lap(part string) {
	if in.Lap != nil {
		in.Lap(part)
	}
}

// Pass is one forward pass, and what backward needs of it.
type Pass struct {
	Hidden *torch.Tensor // [N,D] hidden states of the wanted positions, after the final norm
	tape   *nn.Tape
	// What layers of cross-attention look at, [tiles*N,Dv], and the leaf in its place that collects their gradients:
	// with recomputation each layer has its own backward. nil without such layers, or if nothing behind it trains.
	media, seen *torch.Tensor
}

// Forward computes hidden states. Tensors that backward needs belong to s.
func (m *LLaVA) Forward(s *torch.Scope, in Input) Pass {
	device := m.Params.Device()
	ids := torch.From(s, in.IDs, []int64{int64(len(in.IDs))}, device)
	positions := torch.From(s, in.Positions, []int64{int64(len(in.Positions))}, device)
	pass := Pass{}
	language := LanguageInput{
		Positions:   positions,
		Starts:      in.Starts,
		Wanted:      in.Wanted,
		Recompute:   in.Recompute,
		DropoutKeys: in.DropoutKeys,
		Hooks:       in.Hooks,
	}
	if gated, ok := m.Projector.(*gatedProjector); ok {
		language.Embeddings = m.Language.Embed(s, ids) // [T,D]
		pass.media, pass.seen = m.look(s, in)          // [tiles*N,Dv]
		seen := gated.see(in.Views, &resampled{rows: pass.seen, dropout: m.pictureKeys(in)})
		keys := nn.DropoutKeys{Keys: in.DropoutKeys, Starts: in.Starts}
		language.Before = func(i int) nn.Layer { return gated.before(i, seen, keys) }
	} else {
		language.Embeddings = m.embed(s, ids, in) // [T,D]
	}
	out := m.Language.Forward(s, language)
	in.lap(recipes.PartLanguage)
	pass.Hidden, pass.tape = out.Hidden, out.Tape
	return pass
}

// look resamples the images for layers of cross-attention: the result [tiles*N,Dv], and the leaf that stands for it.
// Both are nil without images.
func (m *LLaVA) look(s *torch.Scope, in Input) (media, leaf *torch.Tensor) {
	if len(in.Pixels) == 0 {
		return nil, nil
	}
	media = m.project(s, in)
	if !media.RequiresGrad() {
		return media, media
	}
	return media, torch.Detach(s, media, true)
}

// project runs the tower and the projector over the images: [tiles*N,D], or [tiles*N,Dv] for layers of cross-attention.
func (m *LLaVA) project(s *torch.Scope, in Input) *torch.Tensor {
	keys := m.pictureKeys(in)
	features := m.Features(s, in.Pixels, keys) // [tiles*P,Dv]
	in.lap(recipes.PartVision)
	features = m.Projector.Forward(s, features, keys)
	in.lap(recipes.PartProjector)
	return features
}

// Backward adds the gradients of a scalar that was computed from p.Hidden to the trainable parameters.
func (p Pass) Backward(s *torch.Scope, scalar *torch.Tensor) {
	if !scalar.RequiresGrad() {
		return // no trainable parameter was used: text without images while only the projector trains
	}
	torch.Backward(scalar, nil)
	p.tape.Backward(s)
	if p.media == nil || p.media == p.seen {
		return
	}
	if grad := torch.Grad(s, p.seen); grad != nil {
		torch.Backward(p.media, grad)
	}
}

// embed looks up the ids and copies the images' features into their slots.
func (m *LLaVA) embed(s *torch.Scope, ids *torch.Tensor, in Input) *torch.Tensor { // [T] -> [T,D]
	words := m.Language.Embed(s, ids) // [T,D]
	if len(in.Slots) == 0 {
		return words
	}
	features := m.project(s, in)                                        // [R,D]
	features = m.shrink(s, features, in.Maps)                           // [R',D]
	features = torch.IndexSelect(s, features, 0, m.indices(s, in.Rows)) // [slots,D]
	words = torch.IndexCopy(s, words, m.indices(s, in.Slots), features)
	if n := int64(len(in.Newlines)); n > 0 {
		lines := torch.Expand(s, m.newline.Tensor(), n, m.newline.Shape[0]) // [n,D]
		words = torch.IndexCopy(s, words, m.indices(s, in.Newlines), lines)
	}
	return words
}

// shrink appends the interpolated maps to the projector's output: [R,D] -> [R+sum(ToRows*ToColumns),D].
func (m *LLaVA) shrink(s *torch.Scope, features *torch.Tensor, maps []Map) *torch.Tensor {
	if len(maps) == 0 {
		return features
	}
	parts := []*torch.Tensor{features}
	for _, p := range maps {
		grid := torch.IndexSelect(s, features, 0, m.indices(s, p.From)) // [Rows*Columns,D]
		parts = append(parts, p.interpolate(s, grid))
	}
	return torch.Cat(s, 0, parts...)
}

// Features runs the tower over images [n,3,S,S], or over those of two towers end to end: [n*P,Dv]. keys has one key for
// each image. A frozen tower builds no graph.
func (m *LLaVA) Features(s *torch.Scope, pixels []uint8, keys nn.DropoutKeys) *torch.Tensor {
	return s.Sub(func(s *torch.Scope) (features *torch.Tensor) {
		run := func() { features = m.Tower.Forward(s, m.normalized(s, pixels), keys) }
		if m.trainsTower {
			run()
		} else {
			torch.NoGrad(run)
		}
		return features
	})
}

// normalized is n images in the model's dtype, [n,3,S,S]; those of two towers end to end, [n,3*S1*S1+3*S2*S2].
func (m *LLaVA) normalized(s *torch.Scope, pixels []uint8) *torch.Tensor {
	n, tower := m.pictures(pixels), m.Tower.Describe()
	if tower.Second == nil {
		levels := torch.From(s, pixels, []int64{n, 3, tower.ImageSize, tower.ImageSize}, m.Params.Device())
		return torch.Normalize(s, levels, m.tables[0], m.Params.Dtype())
	}
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		var each []*torch.Tensor
		levels := torch.From(s, pixels, []int64{n, tower.Pixels()}, m.Params.Device())
		for i, table := range m.tables {
			values := torch.Normalize(s, tower.cut(s, levels, i), table, m.Params.Dtype()) // [n,3,S,S]
			each = append(each, torch.Reshape(s, values, n, -1))                           // [n,3*S*S]
		}
		return torch.Cat(s, 1, each...)
	})
}

// pictures is the number of images n in pixels.
func (m *LLaVA) pictures(pixels []uint8) int64 {
	return int64(len(pixels)) / m.Tower.Describe().Pixels()
}

func (m *LLaVA) indices(s *torch.Scope, index []int64) *torch.Tensor {
	return indices(s, index, m.Params.Device())
}

// indices copies an index to a device as a tensor; nil gives nil.
func indices(s *torch.Scope, index []int64, device torch.Device) *torch.Tensor {
	if index == nil {
		return nil
	}
	return torch.From(s, index, []int64{int64(len(index))}, device)
}

// SetNormalization sets the normalisation of each tower: table [towers*3*256] holds the normalised value of each pixel
// level of each channel.
func (m *LLaVA) SetNormalization(table []float32) error {
	const size = 3 * 256
	if towers := len(towersOf(m.Tower)); len(table) != towers*size {
		return fmt.Errorf("%d values of normalisation for %d tower(s), which take %d each", len(table), towers, size)
	}
	return torch.Do(func(s *torch.Scope) {
		for own := range slices.Chunk(table, size) {
			m.tables = append(m.tables, torch.Own(torch.From(s, own, []int64{3, 256}, m.Params.Device())))
		}
	})
}

// Free releases everything that the model holds.
func (m *LLaVA) Free() {
	m.Params.Free()
	for _, table := range m.tables {
		table.Free()
	}
	if owner, ok := m.Language.(interface{ Free() }); ok {
		owner.Free()
	}
}
