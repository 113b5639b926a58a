package recipes

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What a recipe's device and dtype may be.
var (
	Devices = []string{"auto", "cpu", "cuda"}
	Dtypes  = []string{"auto", "fp32", "bf16"}
)

// check applies the rules on values to a decoded recipe. A rule checks only values that the file or --set gave and that
// could be decoded: defaults are valid, and a value that could not be decoded has been reported.
func (d *decoder) check(r *Recipe) {
	if d.sound("name") && !folderName(r.Name) {
		d.fail("name", d.near("name"), "must be a folder name without slashes, not %s", quoted(r.Name))
	}
	d.oneOf("device", r.Device, Devices...)
	d.oneOf("dtype", r.Dtype, Dtypes...)
	d.rule("threads", r.Threads >= 0, "must be 0 (automatic) or more")
	d.rule("workers", r.Workers >= 0, "must be 0 (one for each core) or more")
	if r.Distributed != nil {
		d.checkDistributed(r.Distributed)
	}
	if r.Synth != nil {
		d.checkSynth(r.Synth)
	}
	if d.onlySynth(r) {
		return
	}
	d.checkModel(&r.Model)
	for _, s := range r.sections() {
		d.checkStage(s.name, s.stage)
	}
	d.checkNewRows(r)
	if d.sound("") && d.sound(StagePretrain) && d.sound(StageFinetune) && len(r.sections()) == 0 {
		d.fail("", d.near(""), "nothing to train; add a section pretrain, finetune or both")
	}
}

func (d *decoder) checkModel(m *Model) {
	d.checkTowers(m.Vision)
	d.checkProjector(&m.Projector)
	d.start("model.language")
	d.oneOf("model.language.tokenizer.legacy", m.Language.Tokenizer.Legacy, "auto", "true", "false")
	if m.Tiles != nil {
		d.checkTiles("model.tiles", m.Tiles)
		d.rule("model.projector.type", m.Tiles.Merge == "flat" || !m.Projector.losesGrid(),
			"%s loses the grid of patches, which model.tiles.merge: %s lays out: set merge: flat", m.Projector.Type,
			m.Tiles.Merge)
	}
	d.checkNewTokens(m.Language.Tokenizer.Add)
	d.rule("model.language.max_length", m.Language.MaxLength >= 1, "must be at least 1")
}

func (d *decoder) checkNewTokens(texts []string) {
	const at = "model.language.tokenizer.add"
	for i, text := range texts {
		d.rule(at, strings.TrimSpace(text) != "", "must list texts with at least one visible character")
		d.rule(at, !slices.Contains(texts[:i], text), "lists %s twice", quoted(text))
		d.rule(at, !strings.Contains(text, imageMark), "lists %s, but %s stands for an image in rows and prompts, "+
			"so the tokenizer never sees it: choose another text", quoted(text), imageMark)
		name, placeholder := strings.CutPrefix(strings.TrimSuffix(text, ">"), "<")
		placeholder = placeholder && slices.Contains(unfilled, name) && !slices.Contains(texts, "</"+name+">")
		d.rule(at, !placeholder, "lists %s, but rows with it are refused, since nothing fills it: choose another "+
			"text, or list </%s> too if it is a tag", quoted(text), name)
	}
}

// imageMark and unfilled are what data refuses in a text or takes for an image, and so can be no tokens.
const imageMark = "<image>"

var unfilled = []string{"video", "audio", "bbox", "ref-object"}

// checkNewRows refuses adapters beside new tokens: they hold no rows of the embedding, which would stay equal for all.
func (d *decoder) checkNewRows(r *Recipe) {
	if len(r.Model.Language.Tokenizer.Add) == 0 {
		return
	}
	for _, s := range r.sections() {
		at := s.name + ".train." + PartLanguage + ".lora"
		d.rule(at, false, "adapters cannot hold the rows of new tokens (model.language.tokenizer.add): train these "+
			"rows first, in a stage whose train.language has only: 'embed_tokens|lm_head', and start the adapters "+
			"from its export, without add")
	}
}

