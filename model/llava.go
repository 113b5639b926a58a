package model

import (
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

	// Fingerprints identify the weights that each part was loaded from, by part; "random" for a part made from its
	// configuration.
	Fingerprints map[string]string

	// Settings are what the model computes apart from its weights: the fields of both configurations, by part and name.
	Settings map[string]string

	configs     folderConfigs
	identities  map[string]string // see identity.go
	table       *torch.Tensor     // [3,256] fp32: normalised value of each pixel level of each channel, owned
	trainsTower bool
}

// Input is a micro-batch: n concatenated samples, T positions in all.
type Input struct {
	IDs       []int64      // [T] token ids; any valid id in the positions that receive features
	Positions []int64      // [T]
	Starts    []int64      // [n+1] offsets of the samples, and T
	Pixels    []uint8      // [images,3,S,S]
	Slots     []int64      // positions that receive features
	Rows      []int64      // which row of the projector's output each slot receives
	Wanted    []int64      // positions whose hidden state is wanted; nil for all
	Recompute nn.Recompute // what backward recomputes; "" is nothing

	DropoutKeys    []uint64 // [n] random keys of the samples' dropout; nil: nothing is dropped
	PictureSamples []int    // [images] which sample each image belongs to; needed with DropoutKeys

	Lap func(part string) // stopwatch: called when a part's forward work has been queued; nil: not called
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
}

// Forward computes hidden states. Tensors that backward needs belong to s.
func (m *LLaVA) Forward(s *torch.Scope, in Input) Pass {
	device := m.Params.Device()
	ids := torch.From(s, in.IDs, []int64{int64(len(in.IDs))}, device)
	positions := torch.From(s, in.Positions, []int64{int64(len(in.Positions))}, device)
	out := m.Language.Forward(s, LanguageInput{
		Embeddings:  m.embed(s, ids, in), // [T,D]
		Positions:   positions,
		Starts:      in.Starts,
		Wanted:      in.Wanted,
		Recompute:   in.Recompute,
		DropoutKeys: in.DropoutKeys,
	})
	in.lap(recipes.PartLanguage)
	return Pass{Hidden: out.Hidden, tape: out.Tape}
}

// Backward adds the gradients of a scalar that was computed from p.Hidden to the trainable parameters.
func (p Pass) Backward(s *torch.Scope, scalar *torch.Tensor) {
	if !scalar.RequiresGrad() {
		return // no trainable parameter was used: text without images while only the projector trains
	}
	torch.Backward(scalar, nil)
	p.tape.Backward(s)
}

// embed looks up the ids and copies the images' features into their slots.
func (m *LLaVA) embed(s *torch.Scope, ids *torch.Tensor, in Input) *torch.Tensor { // [T] -> [T,D]
	words := m.Language.Embed(s, ids) // [T,D]
	if len(in.Slots) == 0 {
		return words
	}
	keys := m.pictureKeys(in)
	seen := m.Features(s, in.Pixels, keys) // [images*P,Dv]
	in.lap(recipes.PartVision)
	features := m.Projector.Forward(s, seen, keys) // [R,D]
	in.lap(recipes.PartProjector)
	features = torch.IndexSelect(s, features, 0, m.indices(s, in.Rows)) // [slots,D]
	return torch.IndexCopy(s, words, m.indices(s, in.Slots), features)
}

// Features runs the tower over images [n,3,S,S]: [n*P,Dv]. keys has one key for each image. A frozen tower builds no
// graph.
func (m *LLaVA) Features(s *torch.Scope, pixels []uint8, keys nn.DropoutKeys) *torch.Tensor {
	size := m.Tower.Describe().ImageSize
	shape := []int64{m.pictures(pixels), 3, size, size}
	return s.Sub(func(s *torch.Scope) (features *torch.Tensor) {
		run := func() {
			levels := torch.From(s, pixels, shape, m.Params.Device())
			features = m.Tower.Forward(s, torch.Normalize(s, levels, m.table, m.Params.Dtype()), keys)
		}
		if m.trainsTower {
			run()
		} else {
			torch.NoGrad(run)
		}
		return features
	})
}

// pictures is the number of images n in pixels [n,3,S,S].
func (m *LLaVA) pictures(pixels []uint8) int64 {
	size := m.Tower.Describe().ImageSize
	return int64(len(pixels)) / (3 * size * size)
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

// SetNormalization sets the tower's normalisation: table [3*256] holds the normalised value of each pixel level of
// each channel.
func (m *LLaVA) SetNormalization(table []float32) error {
	return torch.Do(func(s *torch.Scope) {
		m.table = torch.Own(torch.From(s, table, []int64{3, 256}, m.Params.Device()))
	})
}

// Free releases everything that the model holds.
func (m *LLaVA) Free() {
	m.Params.Free()
	if m.table != nil {
		m.table.Free()
	}
	if owner, ok := m.Language.(interface{ Free() }); ok {
		owner.Free()
	}
}
