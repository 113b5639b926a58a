package model

import (
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// View says that positions [From, To) of a sample see its images: of the sample's tiles, which begin with First, those
// up to End, of which Last is the first of the last image.
type View struct {
	From, To         int64 // positions of the batch
	First, Last, End int64 // tiles of the batch
}

// sight is what the positions of a batch see of its images, for layers of cross-attention.
type sight struct {
	runs []sightRun // ascending; positions between them see nothing
}

// sightRun is a run of positions that see the same rows of images.
type sightRun struct {
	from, to   int64 // positions
	first, end int64 // rows of images
	images     *resampled
}

// resampled is the images of a batch as the resampler made them, and what the layers made of that.
type resampled struct {
	rows         *torch.Tensor // [tiles*N,Dv]
	dropout      nn.DropoutKeys
	keys, values []*torch.Tensor // [tiles*N,H,d] of each layer, owned, once kept; nil in training
}

// see makes the sight of a batch.
func (g *gatedLayers) see(views []View, images *resampled) *sight {
	seen := &sight{}
	for _, v := range views {
		first := v.First
		if g.last {
			first = v.Last
		}
		seen.runs = append(seen.runs, sightRun{v.From, v.To, first * g.rows, v.End * g.rows, images})
	}
	return seen
}

// keep computes the keys and values of all layers once, for generation. The caller must free them.
func (g *gatedLayers) keep(s *torch.Scope, images *resampled) {
	var keys, values []*torch.Tensor
	for k, l := range g.layers {
		key, value := images.of(s, l, k)
		keys, values = append(keys, torch.Own(key)), append(values, torch.Own(value))
	}
	images.keys, images.values = keys, values
}

// of is a layer's keys and values, [tiles*N,H,d] each.
func (r *resampled) of(s *torch.Scope, l *gatedLayer, k int) (keys, values *torch.Tensor) {
	if r.keys != nil {
		return r.keys[k], r.values[k]
	}
	keys = l.heads(s, l.k.Forward(s, r.rows, r.dropout), l.kNorm)
	values = l.heads(s, l.v.Forward(s, r.rows, r.dropout), nil)
	return keys, values
}

// free releases kept keys and values.
func (r *resampled) free() {
	for i := range r.keys {
		r.keys[i].Free()
		r.values[i].Free()
	}
	r.keys, r.values = nil, nil
}

// attend is the attention of the run's queries [n,H,d] to what they see: [n,H*d].
func (r sightRun) attend(s *torch.Scope, l *gatedLayer, k int, q *torch.Tensor) *torch.Tensor {
	keys, values := r.images.of(s, l, k)
	one := func(x *torch.Tensor) *torch.Tensor { // [m,H,d] -> [1,m,H,d]
		return torch.Reshape(s, x, append([]int64{1}, x.Shape()...)...)
	}
	rows := func(x *torch.Tensor) *torch.Tensor { return one(torch.Narrow(s, x, 0, r.first, r.end-r.first)) }
	y := torch.CrossAttention(s, one(q), rows(keys), rows(values)) // [1,n,H,d]
	return torch.Reshape(s, y, r.to-r.from, -1)
}