// start checks that a pretrained part has exactly one of weights and config.
func (d *decoder) start(part string) {
	weights, config := part+".weights", part+".config"
	if !d.sound(weights) || !d.sound(config) || d.exclusive(weights, config) {
		return
	}
	if !d.given(weights) && !d.given(config) {
		d.fail(part, d.near(part), "required: weights (a folder or a Hugging Face id) or config (a file)")
	}
}

func (d *decoder) checkStage(name string, s *Stage) {
	at := name + "."
	d.required(at+"data", at+"template", at+"train", at+"batch.global")
	d.checkData(at+"data", s.Data)
	d.oneOf(at+"image", s.Image, "square", "pad", AnyResolution)
	d.oneOf(at+"orientation", s.Turn, "ignore", TurnByEXIF)
	d.rule(at+"max_pixels", s.MaxPixels >= 1, "must be at least 1")
	d.oneOf(at+"order", s.Order, "sequential", "shuffled", "grouped")
	d.checkParts(at+"train", s.Train)
	d.checkBatch(at+"batch", &s.Batch)
	d.checkLength(at, s)
	d.oneOf(at+"schedule.type", s.Schedule.Type, "cosine", "linear", "constant")
	warmup := s.Schedule.Warmup
	d.rule(at+"schedule.warmup", warmup >= 0, "must be 0 or more")
	d.rule(at+"schedule.warmup", warmup < 1 || isWhole(warmup),
		"must be a fraction of the steps below 1, or a whole number of steps")
	d.checkOptimizer(at+"optimizer", &s.Optimizer)
	d.oneOf(at+"loss", s.Loss, "token_mean", "micro_mean")
	d.rule(at+"save.every", s.Save.Every >= 1, "must be at least 1")
	d.rule(at+"save.keep", s.Save.Keep >= 1, "must be at least 1")
	if s.Eval != nil {
		d.checkEval(at+"eval", s.Eval)
	}
	d.checkBadSamples(at+"bad_samples", s.BadSamples)
	d.oneOf(at+"recompute", s.Recompute, "auto", "none", "selective", "layers")
}

func (d *decoder) checkEval(at string, e *Eval) {
	if !d.given(at+".data") && !d.given(at+".benchmarks") && d.sound(at) {
		d.fail(at, d.near(at), "nothing to evaluate; give data (held-out rows), benchmarks or both")
	}
	d.checkData(at+".data", e.Data)
	d.rule(at+".every", e.Every >= 1, "must be at least 1")
	d.rule(at+".samples", e.Samples >= 1, "must be at least 1")
	d.rule(at+".samples", len(e.Data) > 0, "needs held-out rows to ask about; give data too")
	d.rule(at+".benchmarks", len(e.Benchmarks) > 0, "must list at least one benchmark")
	known := map[string]bool{}
	for i, b := range e.Benchmarks {
		entry := at + ".benchmarks." + strconv.Itoa(i)
		d.required(entry+".name", entry+".data")
		d.rule(entry+".name", !known[b.Name], "names %s twice: a benchmark is asked once", quoted(b.Name))
		d.rule(entry+".questions", b.Questions >= 1, "must be at least 1")
		d.rule(entry+".every", b.Every >= 1, "must be at least 1")
		known[b.Name] = true
	}
}

func (d *decoder) checkData(path string, data []Data) {
	d.rule(path, len(data) > 0, "must list at least one data set")
	for i, set := range data {
		at := path + "." + strconv.Itoa(i)
		if !d.exclusive(at+".path", at+".shards") && !d.given(at+".shards") {
			d.required(at + ".path")
		}
		d.rule(at+".weight", set.Weight > 0, "must be more than 0")
	}
}

func (d *decoder) checkParts(path string, train map[string]Part) {
	for _, name := range partNames {
		part, ok := train[name]
		if !ok {
			continue
		}
		at := path + "." + name
		d.required(at + ".lr")
		d.rule(at+".lr", part.LR > 0, "must be more than 0; to freeze a part, leave it out of train")
		d.pattern(at+".only", part.Only)
		d.pattern(at+".except", part.Except)
		if part.LoRA != nil {
			d.checkLoRA(at, part.LoRA)
		}
	}
}

