package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Export is a model as a folder in one of the formats: its configuration, and its tensors, which are read one at a
// time.
type Export struct {
	Config    []byte
	Processor []byte             // processor_config.json of format hf
	Tensors   []checkpoints.Info // under the format's names
	Metadata  map[string]string  // of the file in format projector

	contents *Contents
	list     []content
	mean     []float32 // [D] mean of the embedding's rows, computed when first needed
}

// ExportOptions say how a model is written.
type ExportOptions struct {
	Format        string
	Dtype         checkpoints.Dtype
	Notes         ExportNotes
	SpecialTokens SpecialTokens // of format hf
	Pinpoints     [][2]int      // of format hf, for a model with tiles: width and height in pixels
}

// SpecialTokens are the ids of the tokens that transformers' LLaVA adds to the vocabulary. Video is 0 but for
// LLaVA-OneVision.
type SpecialTokens struct{ Image, Pad, Video int64 }

// formats are the layouts that Export writes.
var formats = map[string]func(e *Export, o ExportOptions) error{
	"adapter":   (*Export).adaptersAlone,
	"hf":        (*Export).nested,
	"llava":     (*Export).whole,
	"projector": (*Export).projectorAlone,
}

// Export prepares a model for writing.
func (c *Contents) Export(o ExportOptions) (_ *Export, err error) {
	defer failure.MarkInput(&err)
	build, err := failure.LookUp("format", o.Format, formats)
	if err != nil {
		return nil, err
	}
	e := &Export{contents: c, list: slices.Clone(c.list)}
	if err := build(e, o); err != nil {
		return nil, fmt.Errorf("format %s: %w", o.Format, err)
	}
	return e, nil
}

// torchDtypes are PyTorch's names of dtypes, as in configurations.
var torchDtypes = map[checkpoints.Dtype]string{checkpoints.F32: "float32", checkpoints.BF16: "bfloat16",
	checkpoints.F16: "float16"}

// adaptersAlone writes only the adapters, in PEFT's layout.
func (e *Export) adaptersAlone(o ExportOptions) (err error) {
	e.list = slices.DeleteFunc(e.list, func(t content) bool { return !t.isAdapter() })
	if adapters := e.contents.sources.adapters; len(e.list) == 0 && adapters != nil {
		return fmt.Errorf("%q holds adapters already, which PEFT reads as they are", adapters.where)
	}
	if len(e.list) == 0 {
		return errors.New("the model was not trained with adapters (lora)")
	}
	for _, t := range e.list {
		e.add(AdapterName(t.name), o.Dtype, t.shape())
	}
	e.Config, err = e.contents.model.DescribeAdapters(e.contents.recipe.Language.Weights)
	return err
}

// merged refuses a model with adapters, which the layouts of a whole model cannot hold.
func (e *Export) merged() error {
	if slices.ContainsFunc(e.list, content.isAdapter) {
		return errors.New("the model has adapters: " +
			"merge them with llavatrain merge and export the result, or use --format adapter")
	}
	return nil
}

func (t content) isAdapter() bool { return t.param != nil && t.param.Adapter }

// whole writes the original's layout.
func (e *Export) whole(o ExportOptions) (err error) {
	if err := e.merged(); err != nil {
		return err
	}
	m := e.contents.model
	for _, t := range e.list {
		e.add(t.name, o.Dtype, t.shape())
	}
	e.Config, err = exportConfig(m.configs, e.contents.recipe, m.Tower.Describe(), o.Notes, torchDtypes[o.Dtype])
	return err
}

// projectorAlone writes only the projector, as stage 1 of the original does, and the identities of the parts it
// belongs to.
func (e *Export) projectorAlone(o ExportOptions) (err error) {
	e.list = slices.DeleteFunc(e.list, func(t content) bool {
		return t.param == nil || t.param.Part != recipes.PartProjector || t.param.Adapter
	})
	if len(e.list) == 0 {
		return errors.New("this model's projector has no weights")
	}
	if e.Metadata, err = e.contents.sources.identities(e.contents.model.Params); err != nil {
		return err
	}
	return e.whole(o)
}

func (e *Export) add(name string, dtype checkpoints.Dtype, shape []int64) {
	e.Tensors = append(e.Tensors, checkpoints.Info{Name: name, Dtype: dtype, Shape: shape})
}

