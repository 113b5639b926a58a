package train

import (
	"fmt"
	"math"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
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
