// Package nn holds the layers that models are made of, their parameters, and the loop over layers.
//
//  1. A model declares its parameters: each layer's constructor takes a Path and declares what it needs. Nothing is
//     allocated yet.
//  2. The caller decides which parameters train (Params.Select), then Params.Place allocates them: trainable ones as
//     views of a few flat buffers with flat gradients, frozen ones separately and without gradients.
//  3. Values come from files (Param.Load) or from the layer's initialisation (Param.Initialise).
//  4. Layers compute over flat rows [R,D]; Run passes rows through a list of them, and its Tape takes gradients back,
//     with or without recomputation.
package nn

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Init is how a parameter is initialised if its value is in no file.
type Init struct {
	Kind  string  // "normal", "uniform", "xavier" (uniform, but biases are zero), "constant", "ones" or "zeros"
	Scale float64 // standard deviation, bound, or value
}

// Param is a named leaf: the unit of loading, freezing and saving.
type Param struct {
	Name  string // as in Hugging Face or LLaVA checkpoints
	Part  string // vision, projector or language
	Shape []int64
	Init  Init
	Norm  bool // the weight or bias of a normalisation

	Adapter bool // A or B of a LoRA adapter; in a file only after training

	Trainable bool
	Decay     bool // whether weight decay applies

	tensor    *torch.Tensor // owned; a view of its group's buffer when trainable
	group     *Group
	offset    int64
	layer     string        // what the layer's names begin with, or else the parameter's own name
	number    int           // of the layer; -1 outside of layers
	remainder *torch.Tensor // owned view, bf16 trainable only; nil in a sharded group
}

