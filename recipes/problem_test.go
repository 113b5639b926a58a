package recipes

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProblems loads minimal with one or two changes. want is what Error prints, without "recipe.yaml:" before a line
// number.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, old, new string // new instead of old, or at the end where old is ""
		want           string
	}{
		// Keys.
		{"typo", "global: 64", "globl: 64", `9: pretrain.batch.globl: unknown key; did you mean "global"?`},
		{"typo in an optional key", "", "nmae: x", `10: nmae: unknown key; did you mean "name"?`},
		{"swapped letters", "template:", "tempalte:", `6: pretrain.tempalte: unknown key; did you mean "template"?`},
		{"far from any key", "{lr: 1e-3}", "{lr: 1, zzzzz: 2}",
			"8: pretrain.train.projector.zzzzz: unknown key; known here: except, lora, lr, only"},
		{"unknown part", "projector: {lr", "projectr: {lr",
			`8: pretrain.train.projectr: unknown key; did you mean "projector"?`},
		{"strange key", "", "\"a\\e\\nb\": 1",
			`10: "a\x1b\nb": unknown key; known here: device, distributed, dtype, finetune, model, ` +
				`name, pretrain, runs, seed, synth, threads, workers`},
		{"list as a key", "", "[a, b]: 1", `10: "": a key must be a plain word`},
		{"duplicate", "", "model: {}", "10: model: duplicate key; the first is on line 1"},
		{"duplicate in a flow", "{global: 64}", "{global: 64, global: 1}",
			"9: pretrain.batch.global: duplicate key; the first is on line 9"},
		{"entry of a list", "{path: train.json}", "{pth: train.json}",
			`5: pretrain.data.0.pth: unknown key; did you mean "path"?`},
		{"no stage", minimal[strings.Index(minimal, "pretrain:"):], "",
			"nothing to train; add a section pretrain, finetune or both"},

		// YAML features that recipes do not support.
		{"anchor", "{weights: tower}", "&v {weights: tower}",
			"2: model.vision: anchors (\"&v\") are not supported; write the value without"},
		{"alias", "template: plain", "template: &t plain\n  image: *t",
			"6: pretrain.template: anchors (\"&t\") are not supported; write the value without\n" +
				"7: pretrain.image: aliases (\"*t\") are not supported; write the value out"},
		{"merge key", "{global: 64}", "{global: 64, <<: {micro: 2}}",
			`9: pretrain.batch."<<": merge keys (<<) are not supported; write the keys out`},
		{"tag", "64", "!!int 64",
			`9: pretrain.batch.global: tags ("!!int") are not supported; write the value without`},
		{"hostile tag", "64", "!<%1b%5b2J> 64",
			`9: pretrain.batch.global: tags ("\x1b[2J") are not supported; write the value without`},
		{"second document", "", "---\nname: b", "10: a second document; a recipe is a single one, without \"---\""},
		{"garbage after the document", "", "]",
			"10: not valid YAML, in the block that starts here: did not find expected key"},
		{"empty", minimal, "", "is empty"},
		{"comments only", minimal, "# nothing\n", "is empty"},
		{"null", minimal, "~", "expected a section with keys, found nothing"},
		{"not a mapping", minimal, "\n- a", "expected a section with keys, found a list"},
		{"syntax", "template: plain", "template: [",
			"6: not valid YAML, in the block that starts here: did not find expected ',' or ']'"},
		{"not UTF-8", "plain", "\xff", "not valid YAML: invalid leading UTF-8 octet"},
		{"deep", "plain", strings.Repeat("[", 20) + strings.Repeat("]", 20), "6: nested deeper than 16 levels"},
		{"very deep", minimal, strings.Repeat("[", 100_000), "not valid YAML: exceeded max depth of 10000"},
		{"huge", "", strings.Repeat("# padding\n", 110_000), "larger than 1 MB; is this a recipe?"},

		// Types.
		{"fraction", "64", "1.5", `9: pretrain.batch.global: expected a whole number, found "1.5"`},
		{"octal", "64", "010", `9: pretrain.batch.global: expected a whole number, found "010"`},
		{"hexadecimal", "64", "0x40", `9: pretrain.batch.global: expected a whole number, found "0x40"`},
		{"separators", "64", "1_000", `9: pretrain.batch.global: expected a whole number, found "1_000"`},
		{"exponent", "64", "1e3", `9: pretrain.batch.global: expected a whole number, found "1e3"`},
		{"quotes", "64", `"64"`, `9: pretrain.batch.global: expected a whole number, found text in quotes, "64"`},
		{"no value", "{global: 64}", "{global: }", "9: pretrain.batch.global: expected a whole number, found nothing"},
		{"list for a number", "64", "[64]", "9: pretrain.batch.global: expected a whole number, found a list"},
		{"overflow", "64", "9223372036854775808",
			`9: pretrain.batch.global: out of range (64 bits): "9223372036854775808"`},
		{"negative seed", "", "seed: -1", `10: seed: out of range (0 to 18446744073709551615): "-1"`},
		{"word for a number", "1e-3", "yes", `8: pretrain.train.projector.lr: expected a number, found "yes"`},
		{"nan", "1e-3", ".nan", `8: pretrain.train.projector.lr: expected a number, found ".nan"`},
		{"infinity", "1e-3", "1e999", `8: pretrain.train.projector.lr: number too large: "1e999"`},
		{"octal float", "1e-3", "010", `8: pretrain.train.projector.lr: expected a number, found "010"`},
		{"null text", "plain", "~", "6: pretrain.template: expected text, found nothing"},
		{"empty text", "plain", `""`, "6: pretrain.template: is empty; leave the key out or give it a value"},
		{"list for text", "plain", "[plain]", "6: pretrain.template: expected text, found a list"},
		{"two lines", "plain", `"a\nb"`, `6: pretrain.template: holds control characters or line breaks: "a\nb"`},
		{"word for a section", "{global: 64}", "64", `9: pretrain.batch: expected a section with keys, found "64"`},
		{"section for a list", "[{path: train.json}]", "{path: train.json}",
			"5: pretrain.data: expected a list, found a section with keys"},
		{"text for an entry", "[{path: train.json}]", "[train.json]",
			`5: pretrain.data.0: expected a section with keys, found "train.json"`},
		{"three betas", "", "  optimizer: {betas: [0, 0, 0]}",
			"10: pretrain.optimizer.betas: expected a list of 2 values, found 3"},
		{"micro word", "global: 64", "global: 64, micro: atuo",
			`9: pretrain.batch.micro: expected auto or a whole number, found "atuo"`},

		// Required keys.
		{"no template", "  template: plain\n", "", "4: pretrain.template: required key is missing"},
		{"no batch", "  batch: {global: 64}\n", "", "4: pretrain.batch.global: required key is missing"},
		{"no rate", "{lr: 1e-3}", "{}", "8: pretrain.train.projector.lr: required key is missing"},
		{"no weights", "{weights: tower}", "{}",
			"2: model.vision: required: weights (a folder or a Hugging Face id) or config (a file)"},
		{"no model", minimal[:strings.Index(minimal, "pretrain:")], "",
			"model.vision: required: weights (a folder or a Hugging Face id) or config (a file)\n" +
				"model.language: required: weights (a folder or a Hugging Face id) or config (a file)"},

		// Ranges and choices.
		{"name", "", "name: a/b", `10: name: must be a folder name without slashes, not "a/b"`},
		{"dots for a name", "", "name: ..", `10: name: must be a folder name without slashes, not ".."`},
		{"device", "", "device: gpu", `10: device: must be one of auto, cpu, cuda, not "gpu"`},
		{"dtype", "", "dtype: fp16", `10: dtype: must be one of auto, fp32, bf16, not "fp16"`},
		{"threads", "", "threads: -1", "10: threads: must be 0 (automatic) or more"},
		{"workers", "", "workers: -1", "10: workers: must be 0 (one for each core) or more"},
		{"feature", "{weights: tower}", "{weights: tower, select_feature: cls}",
			`2: model.vision.select_feature: must be one of patch, cls_patch, not "cls"`},
		{"image size", "{weights: tower}", "{weights: tower, image_size: 0}",
			"2: model.vision.image_size: must be from 1 to 4096"},
		{"legacy", "{weights: lmsys/vicuna-7b-v1.5}", "{weights: w, tokenizer: {legacy: no}}",
			`3: model.language.tokenizer.legacy: must be one of auto, true, false, not "no"`},
		{"placeholder as a token", "{weights: lmsys/vicuna-7b-v1.5}",
			"{weights: w, tokenizer: {add: [<box>, <image>]}}",
			`3: model.language.tokenizer.add: lists "<image>", but <image> stands for an image in rows and prompts, ` +
				"so the tokenizer never sees it: choose another text"},
		{"placeholder in a token", "{weights: lmsys/vicuna-7b-v1.5}", `{weights: w, tokenizer: {add: ["a <image>"]}}`,
			`3: model.language.tokenizer.add: lists "a <image>", but <image> stands for an image in rows and ` +
				"prompts, so the tokenizer never sees it: choose another text"},
		{"unfilled placeholder as a token", "{weights: lmsys/vicuna-7b-v1.5}",
			"{weights: w, tokenizer: {add: [<video>]}}",
			`3: model.language.tokenizer.add: lists "<video>", but rows with it are refused, since nothing fills it: ` +
				"choose another text, or list </video> too if it is a tag"},
		{"length", "{weights: lmsys/vicuna-7b-v1.5}", "{weights: w, max_length: 0}",
			"3: model.language.max_length: must be at least 1"},
		{"no data", "[{path: train.json}]", "[]", "5: pretrain.data: must list at least one data set"},
		{"no data", "{path: train.json}", "{weight: 2}", "5: pretrain.data.0.path: required key is missing"},
		{"files and shards", "{path: train.json}", "{path: train.json, shards: s}",
			"5: pretrain.data.0.shards: cannot be combined with pretrain.data.0.path; give one of the two"},
		{"weight", "{path: train.json}", "{path: train.json, weight: 0}",
			"5: pretrain.data.0.weight: must be more than 0"},
		{"nothing trains", "train:\n    projector: {lr: 1e-3}", "train: {}",
			"7: pretrain.train: must have at least one of language, projector, vision"},
		{"rate", "1e-3", "0",
			"8: pretrain.train.projector.lr: must be more than 0; to freeze a part, leave it out of train"},
		{"pattern", "{lr: 1e-3}", `{lr: 1, only: "(", except: "["}`,
			"8: pretrain.train.projector.only: not a regular expression: error parsing regexp: " +
				"missing closing ): `(`\n" +
				"8: pretrain.train.projector.except: not a regular expression: error parsing regexp: " +
				"missing closing ]: `[`"},
		{"adapter without numbers", "{lr: 1e-3}", "{lr: 1, lora: {}}",
			"8: pretrain.train.projector.lora.r: required key is missing\n" +
				"8: pretrain.train.projector.lora.alpha: required key is missing"},
		{"adapter's numbers", "{lr: 1e-3}", `{lr: 1, lora: {r: 0, alpha: 0, dropout: 1, targets: "("}}`,
			"8: pretrain.train.projector.lora.r: must be at least 1\n" +
				"8: pretrain.train.projector.lora.alpha: must be more than 0\n" +
				"8: pretrain.train.projector.lora.dropout: must be from 0 to below 1\n" +
				"8: pretrain.train.projector.lora.targets: not a regular expression: error parsing regexp: missing " +
				"closing ): `(`"},
		{"adapter and a choice", "{lr: 1e-3}", "{lr: 1, lora: {r: 1, alpha: 1}, only: a, except: b}",
			"8: pretrain.train.projector.only: cannot be combined with pretrain.train.projector.lora; give one of " +
				"the two\n" +
				"8: pretrain.train.projector.except: cannot be combined with pretrain.train.projector.lora; give one " +
				"of the two"},
		{"misspelt adapter", "{lr: 1e-3}", "{lr: 1, lora: {r: 1, alpha: 1, rank: 1}}",
			`8: pretrain.train.projector.lora.rank: unknown key; known here: alpha, dropout, r, targets`},
		{"global", "64", "0", "9: pretrain.batch.global: must be at least 1"},
		{"micro", "global: 64", "global: 64, micro: -1", "9: pretrain.batch.micro: must be auto or at least 1"},
		{"tokens", "global: 64", "global: 64, tokens: 0", "9: pretrain.batch.tokens: must be at least 1"},
		{"image", "", "  image: sqare", `10: pretrain.image: must be one of square, pad, anyres, not "sqare"`},
		{"order", "", "  order: random",
			`10: pretrain.order: must be one of sequential, shuffled, grouped, not "random"`},
		{"epochs", "", "  epochs: 0", "10: pretrain.epochs: must be more than 0"},
		{"steps", "", "  steps: 0", "10: pretrain.steps: must be at least 1"},
		{"schedule", "", "  schedule: {type: step}",
			`10: pretrain.schedule.type: must be one of cosine, linear, constant, not "step"`},
		{"warmup", "", "  schedule: {warmup: -0.1}", "10: pretrain.schedule.warmup: must be 0 or more"},
		{"broken warmup", "", "  schedule: {warmup: 1.5}",
			"10: pretrain.schedule.warmup: must be a fraction of the steps below 1, or a whole number of steps"},
		{"betas", "", "  optimizer: {betas: [-0.1, 1]}",
			"10: pretrain.optimizer.betas.0: must be from 0 to below 1\n" +
				"10: pretrain.optimizer.betas.1: must be from 0 to below 1"},
		{"optimizer", "", "  optimizer: {eps: 0, weight_decay: -1, clip: -1, moments: 8}",
			"10: pretrain.optimizer.eps: must be more than 0\n" +
				"10: pretrain.optimizer.weight_decay: must be 0 or more\n" +
				"10: pretrain.optimizer.clip: must be 0 (off) or more\n" +
				"10: pretrain.optimizer.moments: must be one of auto, fp32, bf16, not \"8\""},
		{"loss", "", "  loss: mean", `10: pretrain.loss: must be one of token_mean, micro_mean, not "mean"`},
		{"save", "", "  save: {every: 0, keep: 0}",
			"10: pretrain.save.every: must be at least 1\n10: pretrain.save.keep: must be at least 1"},
		{"eval", "", "  eval: {data: [{images: a, weight: 0}], every: 0}",
			"10: pretrain.eval.data.0.path: required key is missing\n" +
				"10: pretrain.eval.data.0.weight: must be more than 0\n10: pretrain.eval.every: must be at least 1"},
		{"eval without rows", "", "  eval: {data: []}", "10: pretrain.eval.data: must list at least one data set"},
		{"eval without data", "", "  eval: {every: 5}",
			"10: pretrain.eval: nothing to evaluate; give data (held-out rows), benchmarks or both"},
		{"benchmarks", "", "  eval: {benchmarks: [{name: pope, questions: 0, every: 0}, {name: pope, data: a}]}",
			"10: pretrain.eval.benchmarks.0.data: required key is missing\n" +
				"10: pretrain.eval.benchmarks.0.questions: must be at least 1\n" +
				"10: pretrain.eval.benchmarks.0.every: must be at least 1\n" +
				`10: pretrain.eval.benchmarks.1.name: names "pope" twice: a benchmark is asked once`},
		{"samples", "", "  eval: {samples: 0, benchmarks: [{name: pope, data: a}]}",
			"10: pretrain.eval.samples: must be at least 1"},
		{"samples of nothing", "", "  eval: {samples: 2, benchmarks: [{name: pope, data: a}]}",
			"10: pretrain.eval.samples: needs held-out rows to ask about; give data too"},
		{"no benchmark", "", "  eval: {benchmarks: []}",
			"10: pretrain.eval.benchmarks: must list at least one benchmark"},
		{"eval of nothing", "", "  eval:", "10: pretrain.eval: expected a section with keys, found nothing"},
		{"bad samples", "", "  bad_samples: drop", `10: pretrain.bad_samples: must be one of skip, fail, not "drop"`},
		{"recompute", "", "  recompute: all",
			`10: pretrain.recompute: must be one of auto, none, selective, layers, not "all"`},

		// Keys that exclude each other.
		{"weights and config", "{weights: tower}", "{weights: tower, config: c.json}",
			"2: model.vision.config: cannot be combined with model.vision.weights; give one of the two"},
		{"epochs and steps", "", "  epochs: 1\n  steps: 2",
			"11: pretrain.steps: cannot be combined with pretrain.epochs; give one of the two"},
		{"micro and tokens", "global: 64", "global: 64, tokens: 8, micro: auto",
			"9: pretrain.batch.tokens: cannot be combined with pretrain.batch.micro; give one of the two"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := minimal + c.new
			if c.old != "" {
				text = strings.Replace(minimal, c.old, c.new, 1)
			}
			_, err := load("recipe.yaml", []byte(text), nil)
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error %v is not Problems", err)
			}
			lines := strings.Split(err.Error(), "\n")
			for i := range lines {
				lines[i] = strings.TrimPrefix(strings.TrimPrefix(lines[i], "recipe.yaml:"), " ")
			}
			if diff := cmp.Diff(c.want, strings.Join(lines, "\n")); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// Texts that only resemble a placeholder may be tokens, and so may a tag with its end.
func TestTagsAsTokens(t *testing.T) {
	text := strings.Replace(minimal, "vicuna-7b-v1.5}",
		"vicuna-7b-v1.5, tokenizer: {add: [<bbox>, </bbox>, <Image>, <ref-objects>, video]}}", 1)
	if _, err := load("recipe.yaml", []byte(text), nil); err != nil {
		t.Error(err)
	}
}

// TestAllAtOnce: problems of every kind are reported together, ordered by line, those of --set last.
func TestAllAtOnce(t *testing.T) {
	_, err := load("dir/recipe.yaml", []byte(`devise: cuda
dtype: fp8
model:
  vision: {weights: a, config: b}
pretrain:
  data: [{path: a.json}, {images: b}]
  train: {projector: {lr: -1}}
  batch: {global: 1.5, globl: 2}
`), []string{"pretrain.loss=mean", "pretrain.steps=no", "seed"})
	want := `dir/recipe.yaml:1: devise: unknown key; did you mean "device"?
dir/recipe.yaml:2: dtype: must be one of auto, fp32, bf16, not "fp8"
dir/recipe.yaml:3: model.language: required: weights (a folder or a Hugging Face id) or config (a file)
dir/recipe.yaml:4: model.vision.config: cannot be combined with model.vision.weights; give one of the two
dir/recipe.yaml:5: pretrain.template: required key is missing
dir/recipe.yaml:6: pretrain.data.1.path: required key is missing
dir/recipe.yaml:7: pretrain.train.projector.lr: must be more than 0; to freeze a part, leave it out of train
dir/recipe.yaml:8: pretrain.batch.global: expected a whole number, found "1.5"
dir/recipe.yaml:8: pretrain.batch.globl: unknown key; did you mean "global"?
--set: expected KEY=VALUE, found "seed"
--set pretrain.steps: expected a whole number, found "no"
--set pretrain.loss: must be one of token_mean, micro_mean, not "mean"`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestManyProblems: a hostile file does not fill the terminal.
func TestManyProblems(t *testing.T) {
	_, err := load("recipe.yaml", []byte(minimal+strings.Repeat("nmae: x\n", 20_000)), nil)
	lines := strings.Split(err.Error(), "\n")
	if got := lines[len(lines)-1]; len(lines) != maxShown+1 || got != "and 19950 more" {
		t.Errorf("%d lines, the last %q", len(lines), got)
	}
	_, err = load("recipe.yaml", []byte(minimal+strings.Repeat("x", 900)+": "+strings.Repeat("y", 900)+"\n"), nil)
	if got := err.Error(); len(got) > 250 {
		t.Errorf("a long key and value gave %d bytes of message", len(got))
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"ab", "ba", 1}, {"abc", "ac", 1}, {"abc", "axc", 1},
		{"xba", "xbaab", 2}, // ab at the end of b is not a swap of the ba in a
		{"ca", "abc", 3},    // no edit within a swap: that would be 2
	} {
		if got, back := distance(c.a, c.b), distance(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("from %q to %q: %d edits, back %d, want %d", c.a, c.b, got, back, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"lr", "only", "except", "weight_decay", "global"}
	for word, want := range map[string]string{
		"lr": "lr", "rl": "lr", "l": "lr", "LR": "", "wd": "", "onyl": "only",
		"expect": "except", "weight-decay": "weight_decay",
		"weightdecay": "weight_decay", "globals": "global", "": "", "per_device_train_batch_size": "",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
