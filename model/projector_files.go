package model

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// projectorFiles is how files hold a type of projector.
type projectorFiles struct {
	// anchor matches a tensor that each file of the type has, in any spelling; what its group 1 matches is the prefix
	// of all names.
	anchor *regexp.Regexp
	// spellings are those of other programs, by the prefix; nil: none but those that every projector has.
	spellings func(prefix string) []spelling
	// sight reads the configuration off the tensors, as far as they show it; false if they are of another type.
	sight func(at lookUp) (sighting, bool)
	// asked is what a recipe asks for, with the settings that it leaves to the widths.
	asked func(b projectorBuild) sighting
}

// lookUp is a projector's tensors in files under one spelling, by our names without the projector's prefix.
type lookUp struct {
	weights *checkpoints.Weights
	spelled spelling
	in      int64 // width of the recipe's tower
}

// shape is a tensor's shape; nil if the files do not have it.
func (l lookUp) shape(name string) []int64 {
	info, ok := l.weights.Info(l.spelled.of(projectorPrefix + name))
	if !ok {
		return nil
	}
	return info.Shape
}

// size is one dimension of a tensor; 0 if the files do not have it, or not in that many dimensions.
func (l lookUp) size(dimension int, name string) int64 {
	if shape := l.shape(name); dimension < len(shape) {
		return shape[dimension]
	}
	return 0
}

// count is how many layers the files have; format has the layer's number.
func (l lookUp) count(format string) (layers int) {
	for l.shape(fmt.Sprintf(format, layers)) != nil {
		layers++
	}
	return layers
}

// sighting is a projector as files show it, or as a recipe asks for it. What is not known is zero.
type sighting struct {
	config        recipes.Projector
	in, out       int64 // widths of tower and language model
	queries, keys int64 // heads times head_width
}

// What messages call the sizes that are no keys of recipes.
const (
	queryWidth    = "heads times head_width"
	keyWidth      = "kv_heads times head_width"
	towerWidth    = "tower width"
	languageWidth = "language model width"
)

// sizes are what a sighting knows besides the configuration, as messages call it.
func (s sighting) sizes() []trait {
	return []trait{
		{queryWidth, s.queries}, {keyWidth, s.keys}, {towerWidth, s.in}, {languageWidth, s.out},
	}
}

// trait is a setting of a projector's configuration, under its key in recipes, or another of its sizes.
type trait struct {
	name  string
	value any
}

// traits are the settings that the configuration has, without its type.
func (s sighting) traits() (list []trait) {
	config := reflect.ValueOf(s.config)
	for i := range config.NumField() {
		key, _, _ := strings.Cut(config.Type().Field(i).Tag.Get("yaml"), ",")
		if value := config.Field(i); key != "type" && key != "weights" && !value.IsZero() {
			list = append(list, trait{key, value.Interface()})
		}
	}
	return list
}

// otherwise lists what two sightings both know and know differently, as the first has it and as the second has it.
func (s sighting) otherwise(asked sighting) (has, wants []trait) {
	theirs := append(asked.traits(), asked.sizes()...)
	for _, t := range append(s.traits(), s.sizes()...) {
		i := slices.IndexFunc(theirs, func(other trait) bool { return other.name == t.name })
		if i >= 0 && theirs[i] != t && t.value != int64(0) && theirs[i].value != int64(0) {
			has, wants = append(has, t), append(wants, theirs[i])
		}
	}
	return has, wants
}

// connectorMarks begin, behind a prefix, the names of projectors that are not numbered layers.
var connectorMarks = regexp.MustCompile(`(^|\.|_)(query_tokens$|gated_cross_attn_layers\.|qformer\.|Qformer\.|` +
	`language_projection\.|(opt|t5|llm)_proj\.|ln_vision\.|vision_resampler\.|perceiver_resampler\.|` +
	`connector\.)|^mlp1\.`)

// textBranch matches the tensors of a Q-Former that work on text or choose among texts.
var textBranch = regexp.MustCompile(`\.layer\.[0-9]+\.(intermediate|output)\.|` +
	`(^|\.)embeddings\.(word|position|token_type)|Qformer\.cls\.`)

// connectorSpellings are the spellings of projectors that are not numbered layers, by the prefixes in the files.
func connectorSpellings(names []string) (list []spelling) {
	for _, kind := range projectors {
		if kind.files == nil || kind.files.spellings == nil {
			continue
		}
		seen := map[string]bool{}
		for _, name := range names {
			if match := kind.files.anchor.FindStringSubmatch(name); match != nil && !seen[match[1]] {
				seen[match[1]] = true
				list = append(list, kind.files.spellings(match[1])...)
			}
		}
	}
	return list
}

