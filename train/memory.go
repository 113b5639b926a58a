package train

import (
	"fmt"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/loss"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/exam"
)

// modelSize is what the memory of training depends on, in addition to the micro-batch.
type modelSize struct {
	language          model.LanguageShape
	tower             model.TowerShape
	projector         model.ProjectorShape
	frozen, trainable int64           // parameters
	trains            map[string]bool // parts of which any weight trains
	trainedTowers     []model.TowerShape
	head              bool // whether the output embedding trains
	projectorLayers   int64
	// values that training keeps of the projector for each tile and for each position; 0 for maps and GELUs alone
	projectorTile, projectorPosition int64
	adapters                         adapterSize
	// parameters of all layers of the language model, and of the largest, that train, and that do not
	layersTrainable, layerTrainable, layersFrozen, layerFrozen int64
	largest                                                    int64 // matrix outside of them that trains
}

func sizeOf(m *model.LLaVA) modelSize {
	size := modelSize{
		language: m.Language.Describe(), tower: m.Tower.Describe(), projector: m.ProjectorShape,
		trains: map[string]bool{}, trainedTowers: m.TrainedTowers(), head: m.Language.Head().Trainable,
		adapters: adaptersOf(m),
	}
	size.projectorTile, size.projectorPosition, _ = m.ProjectorMemory()
	layers, frozen := map[int]int64{}, map[int]int64{}
	for _, p := range m.Params.All() {
		if p.Part == recipes.PartProjector && !p.Adapter && len(p.Shape) == 2 {
			size.projectorLayers++
		}
		number, in := p.Layer()
		in = in && p.Part == recipes.PartLanguage
		if !p.Trainable {
			size.frozen += p.Elements()
			if in {
				frozen[number] += p.Elements()
				size.layersFrozen += p.Elements()
				size.layerFrozen = max(size.layerFrozen, frozen[number])
			}
			continue
		}
		size.trainable += p.Elements()
		size.trains[p.Part] = true
		if in {
			layers[number] += p.Elements()
			size.layersTrainable += p.Elements()
			size.layerTrainable = max(size.layerTrainable, layers[number])
		} else {
			size.largest = max(size.largest, p.Elements())
		}
	}
	return size
}

// load is the sizes of a micro-batch.
type load struct {
	positions, supervised, tiles int64
	queries                      int64 // positions that have a query in the last layer
}

func loadOf(b data.Batch) load {
	queries := model.QueryBorders(b.Starts, b.Supervised)
	return load{int64(len(b.IDs)), int64(len(b.Supervised)), int64(len(b.Tiles)), queries[len(queries)-1]}
}

func (l load) larger(other load) load {
	if other.positions > l.positions {
		return other
	}
	return l
}

// MemoryItem is one use of memory.
type MemoryItem struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

func totalOf(items []MemoryItem) (bytes int64) {
	for _, item := range items {
		bytes += item.Bytes
	}
	return bytes
}

// memory lists the memory of tensors at the peak of a step. It counts what the graph keeps for backward (the kernels of
// model/torch say what they save) and what the scopes hold; its constants are not fitted to measurements, but for those
// of the backward pass beside adapters.
func (size modelSize) memory(of setting, l load) []MemoryItem {
	width, masters, recompute := int64(of.dtype.Size()), int64(0), of.recompute
	if of.dtype == torch.BFloat16 {
		masters = 2 * size.trainable // the 16 bits that complete a bf16 weight to fp32
	}
	gradients, shards := width*size.trainable, int64(1)
	if of.zero >= nn.States {
		shards = int64(of.shards)
		gradients += width * size.trainable / shards // of all processes, as far as this one updates
	}
	if of.zero >= nn.Gradients { // the layers' lie in the place of two; sums are fp32, and come in their own buffer
		slots := size.trainable - size.layersTrainable + 2*size.layerTrainable
		gradients = width*slots + (4*size.trainable+width*slots)/shards
	}
	weights := size.frozen + size.trainable
	if of.zero >= nn.Weights { // slices of them, and whole ones where layers see them, two at a time of the layers'
		weights += 2*(size.layerTrainable+size.layerFrozen) - size.layersTrainable - size.layersFrozen +
			(size.trainable+size.layersFrozen)/shards
	}
	kept := width*size.kept(recompute, l) + size.tables(l)
	workspace := max(size.lossSpace(width, l), size.backwardSpace(width, recompute, l), size.towerSpace(width, l)-kept)
	rotary := 2 * 4 * size.language.MaxPositions * size.language.QuerySize / max(1, size.language.Heads)
	items := []MemoryItem{
		{"weights", width * weights},
		{"masters", masters / shards},
		{"gradients", gradients},
		{"moments", 2 * int64(of.moments.Size()) * size.trainable / shards},
		{"position tables", rotary},
		{"activations", kept},
		{"workspace", workspace},
	}
	if more := size.answering(width, of.answers) - kept - workspace; more > 0 {
		items = append(items, MemoryItem{"keys and values", more}) // they are in the place of a step's activations
	}
	if of.copies && of.zero >= nn.States { // two buckets at a time
		of.communication += width * (max(size.largest, size.layerTrainable) + size.layerTrainable)
	}
	if of.communication > 0 {
		items = append(items, MemoryItem{"communication", of.communication})
	}
	return items
}

