package recipes

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSet(t *testing.T) {
	const text = minimal + `  epochs: 1
  optimizer: {betas: [0.9, 0.999]}
`
	for _, c := range []struct {
		name string
		set  []string
		edit func(*Recipe)
	}{
		{"a value of the file", []string{"pretrain.batch.global=8"}, func(r *Recipe) { r.Pretrain.Batch.Global = 8 }},
		{"a key that the file lacks", []string{"seed=7"}, func(r *Recipe) { r.Seed = 7 }},
		{"a section that the file lacks", []string{"model.projector.type=linear"},
			func(r *Recipe) { r.Model.Projector.Type = "linear" }},
		{"an entry of a list", []string{"pretrain.data.0.path=/b.json"},
			func(r *Recipe) { r.Pretrain.Data[0].Path = "/b.json" }},
		{"a value in a list", []string{"pretrain.optimizer.betas.1=0.5"},
			func(r *Recipe) { r.Pretrain.Optimizer.Betas[1] = 0.5 }},
		{"a list", []string{"pretrain.optimizer.betas=[0, 0.5]"},
			func(r *Recipe) { r.Pretrain.Optimizer.Betas = [2]float64{0, 0.5} }},
		{"a section", []string{"pretrain.train={language: {lr: 1}}"},
			func(r *Recipe) { r.Pretrain.Train = map[string]Part{"language": {LR: 1}} }},
		{"two values of one section", []string{"pretrain.optimizer={eps: 1}", "pretrain.optimizer.clip=2"},
			func(r *Recipe) {
				r.Pretrain.Optimizer = Optimizer{Betas: r.Pretrain.Optimizer.Betas, Eps: 1, Clip: 2, Moments: "auto"}
			}},
		{"an equals sign", []string{"name=a=b"}, func(r *Recipe) { r.Name = "a=b" }},
		{"steps for epochs", []string{"pretrain.steps=20"}, func(r *Recipe) {
			r.Pretrain.Epochs, r.Pretrain.Steps = 0, 20
		}},
		{"tokens for the default", []string{"pretrain.batch.tokens=64"},
			func(r *Recipe) { r.Pretrain.Batch.Micro, r.Pretrain.Batch.Tokens = 0, 64 }},
		{"config for weights", []string{"model.vision.config=/c"},
			func(r *Recipe) { r.Model.Vision.Weights, r.Model.Vision.Config = "", "/c" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, text)
			want := mustLoad(t, path)
			c.edit(want)
			if diff := cmp.Diff(want, mustLoad(t, path, c.set...)); diff != "" {
				t.Errorf("--set %q (-want +got):\n%s", c.set, diff)
			}
		})
	}
}

func TestSetProblems(t *testing.T) {
	for _, c := range []struct {
		set  []string
		want string
	}{
		{[]string{"pretrain.batch.globl=8"}, `--set pretrain.batch.globl: unknown key; did you mean "global"?`},
		{[]string{"pretrian.batch.global=8"},
			`--set pretrian.batch.global: pretrian: unknown key; did you mean "pretrain"?`},
		{[]string{"pretrain.batch.global=0"}, "--set pretrain.batch.global: must be at least 1"},
		{[]string{"pretrain.batch.global=1.5"}, `--set pretrain.batch.global: expected a whole number, found "1.5"`},
		{[]string{"pretrain.batch.global="}, "--set pretrain.batch.global: is empty"},
		{[]string{"pretrain.batch.global=["},
			"--set pretrain.batch.global: not valid YAML, in the block that starts here: did not find expected node " +
				"content"},
		{[]string{"pretrain.batch.global=1\n---\n2"},
			`--set pretrain.batch.global: a second document; a recipe is a single one, without "---"`},
		{[]string{"pretrain.batch={global: 1, global: 2}"},
			"--set pretrain.batch: pretrain.batch.global: duplicate key; the first is on line 1"},
		{[]string{"pretrain.template=&a v1"},
			`--set pretrain.template: anchors ("&a") are not supported; write the value without`},
		{[]string{"pretrain.data.1.path=b.json"},
			`--set pretrain.data.1.path: pretrain.data: has 1 entries, numbered from 0; there is no entry "1"`},
		{[]string{"pretrain.data.-1.path=b.json"},
			`--set pretrain.data.-1.path: pretrain.data: has 1 entries, numbered from 0; there is no entry "-1"`},
		{[]string{"pretrain.template.x=1"},
			`--set pretrain.template.x: pretrain.template: holds "plain", which has no keys`},
		{[]string{"pretrain..global=1"},
			`--set pretrain..global: pretrain."": unknown key; known here: bad_samples, batch, data, epochs, eval, ` +
				`image, loss, max_pixels, optimizer, order, orientation, recompute, ` +
				`save, schedule, steps, template, train`},
		{[]string{"seed=7", "seed=8"}, "--set seed: --set seed has given this already; leave one of the two out"},
		{[]string{"pretrain.data.0.path=b", "pretrain.data.00.path=c"},
			"--set pretrain.data.00.path: --set pretrain.data.0.path has given this already; " +
				"leave one of the two out"},
		{[]string{"pretrain.eval.every=5", "pretrain.eval={data: [{path: a}], every: 6}"},
			"--set pretrain.eval: --set pretrain.eval.every has given this already; leave one of the two out"},
		{[]string{"pretrain.optimizer={eps: 1}", "pretrain.optimizer.eps=2"},
			"--set pretrain.optimizer.eps: --set pretrain.optimizer has given this already; leave one of the two out"},
		{[]string{"pretrain.steps=2", "pretrain.epochs=1"},
			"--set pretrain.steps: cannot be combined with pretrain.epochs; give one of the two"},
		{[]string{"finetune.template=v1"},
			"--set finetune.template: finetune.data: required key is missing\n" +
				"--set finetune.template: finetune.train: required key is missing\n" +
				"--set finetune.template: finetune.batch.global: required key is missing"},
		{[]string{"=1"}, `--set: expected KEY=VALUE, found "=1"`},
		{[]string{"a\x1b=1"}, `--set: expected KEY=VALUE, found "a\x1b=1"`},
	} {
		_, err := load("recipe.yaml", []byte(minimal), c.set)
		if err == nil {
			t.Errorf("--set %q was taken", c.set)
		} else if diff := cmp.Diff(c.want, err.Error()); diff != "" {
			t.Errorf("--set %q (-want +got):\n%s", c.set, diff)
		}
	}
}
