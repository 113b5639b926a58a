package model

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// wholeConfig is config.json of a folder with a whole LLaVA. The original puts the language model's fields at the top
// level, next to its own; transformers (LlavaForConditionalGeneration) nests both halves.
type wholeConfig struct {
	ModelType string          `json:"model_type"`
	Text      json.RawMessage `json:"text_config"`
	Vision    json.RawMessage `json:"vision_config"`

	Projector string          `json:"mm_projector_type"`
	Settings  json.RawMessage `json:"mm_projector_config"` // ours
	Tower     string          `json:"mm_vision_tower"`
	Layer     *int            `json:"mm_vision_select_layer"`
	Feature   string          `json:"mm_vision_select_feature"`
	ImageSize int64           `json:"mm_vision_image_size"` // ours
	tilesConfig
	StartEnd  bool   `json:"mm_use_im_start_end"`
	MaxLength int    `json:"tokenizer_model_max_length"`
	Aspect    string `json:"image_aspect_ratio"`
	Template  string `json:"conversation_template"` // ours
	Turn      string `json:"image_orientation"`     // ours
	MaxPixels int    `json:"image_max_pixels"`      // ours
	System    string `json:"conversation_system"`   // ours

	FeatureLayer any    `json:"vision_feature_layer"`
	Strategy     string `json:"vision_feature_select_strategy"`
	Activation   string `json:"projector_hidden_act"`
	Bias         *bool  `json:"multimodal_projector_bias"`
	Tied         bool   `json:"tie_word_embeddings"`
}

// parseWhole reads a configuration; of a LLaVA with two towers, as if it had the first alone (see ofTower).
func parseWhole(raw []byte) (c wholeConfig, err error) {
	if raw, _, err = ofTower(raw, 0); err != nil {
		return c, err
	}
	if err = json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("config.json: %w", err)
	}
	for _, half := range []*json.RawMessage{&c.Text, &c.Vision} {
		if string(*half) == "null" {
			*half = nil
		}
	}
	return c, nil
}

// nested says whether the configuration is in transformers' layout.
func (c wholeConfig) nested() bool {
	switch c.ModelType {
	case "llava", nextType, onevisionType:
		return len(c.Text) > 0 || c.Layer == nil
	}
	return false
}

// isWhole says whether the configuration is a LLaVA's, in either layout.
func (c wholeConfig) isWhole() bool { return c.nested() || c.Layer != nil }

// refuse returns an error if a LLaVA needs something that is not implemented.
func (c wholeConfig) refuse() error {
	switch {
	case c.StartEnd:
		return errors.New("config.json has mm_use_im_start_end: " +
			"models that need <im_start> and <im_end> around an image are not supported")
	case c.Activation != "" && c.Activation != "gelu":
		return fmt.Errorf("config.json has projector_hidden_act %q; only gelu is supported", c.Activation)
	case c.Bias != nil && !*c.Bias:
		return errors.New("config.json has multimodal_projector_bias false; only projectors with biases are supported")
	}
	return nil
}

