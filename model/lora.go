package model

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// parts lists the parts of a model in the order in which messages show them.
var parts = []string{recipes.PartVision, recipes.PartProjector, recipes.PartLanguage}

// adapt declares the adapters that a recipe asks for, by part. A pattern is matched only against the linear maps of
// its own part: q_proj for the language model does not match the tower's.
func (m *LLaVA) adapt(adapters map[string]recipes.LoRA) (err error) {
	defer failure.MarkInput(&err)
	for _, part := range parts {
		settings, wanted := adapters[part]
		if !wanted {
			continue
		}
		targets, err := regexp.Compile(settings.Targets)
		if err != nil {
			return fmt.Errorf("train.%s.lora.targets: %w", part, err)
		}
		chosen := m.matching(part, targets)
		if len(chosen) == 0 {
			return m.noTarget(part, targets)
		}
		for _, linear := range chosen {
			linear.Adapt(nn.LoRA{Rank: int64(settings.R), Alpha: settings.Alpha, Dropout: settings.Dropout})
		}
	}
	return nil
}

func (m *LLaVA) matching(part string, targets *regexp.Regexp) (chosen []*nn.Linear) {
	for _, linear := range m.Params.Linears(part) {
		if targets.MatchString(linear.Name()) {
			chosen = append(chosen, linear)
		}
	}
	return chosen
}

// noTarget is the error for a pattern that matches nothing: it lists what there is to match, or the part in which the
// pattern would match.
func (m *LLaVA) noTarget(part string, targets *regexp.Regexp) error {
	err := fmt.Errorf("train.%s.lora.targets: %q matches no linear map of %s", part, targets, part)
	linears := m.Params.Linears(part)
	if len(linears) == 0 {
		return fmt.Errorf("%w, which has none", err)
	}
	for _, other := range parts {
		if n := len(m.matching(other, targets)); n > 0 {
			return fmt.Errorf("%w, but %d of %s: give those adapters with train.%s.lora", err, n, other, other)
		}
	}
	return fmt.Errorf("%w; there are %s, such as %s", err, Maps(linears), linears[0].Name())
}

// Maps counts linear maps by the last word of their names: q_proj (32), k_proj (32).
func Maps(linears []*nn.Linear) string {
	var words []string
	count := map[string]int{}
	for _, linear := range linears {
		word := linear.Name()[strings.LastIndexByte(linear.Name(), '.')+1:]
		if count[word]++; count[word] == 1 {
			words = append(words, word)
		}
	}
	for i, word := range words {
		words[i] = fmt.Sprintf("%s (%d)", word, count[word])
	}
	return strings.Join(words, ", ")
}

// Adapted lists the linear maps of a part that have an adapter.
func (m *LLaVA) Adapted(part string) (adapted []*nn.Linear) {
	for _, linear := range m.Params.Linears(part) {
		if _, has := linear.Adapter(); has {
			adapted = append(adapted, linear)
		}
	}
	return adapted
}

// pictureKeys derives a key for each image from its sample's key and its number in the sample, because rows in the
// tower and the projector belong to images.
func (m *LLaVA) pictureKeys(in Input) (keys nn.DropoutKeys) {
	if in.DropoutKeys == nil {
		return keys
	}
	number := map[int]uint64{} // of each sample's images so far
	for i := range m.pictures(in.Pixels) {
		sample := in.PictureSamples[i]
		keys.Keys = append(keys.Keys, rand.NewPCG(in.DropoutKeys[sample], number[sample]).Uint64())
		number[sample]++
	}
	return keys
}

// MergeTolerance is how much fp32 logits may change when adapters are merged, relative to the largest logit, or
// absolute if that is below 1.
const MergeTolerance = 1e-5

// Merge adds every adapter of an fp32 model to its weight and removes it. It compares the logits of a fixed prompt
// with an image before and after, and returns how much they changed. A change of more than MergeTolerance is an
// error; the model must not be used then.
func (m *LLaVA) Merge() (moved float64, err error) {
	before, err := m.probe()
	if err != nil {
		return 0, err
	}
	for _, part := range parts {
		for _, linear := range m.Adapted(part) {
			if err := torch.Do(func(s *torch.Scope) { torch.NoGrad(func() { linear.Merge(s) }) }); err != nil {
				return 0, fmt.Errorf("merging %s: %w", linear.Name(), err)
			}
		}
	}
	after, err := m.probe()
	if err != nil {
		return 0, err
	}
	moved = difference(after, before)
	if !(moved <= MergeTolerance) { // so that NaN fails too
		err = failure.Inputf("the merged model differs: its logits are off from those with adapters "+
			"by %.3g of the largest, more than %g", moved, MergeTolerance)
	}
	return moved, err
}

// difference is the largest difference relative to the largest of want, or absolute if that is below 1.
func difference(got, want []float32) float64 {
	largest, worst := 1., 0.
	for i := range want {
		largest = max(largest, abs(want[i]))
		worst = max(worst, abs(got[i]-want[i])) // max keeps a NaN
	}
	return worst / largest
}

func abs(x float32) float64 { return max(float64(x), -float64(x)) }

// probe is the logits of a prompt that is the same for all models of the same shape: an image, and tokens spread over
// the vocabulary.
func (m *LLaVA) probe() (logits []float32, err error) {
	const words = 16
	language := m.Language.Describe()
	in := Input{Pixels: make([]uint8, m.Tower.Describe().Pixels())}
	for i := range in.Pixels {
		in.Pixels[i] = uint8(i * 37 >> 3)
	}
	for t := range m.ProjectorShape.Tokens + words {
		id := int64(0)
		if t < m.ProjectorShape.Tokens {
			in.Slots, in.Rows = append(in.Slots, t), append(in.Rows, t)
		} else {
			id = (1 + 2*(t-m.ProjectorShape.Tokens)) * language.VocabSize / (2 * words)
			in.Wanted = append(in.Wanted, t)
		}
		in.IDs, in.Positions = append(in.IDs, id), append(in.Positions, t)
	}
	in.Starts = []int64{0, int64(len(in.IDs))}
	if m.ProjectorShape.Media > 0 {
		in.Views = []View{{To: int64(len(in.IDs)), End: 1}}
	}
	if n := int64(len(in.IDs)); n > language.MaxPositions {
		return nil, failure.Inputf("an image and %d tokens take %d positions and the model has %d", words, n,
			language.MaxPositions)
	}
	err = torch.Do(func(s *torch.Scope) {
		torch.NoGrad(func() { logits = torch.Read[float32](m.Logits(s, m.Forward(s, in).Hidden)) }) // [16,V]
	})
	return logits, err
}
