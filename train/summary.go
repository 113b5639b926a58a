package train

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
)

// summary is the text that a run starts with: what trains, on what data, and how.
func (t *trainer) summary() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "part\tparameters\t\tlearning rate")
	for _, part := range recipes.Parts {
		all, trainable := t.count(part)
		state, rate := "frozen", ""
		if trainable > 0 {
			state, rate = "trained", fmt.Sprintf("%g, %s", t.plan.stage.Train[part].LR, t.plan.stage.Schedule.Type)
		}
		if trainable > 0 && trainable < all {
			state = fmt.Sprintf("%s of it trained", runs.Grouped(trainable))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", part, runs.Grouped(all), state, rate)
	}
	w.Flush()
	b.WriteString(t.adaptersText())
	b.WriteString(t.data.Counts())
	fmt.Fprintf(&b, "%s samples, %d steps of %d (%s), %s order, loss %s\n",
		runs.Grouped(int64(t.data.Order.Len())), t.plan.total, t.plan.stage.Batch.Global, t.microText(),
		t.plan.stage.Order, t.plan.stage.Loss)
	if t.eval != nil && t.eval.data != nil {
		fmt.Fprintf(&b, "evaluation on %s samples every %d steps and at the end\n",
			runs.Grouped(int64(t.eval.data.Order.Len())), t.eval.Every)
	}
	if t.eval != nil && t.eval.exam != nil {
		for i, one := range t.eval.exam.Benchmarks {
			fmt.Fprintf(&b, "%d questions of %s every %d steps and at the end\n", one.Questions(), one.Name(),
				t.eval.Benchmarks[i].Every)
		}
	}
	fmt.Fprintf(&b, "decoder layers: %s\n", t.model.Language.LayerPath(int64(t.recipe.Model.Language.MaxLength)))
	saving := SavingText(string(t.plan.recompute), t.plan.moments.String())
	if !t.peers.alone() {
		fmt.Fprintf(&b, "%d processes, gradients over %s, optimizer state %s\n", t.peers.World,
			t.peers.gradients.Engine(), dividedText[t.plan.zero])
	}
	fmt.Fprintf(&b, "%s, %s, %d threads%s; run folder %s",
		t.plan.device, t.plan.dtype, t.plan.threads, saving, t.run.Dir)
	return b.String()
}

// dividedText says what the processes keep of optimizer state and gradients.
var dividedText = []string{nn.Whole: "whole", nn.States: "sharded", nn.Gradients: "and gradients sharded",
	nn.Weights: "gradients and weights sharded"}

// adaptersText has a line for each part that trains adapters.
func (t *trainer) adaptersText() string {
	var b strings.Builder
	for _, part := range recipes.Parts {
		if lora, has := t.plan.lora[part]; has {
			adapted := t.model.Adapted(part)
			_, parameters := t.count(part)
			fmt.Fprintf(&b, "adapters of %s: r %d, alpha %g, dropout %g, "+
				"%s parameters on %d frozen linear layers: %s\n",
				part, lora.R, lora.Alpha, lora.Dropout, runs.Grouped(parameters), len(adapted), model.Maps(adapted))
		}
	}
	return b.String()
}

func (t *trainer) count(part string) (all, trainable int64) {
	for _, p := range t.model.Params.All() {
		if p.Part == part {
			all += p.Elements()
			if p.Trainable {
				trainable += p.Elements()
			}
		}
	}
	return all, trainable
}

func (t *trainer) microText() string {
	if t.plan.tokens > 0 {
		return fmt.Sprintf("micro-batches of up to %d positions", t.plan.tokens)
	}
	return fmt.Sprintf("micro-batches of %d", t.plan.micro)
}

// SavingText says how a run saves memory: what backward recomputes, and whether moments are in bf16. It is "" if the
// run does neither.
func SavingText(recompute, moments string) string {
	return map[string]string{
		string(nn.RecomputeSelective): ", norms and SwiGLU recomputed in backward",
		string(nn.RecomputeLayers):    ", layers recomputed in backward",
	}[recompute] + map[string]string{torch.BFloat16.String(): ", moments in bf16"}[moments]
}