// Elements is the product of the shape.
func (p *Param) Elements() int64 {
	n := int64(1)
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Tensor is the value that layers compute with.
func (p *Param) Tensor() *torch.Tensor { return p.tensor }

// Group is the trainable parameters with the same part and decay: one flat buffer, one flat gradient.
type Group struct {
	Part      string
	Decay     bool
	Params    []*Param
	Data      *torch.Tensor // [n] in the training dtype; own spans alone where weights are divided
	Grad      *torch.Tensor // [n] the same dtype; nil where gradients are divided
	Remainder *torch.Tensor // [n] i16 if the dtype is bf16, else nil: with Data it gives the exact fp32 master
	Buckets   []Bucket      // what is summed over the processes at once; nil of one alone

	layout Layout
	size   int64           // of the flat buffers, with padding
	slots  []*torch.Tensor // what gradients of buckets lie in where they are divided
	frozen bool            // it has weights alone

	gathered []*torch.Tensor // where layers see weights that are divided
	masters  func(name string) ([]byte, error)
}

// Elements is how many its parameters have together.
func (g *Group) Elements() int64 {
	n := int64(0)
	for _, p := range g.Params {
		n += p.Elements()
	}
	return n
}

// Params is the ordered list of a model's parameters.
type Params struct {
	list   []*Param
	byName map[string]*Param
	groups []*Group
	shelf  []*Group // of weights that do not train, where they are divided
	dtype  torch.Dtype
	device torch.Device

	linears []*Linear
	joins   []*Joined
}

// NewParams makes an empty list.
func NewParams() *Params { return &Params{byName: map[string]*Param{}} }

// All lists the parameters in the order of their declaration.
func (ps *Params) All() []*Param { return ps.list }

// Get finds a parameter by name.
func (ps *Params) Get(name string) (*Param, bool) {
	p, ok := ps.byName[name]
	return p, ok
}

// Groups are the flat buffers of the trainable parameters, in order of first declaration.
func (ps *Params) Groups() []*Group { return ps.groups }

// Dtype is the dtype in which Place put the parameters.
func (ps *Params) Dtype() torch.Dtype { return ps.dtype }

// Device is the device on which Place put the parameters.
func (ps *Params) Device() torch.Device { return ps.device }

// Select chooses the parameters that train, before Place. Weight decay is off for normalisations and for names that
// contain "bias", as in the original (LLaVATrainer.create_optimizer).
func (ps *Params) Select(trains func(p *Param) bool) {
	for _, p := range ps.list {
		p.Trainable = trains(p)
		p.Decay = !p.Norm && !strings.Contains(p.Name, "bias")
	}
}

// Place allocates every parameter on the device in the dtype. Values are undefined until loaded or initialised.
func (ps *Params) Place(device torch.Device, dtype torch.Dtype, layout Layout) error {
	ps.device, ps.dtype = device, dtype
	for _, p := range ps.list {
		switch {
		case p.Trainable:
			p.group = groupOf(&ps.groups, p, false)
		case layout.Zero >= Weights && !layout.alone() && layout.walks(p) && p.Decay:
			p.group = groupOf(&ps.shelf, p, true)
		default:
			continue
		}
		p.offset = p.group.Elements()
		p.group.Params = append(p.group.Params, p)
	}
	return torch.Do(func(s *torch.Scope) {
		for _, g := range slices.Concat(ps.groups, ps.shelf) {
			g.cut(layout)
			g.place(s, device, dtype)
		}
		for _, j := range ps.joins {
			j.place(s, device, dtype)
		}
		for _, p := range ps.list {
			if p.tensor == nil {
				p.tensor = torch.Own(torch.Empty(s, p.Shape, dtype, device))
			}
		}
	})
}

// Walked are the groups whose layers are gathered when they are computed.
func (ps *Params) Walked() (list []*Group) {
	for _, g := range slices.Concat(ps.groups, ps.shelf) {
		if g.WeightsSharded() && slices.ContainsFunc(g.Buckets, func(b Bucket) bool { return b.Layer >= 0 }) {
			list = append(list, g)
		}
	}
	return list
}

func groupOf(list *[]*Group, p *Param, frozen bool) *Group {
	i := slices.IndexFunc(*list, func(g *Group) bool { return g.Part == p.Part && g.Decay == p.Decay })
	if i < 0 {
		*list = append(*list, &Group{Part: p.Part, Decay: p.Decay, frozen: frozen})
		i = len(*list) - 1
	}
	return (*list)[i]
}

func (g *Group) place(s *torch.Scope, device torch.Device, dtype torch.Dtype) {
	g.placeWeights(s, device, dtype)
	if !g.frozen {
		g.placeGradients(s, device, dtype)
	}
	if dtype == torch.BFloat16 && !g.frozen {
		g.Remainder = torch.Own(torch.Zeros(s, []int64{g.Kept()}, torch.Int16, device))
	}
	for _, p := range g.Params {
		buffer, place := g.weightAt(p.offset)
		p.tensor = torch.Own(torch.LeafView(s, buffer, place, p.Shape))
		if g.frozen {
			continue
		}
		p.tensor.SetGrad(p.Gradient(s))
		if g.Remainder != nil && !g.Sharded() {
			p.remainder = torch.Own(torch.LeafView(s, g.Remainder, p.offset, p.Shape))
		}
	}
}

// Free releases every parameter and buffer.
func (ps *Params) Free() {
	for _, p := range ps.list {
		freeAll(p.tensor, p.remainder)
	}
	for _, j := range ps.joins {
		freeAll(j.weight, j.bias)
	}
	for _, g := range slices.Concat(ps.groups, ps.shelf) {
		freeAll(slices.Concat(g.slots, g.gathered, []*torch.Tensor{g.Data, g.Grad, g.Remainder})...)
	}
}

func freeAll(tensors ...*torch.Tensor) {
	for _, t := range tensors {
		if t != nil {
			t.Free()
		}
	}
}

// Load sets the value from little-endian data of the given dtype in the parameter's shape. A trainable bf16 parameter
// keeps an fp32 value exactly.
func (p *Param) Load(s *torch.Scope, data []byte, dtype torch.Dtype) {
	value, remainder := p.tensor, p.remainder
	sliced := p.group != nil && p.group.WeightsSharded()
	if sliced {
		value = torch.Empty(s, p.Shape, p.tensor.Dtype(), p.tensor.Device())
	}
	if p.Sharded() && p.group.Remainder != nil {
		remainder = torch.Empty(s, p.Shape, torch.Int16, p.tensor.Device())
	}
	if remainder == nil {
		value.SetBytes(data, dtype, p.Shape)
	} else {
		master := torch.Empty(s, p.Shape, torch.Float32, p.tensor.Device())
		master.SetBytes(data, dtype, p.Shape)
		torch.SplitMaster(master, value, remainder)
	}
	if remainder != p.remainder {
		p.keep(s, p.group.Remainder, remainder)
	}
	if sliced {
		p.keep(s, p.group.Data, value)
		if !p.group.layout.walks(p) { // its slot is no one else's
			p.tensor.Copy(value)
		}
	}
}

// Value is the value in a form that Load restores exactly: fp32 for trainable parameters, even if they compute in
// bf16; the stored dtype for frozen ones. A process that keeps only pieces of the fp32 value has it from ReadMasters,
// and without that only what it computes with.
func (p *Param) Value(s *torch.Scope) *torch.Tensor {
	if p.Sharded() && (p.group.Remainder != nil || p.group.WeightsSharded()) && p.group.masters != nil {
		data, err := p.group.masters(p.Name)
		torch.Must("read "+p.Name, err)
		value := torch.Empty(s, p.Shape, torch.Float32, torch.CPU)
		value.SetBytes(data, torch.Float32, p.Shape)
		return value
	}
	if p.remainder != nil {
		return torch.MergeMaster(s, p.tensor, p.remainder)
	}
	return p.tensor
}

// ReadMasters says where the fp32 values of parameters can be read of which this process keeps only pieces.
func (ps *Params) ReadMasters(read func(name string) ([]byte, error)) {
	for _, g := range ps.groups {
		g.masters = read
	}
}

// Gradient is the accumulated gradient, a view of the group's; nil for a frozen parameter. Where gradients are divided
// it holds that of a micro-batch for a moment.
func (p *Param) Gradient(s *torch.Scope) *torch.Tensor {
	if p.group == nil || p.group.frozen {
		return nil
	}
	buffer, place := p.group.gradientAt(p.offset)
	return torch.LeafView(s, buffer, place, p.Shape)
}

// Initialise fills the parameter from its Init. The values depend only on seed, name, Init and shape.
func (p *Param) Initialise(s *torch.Scope, seed uint64) {
	p.Load(s, p.Initial(s, seed).Bytes(), torch.Float32)
}

// Initial is the value that Initialise gives, in fp32 on the CPU. The parameter need not be placed.
func (p *Param) Initial(s *torch.Scope, seed uint64) *torch.Tensor {
	value := torch.Zeros(s, p.Shape, torch.Float32, torch.CPU)
	switch p.Init.Kind {
	case "normal":
		value.FillNormal(p.Init.Scale, seed^hash(p.Name))
	case "uniform", "xavier":
		value.FillUniform(p.Init.Scale, seed^hash(p.Name))
	case "constant":
		value = torch.Scale(s, torch.Ones(s, p.Shape, torch.Float32, torch.CPU), p.Init.Scale)
	case "ones":
		value = torch.Ones(s, p.Shape, torch.Float32, torch.CPU)
	}
	return value
}

// hash is FNV-1a, 64 bit.
func hash(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return h
}

// Path is a node in the tree of parameter names, passed to layer constructors.
type Path struct {
	params *Params
	part   string
	prefix string
	layer  string // prefix of the outermost layer that the node is in; ""
	number int    // of that layer
}

// Root is the root of the names of one part of a model; prefix begins every name and includes its final dot.
func (ps *Params) Root(part, prefix string) Path { return Path{params: ps, part: part, prefix: prefix} }

// Sub is the node one level down.
func (p Path) Sub(name string) Path {
	p.prefix += name + "."
	return p
}

// Layer is the node of the i-th layer of a list.
func (p Path) Layer(name string, i int) Path {
	node := p.Sub(name).Sub(fmt.Sprint(i))
	if node.layer == "" {
		node.layer, node.number = node.prefix, i
	}
	return node
}

// Param declares a parameter at this node.
func (p Path) Param(name string, init Init, shape ...int64) *Param {
	param := &Param{Name: p.prefix + name, Part: p.part, Shape: shape, Init: init,
		layer: cmp.Or(p.layer, p.prefix+name), number: -1}
	if p.layer != "" {
		param.number = p.number
	}
	if _, twice := p.params.byName[param.Name]; twice {
		panic("parameter declared twice: " + param.Name) // a bug in the model's code
	}
	p.params.list = append(p.params.list, param)
	p.params.byName[param.Name] = param
	return param
}
