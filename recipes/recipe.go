package recipes

import (
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Recipe describes a run: the contents of the recipe file with defaults filled in and paths absolute.
type Recipe struct {
	Name     string `yaml:"name"`    // folder of the run in Runs; default: the file's name without its extension
	Runs     string `yaml:"runs"`    // parent of run folders
	Device   string `yaml:"device"`  // auto | cpu | cuda
	Dtype    string `yaml:"dtype"`   // auto (bf16 on cuda, fp32 on cpu) | fp32 | bf16
	Threads  int    `yaml:"threads"` // 0 = one per core
	Workers  int    `yaml:"workers"` // data workers, 0 = one per core
	Seed     uint64 `yaml:"seed"`
	Model    Model  `yaml:"model"`
	Pretrain *Stage `yaml:"pretrain,omitempty"` // nil if the recipe has no such section
	Finetune *Stage `yaml:"finetune,omitempty"`
	// How several processes train together; nil if the recipe has no such section. It changes no number.
	Distributed *Distributed `yaml:"distributed,omitempty"`
	Synth       *Synth       `yaml:"synth,omitempty"` // data to be made, which no stage looks at

	Path string `yaml:"-"` // the recipe file, absolute
}

// Model says which weights the three parts of a LLaVA model start from.
type Model struct {
	Vision    Vision    `yaml:"vision"`
	Projector Projector `yaml:"projector"`
	Language  Language  `yaml:"language"`
	Tiles     *Tiles    `yaml:"tiles,omitempty"` // nil if the section is missing
}

// Vision is a vision tower. Exactly one of Weights and Config is set.
type Vision struct {
	Weights       string `yaml:"weights,omitempty"` // absolute folder, or a Hugging Face id (owner/name)
	Config        string `yaml:"config,omitempty"`  // file: that architecture, weights random from the seed
	Tower         string `yaml:"tower,omitempty"`   // folder or id in place of mm_vision_tower of a LLaVA in Weights
	SelectLayer   int    `yaml:"select_layer"`      // index of the hidden state; negative counts from the end
	SelectFeature string `yaml:"select_feature"`    // patch | cls_patch
	// Side of the images in pixels, for a tower that can run at several; 0: as its files say.
	ImageSize int `yaml:"image_size,omitempty"`

	// The second of a list of two towers, without a Second of its own; nil: there is one tower.
	Second *Vision `yaml:"-"`
}

// Language is the language model. Exactly one of Weights and Config is set.
type Language struct {
	Weights   string    `yaml:"weights,omitempty"` // absolute folder, or a Hugging Face id (owner/name)
	Base      string    `yaml:"base,omitempty"`    // folder or id in place of the base that adapters in Weights name
	Config    string    `yaml:"config,omitempty"`  // file: that architecture, weights random from the seed
	Tokenizer Tokenizer `yaml:"tokenizer"`
	MaxLength int       `yaml:"max_length"`       // positions, including image features
	System    string    `yaml:"system,omitempty"` // in place of the template's own system text; "": that
}

// Tokenizer says where the vocabulary is and how it treats text after special tokens.
type Tokenizer struct {
	// folder, tokenizer.model or tokenizer.json; "": the folder of the language model's weights
	Path   string `yaml:"path,omitempty"`
	Legacy string `yaml:"legacy"` // auto (as in the tokenizer's files) | true | false
	// Texts that become one token each, in the order of their ids. The embedding grows by them.
	Add []string `yaml:"add,omitempty"`
}

// Stage is a training stage: the section pretrain or finetune. Both have the same keys.
type Stage struct {
	Data       []Data          `yaml:"data"`
	Template   string          `yaml:"template"`             // the data package knows the names
	Image      string          `yaml:"image"`                // square | pad | anyres
	Turn       string          `yaml:"orientation"`          // ignore | exif: turn images by their EXIF orientation
	MaxPixels  int             `yaml:"max_pixels,omitempty"` // of one image; 0: the default of 50 million
	Order      string          `yaml:"order"`                // sequential | shuffled | grouped
	Train      map[string]Part `yaml:"train"`                // by part (vision, projector, language); others are frozen
	Batch      Batch           `yaml:"batch"`
	Epochs     float64         `yaml:"epochs,omitempty"` // passes over the data; 0 if Steps is given
	Steps      int             `yaml:"steps,omitempty"`  // optimizer steps; 0 if Epochs is given
	Schedule   Schedule        `yaml:"schedule"`
	Optimizer  Optimizer       `yaml:"optimizer"`
	Loss       string          `yaml:"loss"` // token_mean | micro_mean
	Save       Save            `yaml:"save"`
	Eval       *Eval           `yaml:"eval,omitempty"` // nil if the section is missing
	BadSamples BadSamples      `yaml:"bad_samples"`
	Recompute  string          `yaml:"recompute"` // auto | none | selective | layers
}

// AnyResolution is the Stage.Image with which images are cut into tiles, as Model.Tiles says.
const AnyResolution = "anyres"

// TurnByEXIF is the Stage.Turn with which images are turned.
const TurnByEXIF = "exif"

// UsualMaxPixels is the limit that max_pixels: 0 stands for.
const UsualMaxPixels = 50_000_000

// Data is one data set of a stage.
type Data struct {
	Path   string `yaml:"path,omitempty"`   // file, or a pattern such as part-*.parquet
	Shards string `yaml:"shards,omitempty"` // instead of Path: folder that `llavatrain shard` wrote
	// folder, .zip or .tar that contains the rows' images; default: the recipe's folder
	Images string  `yaml:"images"`
	Weight float64 `yaml:"weight"` // share of its rows in one epoch, 1 = each row once
}

// Part says how one part of the model trains. Only and Except are regular expressions on weight names.
type Part struct {
	LR     float64 `yaml:"lr"`
	Only   string  `yaml:"only,omitempty"`   // train the matching weights, freeze the rest
	Except string  `yaml:"except,omitempty"` // freeze the matching weights
	LoRA   *LoRA   `yaml:"lora,omitempty"`   // freeze the part and train adapters on its linear maps
}

// LoRA configures low-rank adapters (Hu et al. 2021): a linear map W becomes W + Alpha/R B A, where only A and B train.
type LoRA struct {
	R       int     `yaml:"r"` // rank: A is [r,in], B is [out,r]
	Alpha   float64 `yaml:"alpha"`
	Dropout float64 `yaml:"dropout"` // probability that an element of the adapter's input is dropped
	Targets string  `yaml:"targets"` // regular expression on the names of the part's linear maps
}

// Batch says how many samples form an optimizer step and how a step is divided. Exactly one of Micro and Tokens is not
// 0.
type Batch struct {
	Global int   `yaml:"global"`           // samples in an optimizer step
	Micro  Micro `yaml:"micro,omitempty"`  // samples in a micro-batch, or Auto; 0 if Tokens is given
	Tokens int   `yaml:"tokens,omitempty"` // positions in a micro-batch; 0 if Micro is given
}

// Micro is a number of samples, or Auto.
type Micro int

// Auto leaves the size of a micro-batch to the trainer.
const Auto Micro = -1

// MarshalYAML writes Auto as the recipe's auto.
func (m Micro) MarshalYAML() (any, error) {
	if m == Auto {
		return "auto", nil
	}
	return int(m), nil
}

// Schedule is the learning rate's schedule over the steps.
type Schedule struct {
	Type   string  `yaml:"type"`   // cosine | linear | constant
	Warmup float64 `yaml:"warmup"` // below 1: fraction of all steps, rounded up; from 1: steps
}

// Optimizer holds AdamW's constants.
type Optimizer struct {
	Betas       [2]float64 `yaml:"betas,flow"`
	Eps         float64    `yaml:"eps"`
	WeightDecay float64    `yaml:"weight_decay"`
	Clip        float64    `yaml:"clip"`    // largest gradient norm, 0 = off
	Moments     string     `yaml:"moments"` // auto | fp32 | bf16
}

// Save says when checkpoints are written.
type Save struct {
	Every int `yaml:"every"` // steps
	Keep  int `yaml:"keep"`  // number of newest checkpoints that are kept
}

// Eval says what the model is judged by while the stage trains, and when: the loss on held-out rows, benchmarks, or
// both. It does not change the training.
type Eval struct {
	Data       []Data      `yaml:"data,omitempty"`    // held-out rows; may be missing if there are benchmarks
	Every      int         `yaml:"every"`             // steps
	Samples    int         `yaml:"samples,omitempty"` // held-out rows whose answers are kept; 0: none
	Benchmarks []Benchmark `yaml:"benchmarks,omitempty"`
}

// Benchmark is a part of a benchmark's questions that the model answers while the stage trains.
type Benchmark struct {
	Name      string `yaml:"name"`           // package benchmarks knows the names
	Data      string `yaml:"data"`           // folder of its files, or the id of its set in the Hugging Face hub
	Rule      string `yaml:"rule,omitempty"` // to ask and judge by; "": the benchmark's first
	Questions int    `yaml:"questions"`      // how many; all if it has fewer
	Every     int    `yaml:"every"`          // steps
}

// newRecipe is a recipe with the default of every key, apart from the structs in defaults.
func newRecipe(path string) *Recipe {
	return &Recipe{
		Path: path, Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)),
		Runs: "runs", Device: "auto", Dtype: "auto", Seed: 42,
		Model: Model{
			Vision:    usualVision,
			Projector: Projector{Type: "mlp2x_gelu"},
			Language:  Language{Tokenizer: Tokenizer{Legacy: "auto"}, MaxLength: 2048},
		},
	}
}