// sightProjector finds out which projector files hold; in is the width of the recipe's tower.
func sightProjector(w *checkpoints.Weights, in int64) (sighting, bool) {
	candidates := spellings(recipes.PartProjector, w.Names())
	for _, kind := range slices.Backward(projectors) {
		if kind.files == nil {
			continue
		}
		for _, spelled := range candidates {
			if seen, ok := kind.files.sight(lookUp{w, spelled, in}); ok {
				return seen, true
			}
		}
	}
	return sighting{}, false
}

// numbered matches the types whose files hold nothing but numbered layers.
var numbered = regexp.MustCompile(`^(linear|mlp[0-9]+x_gelu|identity)$`)

// checkConnector refuses, in one sentence, a projector of another type or with other settings than the recipe asks for.
// Projectors of numbered layers alone are told apart tensor by tensor.
func (s *source) checkConnector(b projectorBuild) error {
	kind, b, err := findProjector(b)
	if err != nil {
		return err
	}
	seen, ok := sightProjector(s.weights, b.in)
	if ok {
		if err := seen.readConfig(s.where); err != nil {
			return failure.Inputf("%s: %s: %w", s.key, s.where, err)
		}
	}
	asked := sighting{config: b.config, in: b.in, out: b.out}
	if kind.files != nil && kind.files.asked != nil {
		asked = kind.files.asked(b)
	}
	theirs, ours := seen.config.Type, asked.config.Type
	if ours == recipes.Pool && b.config.Mode != "conv" && theirs != recipes.Pool {
		ours = b.config.Then // all that files have of such a pool
	}
	if !ok || numbered.MatchString(theirs) && numbered.MatchString(ours) {
		return nil
	}
	if theirs != ours {
		settable := slices.DeleteFunc(seen.traits(), func(t trait) bool { return t.value == nothing })
		return failure.Inputf("%s: %s holds a projector of type %s, and the recipe asks for %s: "+
			"set model.projector.type: %s%s, or name the weights of another projector", s.key, s.where, theirs,
			b.config.Type, theirs, told(" with ", settable))
	}
	has, wants := seen.otherwise(asked)
	if len(has) == 0 {
		return nil
	}
	return failure.Inputf("%s: %s holds a projector of type %s%s, and the recipe asks for %s: %s, or name other "+
		"weights", s.key, s.where, theirs, told(" with ", has), told("", wants), advice(has))
}

// readConfig takes from the config.json beside the weights, if there is one, what tensors do not show.
func (s *sighting) readConfig(where string) error {
	text, err := os.ReadFile(filepath.Join(where, "config.json"))
	if err != nil {
		return nil // a file, or a folder of weights alone
	}
	var config struct {
		QFormer struct {
			Heads int `json:"num_attention_heads"`
		} `json:"qformer_config"` // transformers' BLIP-2
		Perceiver struct {
			Heads     int `json:"resampler_n_heads"`
			HeadWidth int `json:"resampler_head_dim"`
		} `json:"perceiver_config"` // transformers' IDEFICS and Idefics2
		Shuffle string `json:"ps_version"` // InternVL's own code
	}
	if json.Unmarshal(text, &config) != nil {
		return nil // reported where the whole configuration is read
	}
	switch c := &s.config; c.Type {
	case recipes.QFormer:
		c.Heads = config.QFormer.Heads
	case recipes.ResamplerType:
		c.Heads, c.HeadWidth = config.Perceiver.Heads, cmp.Or(c.HeadWidth, config.Perceiver.HeadWidth)
	case recipes.PixelShuffle:
		if config.Shuffle == "v1" {
			return errors.New("config.json has ps_version v1, whose pixel shuffle transposes rows and columns; " +
				"only v2 is supported")
		}
	}
	return nil
}

// told is a list such as "queries 32, layers 12", behind a word that an empty list does not need.
func told(word string, traits []trait) string {
	var texts []string
	for _, t := range traits {
		texts = append(texts, fmt.Sprintf("%s %v", t.name, t.value))
	}
	if len(texts) == 0 {
		return ""
	}
	return word + strings.Join(texts, ", ")
}

// advice says what to set so that a recipe asks for a projector with these traits.
func advice(traits []trait) string {
	var texts []string
	for _, t := range traits {
		switch t.name {
		case towerWidth:
			texts = append(texts, "name the tower that it was trained with as model.vision.weights")
		case languageWidth:
			texts = append(texts, "name the language model that it was trained with as model.language.weights")
		case queryWidth, keyWidth:
			key, _, _ := strings.Cut(t.name, " ")
			texts = append(texts, fmt.Sprintf("set model.projector.%s and head_width to a product of %v", key, t.value))
		case "then":
			if t.value == nothing {
				texts = append(texts, "leave out model.projector.then")
				break
			}
			fallthrough
		default:
			texts = append(texts, fmt.Sprintf("set model.projector.%s: %v", t.name, t.value))
		}
	}
	return strings.Join(texts, ", ")
}