// answering is what answers to benchmarks take while no step is computed: keys and values, and the values of a layer in
// the largest pass, beside the embeddings.
func (size modelSize) answering(width int64, room exam.Room) int64 {
	s := size.language
	return width * (room.Positions*2*s.Layers*s.KeySize +
		room.Prompts*(6*s.HiddenSize+2*s.QuerySize+2*s.KeySize+3*s.IntermediateSize))
}

// kept counts the values that are kept from forward to backward.
func (size modelSize) kept(recompute nn.Recompute, l load) int64 {
	d, features, rows := size.language.HiddenSize, l.tiles*size.tower.Tokens, l.tiles*size.projector.Tokens
	attention, mlp := size.layer(recompute)
	values := l.positions * d // input embeddings
	values += l.positions * (size.language.Layers - 1) * (attention + mlp)
	values += l.positions*attention + size.behind(l)*mlp - size.spared(recompute, l)*2*size.language.QuerySize
	values += l.supervised * 3 * d                      // supervised rows before and after the last norm, and gradient
	values += l.positions * 2 * size.headSize()         // cosines and sines
	values += features*size.tower.HiddenSize + rows*2*d // output of tower and projector, and the latter by slots
	if size.trains[recipes.PartProjector] && size.projectorTile > 0 {
		values += l.tiles * size.projectorTile
	} else if size.trains[recipes.PartProjector] && size.projectorLayers > 1 {
		values += rows * 2 * d * (size.projectorLayers - 1) // before and after each GELU
	}
	if recompute != nn.RecomputeLayers {
		values += l.positions * size.projectorPosition
	}
	for _, t := range size.trainedTowers {
		values += l.tiles * t.Rows * t.Layers * ((8+t.LayerScales)*t.HiddenSize + 2*t.IntermediateSize)
		if size.tower.Second != nil { // with one tower auto chooses as it did before these were counted
			values += l.tiles * t.Pixels() // patches, which the first map keeps
		}
	}
	return values
}

// layer is how many values a layer keeps for a position, not counting the fp32 statistics of tables. For attention:
// RMSNorm's input; q, k, v and the output; and the input of their matrices if these train. For the MLP, which the last
// layer computes only at supervised positions: RMSNorm's input, gate and up, and the inputs of matrices that train.
func (size modelSize) layer(recompute nn.Recompute) (attention, mlp int64) {
	s := size.language
	if recompute == nn.RecomputeLayers {
		return s.HiddenSize, 0
	}
	attention, mlp = s.HiddenSize+2*s.QuerySize+2*s.KeySize, s.HiddenSize+2*s.IntermediateSize
	if a := size.adapters; a.attention+a.mlp > 0 {
		return attention + a.attention/s.Layers, mlp + a.mlp/s.Layers
	}
	if size.trains[recipes.PartLanguage] && !(recompute == nn.RecomputeSelective && s.Selective) {
		attention, mlp = attention+s.HiddenSize, mlp+s.HiddenSize+s.IntermediateSize
	}
	return attention, mlp
}