// defaults holds the defaults of the structs that a recipe may have none or several of.
var defaults = map[reflect.Type]any{
	reflect.TypeFor[Stage](): Stage{
		Image: "square", Turn: "ignore", Order: "shuffled", Batch: Batch{Micro: Auto}, Epochs: 1,
		Schedule:  Schedule{Type: "cosine", Warmup: 0.03},
		Optimizer: Optimizer{Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, Clip: 1, Moments: "auto"},
		Loss:      "token_mean", Save: Save{Every: 500, Keep: 2}, BadSamples: BadSamples{Policy: "skip"},
		Recompute: "auto",
	},
	reflect.TypeFor[Vision]():    usualVision,
	reflect.TypeFor[Eval]():      Eval{Every: 500},
	reflect.TypeFor[Benchmark](): Benchmark{Questions: 300, Every: 1000},
	reflect.TypeFor[Tiles]():     Tiles{Merge: "spatial_unpad", Several: "pad"},
	reflect.TypeFor[Data]():      Data{Images: ".", Weight: 1},
	reflect.TypeFor[LoRA]():      LoRA{Targets: "."}, // every linear map
	reflect.TypeFor[Synth](): Synth{Language: "en", Untrusted: "drop", Seed: 42,
		Endpoint: usualEndpoint, Sampling: usualSampling},
	reflect.TypeFor[Endpoint](): usualEndpoint,
	reflect.TypeFor[Sampling](): usualSampling,
	reflect.TypeFor[Prices]():   Prices{BatchFactor: 0.5},
}