// textDefaults are the sizes that transformers 5.17 uses for keys missing from a text_config (its
// configuration_llama.py and those of the other families); published folders leave out most of them.
var textDefaults = map[string]map[string]any{
	"llama": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
		"num_attention_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6},
	"mistral": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
		"num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6},
	"phi3": {"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
		"num_attention_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
	"qwen2": {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
		"num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6},
	"qwen3": {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
		"num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768,
		"rms_norm_eps": 1e-6},
}

// languageHalf is the language model's configuration inside a whole LLaVA's, or raw itself if it is not a LLaVA's.
func languageHalf(raw []byte) ([]byte, error) {
	c, err := parseWhole(raw)
	if err != nil || !c.isWhole() {
		return raw, err
	}
	if err := c.refuse(); err != nil || !c.nested() {
		return raw, err
	}
	text := map[string]any{}
	if len(c.Text) > 0 {
		if err := decodeNumbers(c.Text, &text); err != nil {
			return nil, fmt.Errorf("config.json: text_config: %w", err)
		}
	}
	kind, _ := text["model_type"].(string)
	full := maps.Clone(textDefaults[cmp.Or(kind, "llama")])
	if full == nil {
		full = map[string]any{}
	}
	full["model_type"] = "llama"
	maps.Copy(full, text)
	if tied, _ := full["tie_word_embeddings"].(bool); c.Tied && !tied {
		full["tie_word_embeddings"] = true
	}
	return json.Marshal(full)
}

// visionHalf is the tower's configuration inside that of a whole LLaVA, CLIP or SigLIP, or raw itself.
func visionHalf(raw []byte) ([]byte, error) {
	c, err := parseWhole(raw)
	if err != nil || len(c.Vision) == 0 && !isLLaVA(c.ModelType) {
		return raw, err
	}
	if len(c.Vision) == 0 {
		return nil, errors.New("config.json of this LLaVA has no vision_config; " +
			"name the folder of its vision tower (see mm_vision_tower) instead")
	}
	vision := map[string]any{}
	if err := decodeNumbers(c.Vision, &vision); err != nil {
		return nil, fmt.Errorf("config.json: vision_config: %w", err)
	}
	if vision["model_type"] == nil {
		vision["model_type"] = "clip_vision_model"
		if _, both := towers[c.ModelType]; both {
			vision["model_type"] = c.ModelType
		}
	}
	return json.Marshal(vision)
}

// decodeNumbers decodes JSON, keeping numbers as they are written.
func decodeNumbers(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(into)
}

// towerFolderOf is the folder of the tower that belongs to the model in dir: dir itself if it holds a tower, or a
// LLaVA with the tower's configuration inside; else the one in mm_vision_tower, a folder relative to dir or a Hugging
// Face id; or instead, unless it is "".
func towerFolderOf(dir, instead string, raw []byte) (string, error) {
	c, err := parseWhole(raw)
	if err == nil && instead != "" && c.isWhole() {
		return Resolve(instead)
	}
	if err != nil || c.Layer == nil || len(c.Vision) > 0 {
		return dir, err
	}
	if c.Tower == "" {
		return "", fmt.Errorf("config.json of %q has neither vision_config nor mm_vision_tower; "+
			"name the folder of its vision tower instead", dir)
	}
	beside := c.Tower
	if !filepath.IsAbs(beside) {
		beside = filepath.Join(dir, beside)
	}
	if info, err := os.Stat(beside); err == nil && info.IsDir() {
		return beside, nil
	}
	tower, err := Resolve(c.Tower)
	if err != nil {
		return "", fmt.Errorf("vision tower of %q (mm_vision_tower in its config.json): %w; "+
			"name its folder with --vision (in a recipe: model.vision.tower)", dir, err)
	}
	return tower, nil
}

// towerName is the value of mm_vision_tower for the tower in a recipe's weights, by its place in a LLaVA that has two:
// an id stays as it is, a folder becomes absolute.
func towerName(weights, dir, towerDir string, tower int) (string, error) {
	if dir == "" {
		return "", nil
	}
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return "", err
	}
	var c wholeConfig
	if raw, _, err = ofTower(raw, tower); err == nil {
		c, err = parseWhole(raw)
	}
	switch {
	case err != nil:
		return "", err
	case !c.isWhole():
		return weights, nil
	case c.Tower == "" || dir == towerDir: // unchanged
		return c.Tower, nil
	}
	if checkpoints.Exists(filepath.Join(dir, c.Tower)) {
		return filepath.Abs(towerDir)
	}
	return c.Tower, nil
}

// What applies to a model that does not say it.
const (
	defaultLength   = 2048
	defaultTemplate = "vicuna_v1"
)

// ReadLLaVA reads from a folder with a whole LLaVA, in any of the layouts, how to open and prompt it. The original's
// defaults apply to whatever config.json does not say. base is the language model that adapters in the folder belong
// to, "" for the one that they name.
func ReadLLaVA(dir, base string) (m recipes.Model, notes ExportNotes, err error) {
	defer failure.MarkInput(&err)
	from := dir // of the configuration: adapters alone have that of the LLaVA that they belong to
	if projectorAlone(dir) {
		return m, notes, errProjectorAlone(dir)
	}
	if HoldsAdapters(dir) && !checkpoints.Exists(filepath.Join(dir, "config.json")) {
		if from, _, err = LanguageFolder(recipes.Language{Weights: dir, Base: base}); err != nil {
			return m, notes, err
		}
	}
	raw, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		return m, notes, err
	}
	c, err := parseWhole(raw)
	if err == nil && !c.isWhole() && HoldsAdapters(dir) {
		return adaptersAndProjector(dir, from, base, c)
	}
	if err == nil && !c.isWhole() {
		err = fmt.Errorf("not a LLaVA model: model_type is %q, and it has no mm_vision_select_layer", c.ModelType)
	}
	if err == nil {
		err = c.refuse()
	}
	if err == nil && c.nested() {
		err = c.unnest()
	}
	if err != nil {
		return m, notes, fmt.Errorf("%s: %w", dir, err)
	}
	tiles, err := c.tiles(from)
	if err != nil {
		return m, notes, fmt.Errorf("%s: %w", dir, err)
	}
	aspect := cmp.Or(c.Aspect, aspectOf(dir))
	if tiles != nil && tiles.Pinpoints != "" {
		aspect = recipes.AnyResolution
	}
	projector, err := recipes.ParseProjector(cmp.Or(c.Projector, "linear"), c.Settings)
	if err != nil {
		return m, notes, fmt.Errorf("%s: config.json: %w", dir, err)
	}
	vision := recipes.Vision{Weights: from, SelectLayer: *c.Layer, SelectFeature: cmp.Or(c.Feature, "patch")}
	if vision.Second, err = secondTower(raw, vision); err != nil {
		return m, notes, fmt.Errorf("%s: %w", dir, err)
	}
	m = recipes.Model{
		Tiles:     tiles,
		Vision:    vision,
		Projector: projector,
		Language: recipes.Language{Weights: dir, Base: base, Tokenizer: recipes.Tokenizer{Legacy: "auto"},
			MaxLength: cmp.Or(c.MaxLength, defaultLength), System: c.System},
	}
	return m, ExportNotes{
		Aspect: aspect, Template: cmp.Or(c.Template, c.usualTemplate()), Turn: c.Turn,
		MaxPixels: max(0, c.MaxPixels),
	}, nil
}