// behind counts the positions that the last layer computes after attention.
func (size modelSize) behind(l load) int64 {
	if size.adapters.drops {
		return l.positions
	}
	return l.supervised
}

// spared counts the positions for which the last layer computes neither q nor the output of attention.
func (size modelSize) spared(recompute nn.Recompute, l load) int64 {
	if !size.language.Selective || recompute == nn.RecomputeLayers || size.adapters.drops {
		return 0
	}
	return l.positions - l.queries
}

func (size modelSize) headSize() int64 { return size.language.QuerySize / max(1, size.language.Heads) }

// tables is the bytes that do not depend on the dtype: ids, positions, slots, attention's log sums and 1/rms.
func (size modelSize) tables(l load) int64 {
	return l.positions*(2*8+size.language.Layers*4*(size.language.Heads+2)) + l.tiles*size.projector.Tokens*2*8
}

// lossSpace is what the cross-entropy adds: the logits of a chunk of rows, overwritten by their gradient, and the
// gradient of the head. 16-bit logits on a CPU are left to libtorch, which widens them and makes the softmax in
// addition.
func (size modelSize) lossSpace(width int64, l load) int64 {
	rows := min(l.supervised, loss.Chunk(size.language.VocabSize))
	logits := width * rows * size.language.VocabSize
	if width < 4 {
		logits += 8 * rows * size.language.VocabSize
	}
	return logits + size.headGradient(width)
}

// headGradient is held by the graph until backward is complete.
func (size modelSize) headGradient(width int64) int64 {
	if !size.head {
		return 0
	}
	return width * size.language.VocabSize * size.language.HiddenSize
}

// backwardSpace is what backward adds at the highest of three peaks: the last layer's MLP, with the gradients of the
// sum and of the MLP's inner values; its attention, whose gradients have all positions again; and the MLP of the
// previous layer, when what the last one kept is freed. With recomputation a layer's backward holds everything that the
// layer computes, and nothing that layers keep is freed before the end.
func (size modelSize) backwardSpace(width int64, recompute nn.Recompute, l load) int64 {
	s, behind := size.language, size.behind(l)
	attention, mlp := size.layer(recompute)
	inner := s.HiddenSize + 3*s.IntermediateSize
	if recompute == nn.RecomputeLayers {
		inner += 7*s.HiddenSize + 3*s.QuerySize + 3*s.KeySize + 3*s.IntermediateSize
		return width*l.positions*inner + size.headGradient(width)
	}
	if size.adapters.mlp > 0 { // single operations: a gradient of each map and of its adapter, and their sums
		each := s.HiddenSize + s.IntermediateSize
		if size.adapters.drops {
			return width*l.positions*6*each + size.headGradient(width)
		}
		return width*l.positions*5*each + size.headGradient(width)
	}
	if size.trains[recipes.PartLanguage] {
		inner -= s.IntermediateSize // SwiGLU's output is freed before its inputs' gradients are computed
	}
	// Of q and the output of the last layer's attention, and of their gradients.
	spared := size.spared(recompute, l) * 2 * s.QuerySize
	values := max(behind*inner, l.positions*(s.HiddenSize+2*s.QuerySize+2*s.KeySize)-spared-behind*mlp)
	if s.Layers > 1 {
		values = max(values, l.positions*(inner-attention)+spared-behind*mlp)
	}
	return width*values + size.headGradient(width)
}

// towerSpace is a frozen tower's whole pass, before any layer of the language model runs: each layer's output, one
// layer's inner values, and the pixels in their successive forms. Of two towers, one runs after the other beside the
// pixels for both, normalised, and takes its own and cuts them into patches.
func (size modelSize) towerSpace(width int64, l load) int64 {
	most, before := int64(0), width*l.positions*size.language.HiddenSize
	for _, t := range size.tower.Each() {
		own := width * t.Rows * (t.HiddenSize*(t.Layers+4+9) + 2*t.IntermediateSize)
		if size.tower.Second == nil {
			return l.tiles*(own+t.Pixels()*(1+4+2*4+2*width)) + before
		}
		most = max(most, own+2*width*t.Pixels())
	}
	return l.tiles*(most+width*size.tower.Pixels()) + before
}

