package nn

import (
	"strings"

	"github.com/llavatrain/llavatrain/model/torch"
)

// LoRA is the settings of an adapter, which adds alpha/rank B A dropout(x) to the output of a frozen linear map (Hu
// et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models").
type LoRA struct {
	Rank           int64
	Alpha, Dropout float64
}

// adapter is A [r,in], initialised uniformly in ±1/sqrt(in), and B [out,r], initialised to zero, as in PEFT.
type adapter struct {
	LoRA
	a, b *Param
	key  uint64 // of the map's name, so that maps have different dropout masks
}

// DropoutKeys are the random keys of dropout: the mask of rows Starts[k] to Starts[k+1] follows from Keys[k]. Without
// Starts each key has the same number of rows. Without Keys nothing is dropped.
type DropoutKeys struct {
	Keys   []uint64 // [n]
	Starts []int64  // [n+1]
}

// Linears lists the linear maps of a part in the order of their declaration.
func (ps *Params) Linears(part string) (list []*Linear) {
	for _, l := range ps.linears {
		if l.path.part == part {
			list = append(list, l)
		}
	}
	return list
}

// Name is the map's place in the model, such as model.layers.0.self_attn.q_proj.
func (l *Linear) Name() string { return strings.TrimSuffix(l.path.prefix, ".") }

// Adapt declares an adapter for the map, before Params.Place.
func (l *Linear) Adapt(settings LoRA) {
	out, in := l.weight.Shape[0], l.weight.Shape[1]
	a := &adapter{LoRA: settings, key: hash(l.Name())}
	a.a = l.path.Sub("lora_A").Param("weight", LinearInit(in), settings.Rank, in)
	a.b = l.path.Sub("lora_B").Param("weight", Init{Kind: "zeros"}, out, settings.Rank)
	a.a.Adapter, a.b.Adapter = true, true
	l.adapter = a
}

// Adapter is the settings of the map's adapter, if it has one.
func (l *Linear) Adapter() (LoRA, bool) {
	if l.adapter == nil {
		return LoRA{}, false
	}
	return l.adapter.LoRA, true
}

// Drops says whether the map's adapter drops anything with these keys.
func (l *Linear) Drops(keys DropoutKeys) bool {
	return l.adapter != nil && l.adapter.Dropout > 0 && len(keys.Keys) > 0
}

func (a *adapter) forward(s *torch.Scope, x *torch.Tensor, keys DropoutKeys) *torch.Tensor { // [R,in] -> [R,out]
	h := torch.Linear(s, a.drop(s, x, keys), a.a.tensor, nil)                           // [R,r]
	return torch.Linear(s, torch.Scale(s, h, a.Alpha/float64(a.Rank)), a.b.tensor, nil) // [R,out]
}

func (a *adapter) drop(s *torch.Scope, x *torch.Tensor, keys DropoutKeys) *torch.Tensor { // [R,in] -> [R,in]
	n := len(keys.Keys)
	if a.Dropout == 0 || n == 0 {
		return x
	}
	own, starts := make([]uint64, n), keys.Starts
	for k, key := range keys.Keys {
		own[k] = key ^ a.key
	}
	if starts == nil {
		rows := x.Size(0)
		for k := range n + 1 {
			starts = append(starts, int64(k)*rows/int64(n))
		}
	}
	return torch.Dropout(s, x, a.Dropout, own, starts)
}

// Merge adds the adapter, alpha/rank B A in fp32, to the weight and removes it.
func (l *Linear) Merge(s *torch.Scope) {
	a := l.adapter
	if a == nil {
		return
	}
	// [out,in]
	change := torch.MatMul(s, torch.To(s, a.b.Value(s), torch.Float32), torch.To(s, a.a.Value(s), torch.Float32))
	weight := torch.To(s, l.weight.tensor, torch.Float32)
	l.weight.tensor.Copy(torch.Add(s, weight, torch.Scale(s, change, a.Alpha/float64(a.Rank))))
	l.adapter = nil
}