// nested writes transformers' layout.
func (e *Export) nested(o ExportOptions) error {
	if err := e.merged(); err != nil {
		return err
	}
	m, recipe := e.contents.model, e.contents.recipe
	if err := m.configs.oneTower(); err != nil {
		return err
	}
	if kind := recipe.Projector.Type; kind != "mlp2x_gelu" {
		return fmt.Errorf("transformers' LLaVA supports only a two-layer projector (mlp2x_gelu), "+
			"not this model's (%s): use --format llava", kind)
	}
	rows := m.Language.Describe().VocabSize
	if last := max(o.SpecialTokens.Image, o.SpecialTokens.Pad, o.SpecialTokens.Video); last >= rows {
		rows = (last + 1 + 63) / 64 * 64 // as the conversion of llava-hf's models does
	}
	kind, err := kindOf(m.configs.towers[0].config)
	if err != nil {
		return err
	}
	if kind.noNested != "" {
		return fmt.Errorf("%s: use --format llava", kind.noNested)
	}
	layers := e.completeTower(kind)
	for _, t := range e.list {
		shape := slices.Clone(t.shape())
		if t.param != nil && hasTokenRows(t.param) {
			shape[0] = rows
		}
		spelled := kind.nested
		if t.param != nil && t.param.Part != recipes.PartVision {
			spelled = onDisk[t.param.Part]
		}
		e.add(spelled.of(t.name), o.Dtype, shape)
	}
	return e.nestedConfigs(layers, rows, o)
}

// completeTower adds the norm after the tower's last layer, as transformers would initialise it, if the files have
// none: transformers loads it, but the features do not depend on it. It returns the number of layers.
func (e *Export) completeTower(kind towerKind) (layers int) {
	for e.contents.has(visionPrefix + fmt.Sprintf(kind.layer, layers)) {
		layers++
	}
	width := []int64{e.contents.model.Tower.Describe().HiddenSize}
	for _, norm := range []struct{ name, kind string }{{"weight", "ones"}, {"bias", "zeros"}} {
		name := visionPrefix + kind.norm + "." + norm.name
		if !e.contents.has(name) {
			p := &nn.Param{Name: name, Part: recipes.PartVision, Shape: width, Init: nn.Init{Kind: norm.kind}}
			e.list = append(e.list, content{name, assignment{param: p}})
		}
	}
	return layers
}

// nestedConfigs makes the config.json of LlavaForConditionalGeneration, including our own keys, which its readers
// ignore, and the processor_config.json of LlavaProcessor.
func (e *Export) nestedConfigs(layers int, rows int64, o ExportOptions) error {
	m, recipe, dtype := e.contents.model, e.contents.recipe, torchDtypes[o.Dtype]
	var text, vision map[string]any
	if err := errors.Join(decodeNumbers(m.configs.language, &text),
		decodeNumbers(m.configs.towers[0].config, &vision)); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	maps.DeleteFunc(text, func(key string, _ any) bool { return isOriginals(key) })
	kind, err := languageType(m.configs.language)
	if err != nil {
		return err
	}
	text["model_type"], text["vocab_size"], text["torch_dtype"] = kind, rows, dtype
	text["pad_token_id"], text["architectures"] = o.SpecialTokens.Pad, []string{languages[kind].class}
	selected, err := selectedOf(recipe.Vision, declaredLayers(vision, layers), layers)
	if err != nil {
		return err
	}
	tower := m.Tower.Describe()
	vision["num_hidden_layers"], vision["patch_size"], vision["torch_dtype"] = layers, tower.PatchSize, dtype
	if !hasClassToken(vision) {
		// SigLIP's pooling, which the features do not use
		vision["vision_use_head"] = e.contents.has(visionPrefix + "head.probe")
	}
	if tower.Resizes { // DINOv2's token for masked patches, which the features do not use either
		vision["use_mask_token"] = e.contents.has(visionPrefix + "embeddings.mask_token")
	}
	delete(text, "dtype") // transformers 5's name of torch_dtype
	delete(vision, "dtype")
	for _, key := range []string{"out_features", "out_indices", "stage_names"} { // name layers that may be cut off
		delete(vision, key)
	}
	tied, _ := text["tie_word_embeddings"].(bool)
	strategy, classTokens := "full", 0
	if hasClassToken(vision) {
		strategy = map[string]string{"patch": "default", "cls_patch": "full"}[recipe.Vision.SelectFeature]
		classTokens = 1
	}
	config := map[string]any{
		"architectures": []string{"LlavaForConditionalGeneration"}, "model_type": "llava", "torch_dtype": dtype,
		"text_config": text, "vision_config": vision, "image_token_index": o.SpecialTokens.Image,
		"pad_token_id": o.SpecialTokens.Pad, "ignore_index": -100,
		"image_seq_length": tower.Tokens, "projector_hidden_act": "gelu", "multimodal_projector_bias": true,
		"vision_feature_layer": selected, "vision_feature_select_strategy": strategy, "tie_word_embeddings": tied,
		"image_aspect_ratio": o.Notes.Aspect, "conversation_template": o.Notes.Template,
		"tokenizer_model_max_length": recipe.Language.MaxLength,
	}
	o.Notes.addImages(config)
	addSystem(config, recipe.Language)
	if tower.Resizes {
		config["mm_vision_image_size"] = tower.ImageSize // ours
	}
	processor := map[string]any{
		"processor_class": "LlavaProcessor", "image_token": "<image>", "num_additional_image_tokens": classTokens,
		"patch_size": tower.PatchSize, "vision_feature_select_strategy": strategy,
	}
	if err := nestedTiles(m.configs.tiles, o, tower, config, processor); err != nil {
		return err
	}
	if e.Config, err = json.MarshalIndent(config, "", "  "); err != nil {
		return err
	}
	e.Processor, err = json.MarshalIndent(processor, "", "  ")
	return err
}