var (
	usualVision   = Vision{SelectLayer: -2, SelectFeature: "patch"}
	usualEndpoint = Endpoint{Dialect: "auto", Concurrency: 16, Timeout: "120s", Patience: "30m"}
	usualSampling = Sampling{MaxTokens: 1500}
)

// The stages of training: the recipe's keys, the commands, and the folders of a run.
const (
	StagePretrain = "pretrain"
	StageFinetune = "finetune"
)

// StageNames are all stages, in the order in which they run.
var StageNames = []string{StagePretrain, StageFinetune}

// section is a stage with the name of its key.
type section struct {
	name  string
	stage *Stage
}

// sections lists the stages that the recipe has, in the order in which they run.
func (r *Recipe) sections() []section {
	var have []section
	for _, s := range []section{{StagePretrain, r.Pretrain}, {StageFinetune, r.Finetune}} {
		if s.stage != nil {
			have = append(have, s)
		}
	}
	return have
}

// Adapters are the parts that train by adapters, with their settings.
func (s *Stage) Adapters() map[string]LoRA {
	adapters := map[string]LoRA{}
	for name, part := range s.Train {
		if part.LoRA != nil {
			adapters[name] = *part.LoRA
		}
	}
	return adapters
}

// Stage returns the section with this name, pretrain or finetune.
func (r *Recipe) Stage(name string) (*Stage, error) {
	var names []string
	for _, s := range r.sections() {
		if s.name == name {
			return s.stage, nil
		}
		names = append(names, strconv.Quote(s.name))
	}
	if len(names) == 0 {
		return nil, failure.Inputf("recipe %q trains nothing: it has only a section synth, for `llavatrain synth`",
			r.Path)
	}
	return nil, failure.Inputf("recipe %q has no section %q; it has %s", r.Path, name, strings.Join(names, " and "))
}
