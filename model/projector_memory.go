package model

// keeper is a projector with layers of its own, whose training keeps more than the MLP's does.
type keeper interface {
	// kept counts the values that training keeps from forward to backward: for each tile, and for each position of the
	// text.
	kept() (tile, position int64)
}

// ProjectorMemory counts the values that training the projector keeps from forward to backward, for each tile and for
// each position, beyond its input and its result; ok is false for projectors of maps and GELUs alone.
func (m *LLaVA) ProjectorMemory() (tile, position int64, ok bool) {
	k, ok := m.Projector.(keeper)
	if !ok {
		return 0, 0, false
	}
	tile, position = k.kept()
	return tile, position, true
}

func (m *qformer) kept() (tile, position int64) {
	w := m.out.Weight().Shape[1]
	q, rows := m.queries.Shape[1], m.tokens
	for _, l := range m.layers {
		tile += q * w * 6 // attention: input, q, k, v, output, sum
		if l.cross != nil {
			tile += q*w*4 + 2*rows*w // input, q, output, sum; keys and values
		}
		tile += q * (2*w + 2*l.up.Weight().Shape[0]) // MLP: input, before and after GELU, sum
	}
	return tile, 0
}

func (r *resampler) kept(rows int64) int64 {
	c := r.settings
	n, d, width := c.queries, c.width, c.heads*c.headWidth
	// norms and what they are joined to, q, the output, keys and values
	attention := rows*d + (rows+n)*d + 3*n*d + 2*n*width + 2*(rows+n)*width
	if c.kvHeads < c.heads {
		attention += 2 * (rows + n) * c.kvHeads * c.headWidth // before they are repeated
	}
	return int64(len(r.layers)) * (attention + 2*n*d + 2*n*c.mlp)
}

func (m *resamplerProjector) kept() (tile, position int64) {
	tile = m.resampler.kept(m.tokens)
	if first, ok := m.before.(*modality); ok {
		tile += 3 * m.tokens * first.up.Weight().Shape[0]
	}
	if m.before != nil {
		tile += m.tokens * m.resampler.settings.width
	}
	return tile, 0
}

// Of a layer of gated cross-attention each position keeps the inputs and outputs of norms, q, attention's output, that
// of its map, gate, up and SwiGLU's inputs; each row of an image keys and values.
func (g *gatedProjector) kept() (tile, position int64) {
	tile = g.resampler.kept(g.tokens)
	for _, l := range g.layers {
		width, d := l.q.Weight().Shape[0], l.q.Weight().Shape[1]
		tile += 2 * g.rows * width
		position += 6*d + 2*width + 3*l.up.Weight().Shape[0]
	}
	return tile, position
}