// usualTemplates are the templates of published LLaVA models, by the family of their language model.
var usualTemplates = map[string]string{"qwen2": "qwen_2", "qwen3": "qwen_3", "mistral": "mistral_instruct",
	"phi3": "phi_3"}

// usualTemplate is the template of a folder that does not name one.
func (c wholeConfig) usualTemplate() string {
	var text struct {
		ModelType string `json:"model_type"`
	}
	if c.nested() && json.Unmarshal(c.Text, &text) == nil && usualTemplates[text.ModelType] != "" {
		return usualTemplates[text.ModelType]
	}
	return "vicuna_v1"
}

// aspectOf is how a folder's image settings make images square, if its config.json does not say it: transformers'
// LlavaImageProcessor pads if do_pad is set.
func aspectOf(dir string) string {
	type processor struct {
		Pads bool `json:"do_pad"`
	}
	for _, file := range []string{"preprocessor_config.json", "processor_config.json"} {
		var config struct {
			processor
			Image processor `json:"image_processor"` // transformers 5
		}
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil && json.Unmarshal(text, &config) == nil && (config.Pads || config.Image.Pads) {
			return "pad"
		}
	}
	return "square"
}

// projectorAlone says whether a folder holds only a projector, as stage 1 writes it.
func projectorAlone(dir string) bool {
	found := func(pattern string) bool {
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		return len(files) > 0
	}
	return found("mm_projector.*") && !found("model*.safetensors*") && !found("pytorch_model*") && !found(AdapterConfig)
}

func errProjectorAlone(dir string) error {
	return fmt.Errorf("%q holds only a projector: name it as model.projector.weights, "+
		"and the language model it was trained with as model.language.weights", dir)
}

// unnest sets the original's keys from transformers'.
func (c *wholeConfig) unnest() error {
	layer, isNumber := cmp.Or(c.FeatureLayer, any(-2.)).(float64)
	if !isNumber || layer != float64(int(layer)) {
		return fmt.Errorf("config.json has vision_feature_layer %v; only a single layer is supported", c.FeatureLayer)
	}
	feature, known := map[string]string{"": "patch", "default": "patch", "full": "cls_patch"}[c.Strategy]
	if !known {
		return fmt.Errorf("config.json has vision_feature_select_strategy %q; it must be default or full", c.Strategy)
	}
	var vision map[string]any
	if json.Unmarshal(c.Vision, &vision) == nil {
		kind, _ := kindOf(c.Vision) // what is not known is reported where the tower is opened
		if kind.noNested != "" {
			return fmt.Errorf("config.json has a vision_config of %v: %s, which is not supported", vision["model_type"],
				kind.noNested)
		}
		if !hasClassToken(vision) {
			feature = "patch" // full keeps the class token, and there is none
		}
	}
	number := int(layer)
	c.Layer, c.Feature, c.Projector = &number, feature, "mlp2x_gelu"
	return nil
}

// Names and README sentences of folders whose weights are differences from another model's.
var (
	deltaName   = regexp.MustCompile(`(?i)[-_]delta([-_.]|$)`)
	deltaReadme = regexp.MustCompile(`(?i)delta (model|weights)["'”*]* cannot be used directly`)
)

const deltaAdvice = "they are differences from LLaMA's weights and cannot be used by themselves. " +
	"Add them to LLaMA's first (FastChat's or LLaVA's apply_delta), or use a release with merged weights"

// refuseDelta refuses weights that were published as differences from LLaMA's (Vicuna v0 and v1.1, the first LLaVAs).
// It recognises them by the name of the folder or repository, the name in config.json, or the sentence that all their
// README.md files have.
func refuseDelta(weights, dir string, config []byte) error {
	if dir == "" {
		return nil
	}
	var named struct {
		From string `json:"_name_or_path"`
	}
	json.Unmarshal(config, &named) // a file that cannot be read is reported elsewhere
	readme, _ := os.ReadFile(filepath.Join(dir, "README.md"))
	for _, name := range []string{filepath.Base(weights), filepath.Base(named.From)} {
		if deltaName.MatchString(name) {
			return fmt.Errorf("%q holds delta weights, according to the name %q: %s", dir, name, deltaAdvice)
		}
	}
	if deltaReadme.Match(readme) {
		return fmt.Errorf("%q holds delta weights, according to its README.md: %s", dir, deltaAdvice)
	}
	return nil
}