// checkLoRA checks a part's adapters. The part's weights are frozen, so only and except have nothing to choose from.
func (d *decoder) checkLoRA(part string, l *LoRA) {
	d.exclusive(part+".lora", part+".only")
	d.exclusive(part+".lora", part+".except")
	at := part + ".lora"
	d.required(at+".r", at+".alpha")
	d.rule(at+".r", l.R >= 1, "must be at least 1")
	d.rule(at+".alpha", l.Alpha > 0, "must be more than 0")
	d.rule(at+".dropout", 0 <= l.Dropout && l.Dropout < 1, "must be from 0 to below 1")
	d.pattern(at+".targets", l.Targets)
}

func (d *decoder) checkBatch(path string, b *Batch) {
	d.rule(path+".global", b.Global >= 1, "must be at least 1")
	d.rule(path+".tokens", b.Tokens >= 1, "must be at least 1")
	if !d.exclusive(path+".micro", path+".tokens") && d.given(path+".tokens") {
		b.Micro = 0
	}
}

// checkLength checks how long a stage runs. A number of steps replaces the default of one epoch.
func (d *decoder) checkLength(at string, s *Stage) {
	d.rule(at+"epochs", s.Epochs > 0, "must be more than 0")
	d.rule(at+"steps", s.Steps >= 1, "must be at least 1")
	if !d.exclusive(at+"epochs", at+"steps") && d.given(at+"steps") {
		s.Epochs = 0
	}
}

func (d *decoder) checkOptimizer(path string, o *Optimizer) {
	for i, beta := range o.Betas {
		d.rule(path+".betas."+strconv.Itoa(i), 0 <= beta && beta < 1, "must be from 0 to below 1")
	}
	d.rule(path+".eps", o.Eps > 0, "must be more than 0")
	d.rule(path+".weight_decay", o.WeightDecay >= 0, "must be 0 or more")
	d.rule(path+".clip", o.Clip >= 0, "must be 0 (off) or more")
	d.oneOf(path+".moments", o.Moments, "auto", "fp32", "bf16")
}

// given reports whether the file or --set has the key.
func (d *decoder) given(path string) bool {
	_, ok := d.where[path]
	return ok
}

// sound reports whether neither the value at path nor a section around it has a problem.
func (d *decoder) sound(path string) bool {
	for !d.broken[path] {
		if path == "" {
			return true
		}
		path = parent(path)
	}
	return false
}

// near is the location of the key, or of the innermost section around it that was given.
func (d *decoder) near(path string) location {
	for !d.given(path) {
		path = parent(path)
	}
	return d.where[path]
}

func parent(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '.'))]
}

// rule reports a value that was given and breaks a rule.
func (d *decoder) rule(path string, holds bool, format string, args ...any) {
	if !holds && d.given(path) && d.sound(path) {
		d.fail(path, d.where[path], format, args...)
	}
}

func (d *decoder) required(paths ...string) {
	for _, path := range paths {
		if !d.given(path) && d.sound(path) {
			d.fail(path, d.near(path), "required key is missing")
		}
	}
}

func (d *decoder) oneOf(path, value string, valid ...string) {
	d.rule(path, slices.Contains(valid, value), "must be one of %s, not %s", strings.Join(valid, ", "), quoted(value))
}

func (d *decoder) pattern(path, expression string) {
	_, err := regexp.Compile(expression)
	d.rule(path, err == nil, "not a regular expression: %v", err)
}

// exclusive reports two keys that were both given.
func (d *decoder) exclusive(a, b string) bool {
	both := d.given(a) && d.given(b)
	d.rule(b, !both, "cannot be combined with %s; give one of the two", a)
	return both
}

func folderName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, `/\`)
}

func isWhole(f float64) bool {
	return f == math.Trunc(f)
}