// worst is the largest micro-batch that a recipe allows: samples of max_length in which every token is supervised, each
// with an image of the most tiles.
func (p *plan) worst(maxLength int64) load {
	positions := max(int64(p.tokens), int64(p.micro)*maxLength)
	tiles := max(int64(p.micro), positions/max(1, maxLength)) * max(1, p.imageTiles)
	return load{positions: positions, supervised: positions, tiles: tiles, queries: positions}
}

// share is how much of a device's memory a plan fills; the rest is for what is not counted.
const share = 0.9

// fitMemory decides what the recipe leaves open so that the largest micro-batch fits. It prefers selective
// recomputation, which costs little, and micro-batches down to a quarter, to the recomputation of layers, which costs a
// third more operations, and prefers that to moments in bf16, which change the numbers. It returns the reason as text.
func (p *plan) fitMemory(size modelSize, maxLength, available int64) (why string) {
	rules, dtypes := p.recomputations(size), []torch.Dtype{torch.Float32, torch.BFloat16}
	switch p.momentsSetting {
	case "fp32", "":
		dtypes = dtypes[:1]
	case "bf16":
		dtypes = dtypes[1:]
	}
	first := p.micro
	for _, moments := range dtypes {
		p.moments = moments
		for i, recompute := range rules {
			least := 1
			if i+1 < len(rules) {
				least = max(1, first/4)
			}
			for micro := first; ; micro /= 2 {
				p.micro, p.recompute = micro, recompute
				if float64(totalOf(size.memory(p.setting(), p.worst(maxLength)))) <= share*float64(available) {
					return "fits with samples of max_length"
				}
				if !p.autoMicro || micro/2 < least {
					break // also if tokens limits micro-batches, not micro
				}
			}
		}
	}
	return "does not fit with samples of max_length"
}

// recomputations lists the recomputation that the recipe allows, the cheapest first, without what would save nothing.
func (p *plan) recomputations(size modelSize) []nn.Recompute {
	if p.stage.Recompute != "auto" {
		return []nn.Recompute{nn.Recompute(p.stage.Recompute)}
	}
	fused := p.device != torch.CPU || p.dtype == torch.Float32 || p.hypothetical
	if size.language.Selective && size.trains[recipes.PartLanguage] && fused {
		return []nn.Recompute{nn.RecomputeNothing, nn.RecomputeSelective, nn.RecomputeLayers}
	}
	return []nn.Recompute{nn.RecomputeNothing, nn.RecomputeLayers}
}

// setting is what memory depends on in addition to the model and the micro-batch.
type setting struct {
	dtype, moments torch.Dtype
	recompute      nn.Recompute
	zero           nn.Zero
	shards         int       // processes that divide what zero says
	communication  int64     // bytes of what connects GPUs
	copies         bool      // Gloo copies what it sums to slices
	answers        exam.Room // of the answers to benchmarks
}

// communicationBytes is what NCCL takes on each GPU of a job, estimated for eight GPUs a host.
const communicationBytes = 3 << 29

func (p *plan) setting() setting {
	of := setting{dtype: p.dtype, moments: p.moments, recompute: p.recompute, zero: p.zero, shards: p.world,
		answers: p.answers}
	onGPUs := p.hypothetical || p.device != torch.CPU
	if p.world > 1 && onGPUs {
		of.communication = communicationBytes
	}
	of.copies = !onGPUs
	return of
}

// memoryText compares the predicted with the measured memory of tensors.
func (t *trainer) memoryText() string {
	return fmt.Sprintf("peak memory of tensors: %s predicted for the largest micro-batch (%d positions), %s measured",
		checkpoints.Megabytes(t.predictedMemory(t.largest)), t.largest.positions,
		checkpoints.Megabytes(t.measuredMemory()))
}

// predictedMemory is the expected peak memory of tensors in bytes, with a largest micro-batch.
func (t *trainer) predictedMemory(largest load) int64 {
	return totalOf(sizeOf(t.model).memory(t.plan.setting(), largest))
}

// measuredMemory is the peak memory of this run's tensors in bytes.
func (t *trainer) measuredMemory() int64 {
	if t.plan.device != torch.CPU {
		return device.PeakMemory(t.plan.device)
	}
	return torch.PeakAllocated() - t.baseMemory
}
