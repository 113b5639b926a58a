package train

import (
	"crypto/sha256"
	"fmt"
	"math"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// What a run has learned decides how it ends, not that its last step was reached.

// checkLearned refuses to end a run without a single update as a success, and warns if updates changed no weight.
func (t *trainer) checkLearned() error {
	rates := t.plan.rateWarning(t.first)
	switch {
	case t.optimizer.updates == 0 && t.nonFiniteSteps > 0:
		return t.explainDivergence(fmt.Errorf("%w: loss or gradient not finite in all %d steps: no weight was changed",
			ErrDiverged, t.nonFiniteSteps))
	case t.optimizer.updates == 0:
		return failure.Inputf("none of the rows drawn in %d steps can be used: no weight was changed; "+
			"llavatrain check says what is wrong with each row", t.plan.total)
	case t.moved && t.began != "":
		now, err := t.hashTrained()
		if err == nil && now == t.began {
			t.report.Say("warning: no weight was changed: the learning rate is so small that every update vanished " +
				"in rounding; raise train.PART.lr")
		}
		return err
	case t.moved:
	case rates != "":
		t.report.Say("warning: " + rates)
	default:
		t.report.Say("warning: no weight was changed: the gradient was 0 in every step; " +
			"do the rows reach the parts that train (a projector learns from images only)?")
	}
	return nil
}

// explainDivergence adds what to do. Weights that are not finite before the first update are named: no learning rate
// helps against those.
func (t *trainer) explainDivergence(err error) error {
	if t.optimizer.updates == 0 {
		name, failed := t.nonFiniteWeight()
		switch {
		case failed != nil:
			return fmt.Errorf("%w (%w)", err, failed)
		case name != "":
			return fmt.Errorf("%w. The weight %s held NaN or infinity before the first step: "+
				"its file is damaged, or comes from a run that diverged", err, name)
		}
	}
	return fmt.Errorf("%w. Lower the learning rate, or set optimizer.clip", err)
}

// nonFiniteWeight is the first weight with a value that is not finite, "" if there is none.
func (t *trainer) nonFiniteWeight() (name string, err error) {
	for _, p := range t.model.Params.All() {
		bad, err := nonFinite(p)
		if bad || err != nil {
			return p.Name, err
		}
	}
	return "", nil
}

func nonFinite(p *nn.Param) (bad bool, err error) {
	err = torch.Do(func(s *torch.Scope) {
		value := p.Value(s)
		flag := torch.Zeros(s, []int64{1}, torch.Float64, value.Device())
		torch.NaNIfNotFinite(flag, value)
		bad = math.IsNaN(torch.Values[float64](torch.ReadLater(flag))[0])
	})
	return bad, err
}

// textWarning says at the start that rows of text do not reach the parts that train; "" if one of the first rows has an
// image.
func (t *trainer) textWarning(from int) string {
	if t.trainsPart(recipes.PartLanguage) {
		return ""
	}
	const looked = 1000 // rows that are read for this
	first, _ := t.data.Steps.Span(from)
	_, last := t.data.Steps.Span(t.plan.total - 1)
	texts := 0
	for position := first; position < min(last, first+looked); position++ {
		source, row := t.data.Order.At(position)
		record, err := t.data.Sources[source].Record(row)
		switch {
		case err != nil: // the run will say so
		case len(record.Images) > 0:
			return ""
		default:
			texts++
		}
	}
	switch {
	case texts == 0:
		return ""
	case last-first <= looked:
		return "no weight will change: the rows are text alone, and the parts that train learn from images only"
	}
	return fmt.Sprintf("none of the first %d rows has an image: until one has, no weight will change, because the "+
		"parts that train learn from images only", looked)
}

// vanishing is a learning rate below which updates may vanish: AdamW moves a weight by about the rate, and a weight of
// usual size, 0.01, keeps its value in fp32 if it is moved by less.
const vanishing = 1e-9

// vanishingFrom is the hash of the weights that train if all rates are so small that the weights may not change, or "".
func (t *trainer) vanishingFrom() (string, error) {
	for _, part := range t.plan.stage.Train {
		if part.LR >= vanishing {
			return "", nil
		}
	}
	return t.hashTrained()
}

// hashTrained is the hash of all weights that train.
func (t *trainer) hashTrained() (string, error) {
	hash := sha256.New()
	for _, p := range t.model.Trainable() {
		if err := torch.Do(func(s *torch.Scope) {
			for _, piece := range p.Pieces() { // of several processes, what this one updates
				hash.Write(p.PieceValue(s, piece).Bytes())
			}
		}); err != nil {
			return "", err
		}
	}
	return string(hash.Sum(nil)), nil
}

// notAppliedWarning says at the end how many steps were not applied, "" if all were.
func (t *trainer) notAppliedWarning() string {
	if t.notApplied == 0 {
		return ""
	}
	text := fmt.Sprintf("warning: %d of %d steps were not applied, because their loss or gradient was not finite",
		t.notApplied, t.plan.total-t.first)
	if t.nonFiniteSteps > 0 {
		text += "; the last step is among them: the weights have probably diverged, and the export is of no use. " +
			"Lower the learning rate, or set optimizer.clip"
	}
	return text
}