// selectedOf is the index of the recipe's selected hidden state in a tower of which only layers of all layers are
// left: our own exports leave out those after the selected one.
func selectedOf(v recipes.Vision, all, layers int) (int, error) {
	if all == layers {
		return v.SelectLayer, nil
	}
	run, err := TowerSelect{Layer: v.SelectLayer, Feature: v.SelectFeature}.layers(all)
	return run - layers - 1, err
}

// declaredLayers is num_hidden_layers in a tower's configuration.
func declaredLayers(vision map[string]any, fallback int) int {
	number, _ := vision["num_hidden_layers"].(json.Number)
	if n, err := number.Int64(); err == nil {
		return int(n)
	}
	return max(fallback, 12) // CLIP's and SigLIP's default
}

// isOriginals says whether a top-level key of the original's configuration does not belong to its language model.
func isOriginals(key string) bool {
	prefixes := []string{"mm_", "tune_mm_", "freeze_mm_", "use_mm_", "image_", "tokenizer_", "unfreeze_mm_"}
	return hasPrefix(key, prefixes) || slices.Contains([]string{
		"vision_config", "conversation_template", "conversation_system",
		"_name_or_path", "architectures", "transformers_version", "auto_map"}, key)
}

// Read returns the values of the i-th tensor, in its dtype. They may be in the mapped file, so they are valid only
// until the contents are closed.
func (e *Export) Read(i int) ([]byte, error) {
	t, info := e.list[i], e.Tensors[i]
	values, err := t.values(e.contents.seed)
	if err != nil {
		return nil, err
	}
	data, err := convert(values, info.Dtype)
	if err != nil || int64(len(data)) == info.Bytes() {
		return data, err
	}
	row, err := e.meanRow(info)
	if err != nil {
		return nil, err
	}
	data = slices.Grow(slices.Clip(data), int(info.Bytes())-len(data))
	for int64(len(data)) < info.Bytes() {
		data = append(data, row...)
	}
	return data, nil
}

// Release frees the memory of the i-th tensor after it has been written.
func (e *Export) Release(i int) {
	if t := e.list[i]; t.weights != nil {
		t.weights.Release(t.info.Name)
	}
}

// meanRow is the value of the rows of new tokens, in both matrices: the mean of the input embedding's rows.
// llava-hf's conversion draws them from a narrow normal distribution around it.
func (e *Export) meanRow(like checkpoints.Info) ([]byte, error) {
	width := like.Shape[1]
	if e.mean == nil {
		at := slices.IndexFunc(e.list, func(t content) bool {
			return t.param != nil && strings.HasSuffix(t.name, "embed_tokens.weight")
		})
		if at < 0 {
			return nil, errors.New("the language model has no embed_tokens.weight")
		}
		values, err := e.list[at].values(e.contents.seed)
		if err != nil {
			return nil, err
		}
		if e.mean, err = columnMeans(values, width); err != nil {
			return nil, err
		}
	}
	return convert(checkpoints.Float32Tensor("mean", e.mean), like.Dtype)
}

// columnMeans are the means of a matrix's columns, summed in float64.
func columnMeans(matrix checkpoints.Tensor, width int64) ([]float32, error) {
	sums, rowBytes := make([]float64, width), width*int64(matrix.Dtype.Size())
	rows := int64(len(matrix.Data)) / rowBytes
	for r := range rows {
		row := checkpoints.Tensor{Info: checkpoints.Info{Name: matrix.Name, Dtype: matrix.Dtype, Shape: []int64{width}},
			Data: matrix.Data[r*rowBytes:][:rowBytes]}
		values, err := row.Float32s()
		if err != nil {
			return nil, err
		}
		for i, x := range values {
			sums[i] += float64(x)
		}
	}
	means := make([]float32, width)
	for i, sum := range sums {
		means[i] = float32(sum / float64(rows))
	}
	return means, nil
}
