package train

import (
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// layerWeights gathers the weights of the language model's layers where they are divided: a layer's before it is
// computed, and the next one's meanwhile. All processes gather in the same order. The zero value is for weights that
// are whole.
type layerWeights struct {
	peers  *peers
	groups []walkedGroup
	layers int
}

// walkedGroup is a group of which each process keeps slices of the layers.
type walkedGroup struct {
	*nn.Group
	spans []nn.Span
	held  [2]heldLayer // by slot
}

// heldLayer is the bucket whose weights are in a slot, or come into it.
type heldLayer struct {
	bucket int // -1 for none
	work   *torch.Work
}

func newLayerWeights(p *peers, ps *nn.Params, layers int) layerWeights {
	w := layerWeights{peers: p, layers: layers}
	for _, g := range ps.Walked() {
		w.groups = append(w.groups, walkedGroup{Group: g, spans: g.Spans()})
	}
	w.changed()
	return w
}

// changed says that the weights are no longer those that were gathered.
func (w *layerWeights) changed() {
	for i := range w.groups {
		w.groups[i].held = [2]heldLayer{{bucket: -1}, {bucket: -1}}
	}
}

// bring begins to gather a layer, unless it is there.
func (w *layerWeights) bring(s *torch.Scope, layer int) {
	for k := range w.groups {
		g := &w.groups[k]
		i := g.OfLayer(layer)
		if i < 0 {
			continue
		}
		b := g.Buckets[i]
		if held := &g.held[b.Slot]; held.bucket != i {
			held.bucket = i
			held.work = w.peers.gradients.AllGather(g.Gathered(s, b), g.OwnWeights(s, g.spans[i]))
		}
	}
}

// need waits until a layer is there.
func (w *layerWeights) need(s *torch.Scope, layer int) {
	w.bring(s, layer)
	for k := range w.groups {
		g := &w.groups[k]
		if i := g.OfLayer(layer); i >= 0 {
			if held := &g.held[g.Buckets[i].Slot]; held.work != nil {
				held.work.Wait()
				held.work = nil
			}
		}
	}
}

// visit is one pass through the layers, forward and backward. Where weights are divided every process goes through all
// layers, whatever it has to compute.
type visit struct {
	*layerWeights
	scope *torch.Scope
	round *reduction // what the pass ends with; nil for nothing
	next  int        // layer, forward
	left  int        // layers whose backward is to come
}

func (w *layerWeights) pass(s *torch.Scope, round *reduction) *visit {
	return &visit{layerWeights: w, scope: s, round: round, left: w.layers}
}

// hooks are what happens around the layers; nil if nothing does.
func (v *visit) hooks() *nn.Hooks {
	if v.round == nil && len(v.groups) == 0 {
		return nil
	}
	return &nn.Hooks{Forward: v.forward, Backward: v.backward, After: v.after}
}

func (v *visit) forward(layer int) {
	v.next = layer + 1
	v.need(v.scope, layer)
	if layer+1 < v.layers {
		v.bring(v.scope, layer+1)
	}
}

func (v *visit) backward(layer int) {
	v.left = layer
	v.need(v.scope, layer)
	if layer > 0 {
		v.bring(v.scope, layer-1)
	}
}

func (v *visit) after(layer int) {
	if v.round != nil {
		v.round.completed(v.scope, layer)
	}
}

// endForward goes through the layers that were not computed.
func (v *visit) endForward() {
	for len(v.groups) > 0 && v.next < v.layers {
		v.forward(v.next)
	}
}

// endBackward goes through the layers whose gradients nobody needed.
func (v *visit) endBackward() {
	for len(v.groups) > 0 && v.left > 0 {
		v.backward(v.left - 1)
		v.after(v.left)
	}
}
