package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

// Conversion writes a model as a folder of another format. Tensors pass through memory one at a time: the complete
// model is never in memory.
type Conversion struct {
	Model      recipes.Model
	Open       model.OpenOptions // overlays and the seed of random parts
	Notes      model.ExportNotes
	Format     string            // hf, llava, projector or adapter
	Dtype      checkpoints.Dtype // "": the language model files', F32 if they have several; F32 for adapters
	ShardBytes int64             // 0: 5 GB
	Out        string            // a folder that does not exist yet
	Report     runs.Observer
}

// Run writes the folder, completely or not at all.
func (c Conversion) Run() error {
	if _, err := os.Lstat(c.Out); err == nil {
		return failure.Inputf("%s exists; name a folder that does not", c.Out)
	}
	preprocessor, err := input.OpenPreprocessor(c.Model)
	if err != nil {
		return err
	}
	c.Open.NewTokens = preprocessor.NewTokens()
	contents, err := model.Inspect(c.Model, c.Open)
	if err != nil {
		return err
	}
	defer contents.Close()
	if err := preprocessor.Fits(contents.Language()); err != nil {
		return err
	}
	if c.Notes.Aspect != recipes.AnyResolution {
		preprocessor.Tiling = nil
	}
	marks := marksOf(preprocessor)
	switch {
	case c.Dtype != "":
	case c.Format == "adapter":
		c.Dtype = checkpoints.F32
	default:
		c.Dtype = contents.Dtype()
	}
	export, err := contents.Export(model.ExportOptions{
		Format: c.Format, Dtype: c.Dtype, Notes: c.Notes, SpecialTokens: marks.ids(),
		Pinpoints: pinpointPairs(preprocessor.Tiling),
	})
	if err != nil {
		return err
	}
	if err := checkpoints.NeedSpace(c.Out, Size(export.Tensors)); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	err = checkpoints.Publish(c.Out, func(dir string) error {
		return c.write(dir, export, preprocessor, marks)
	})
	if err == nil && c.Notes.Turns() && c.Format != "projector" {
		c.Report.Say(TurnedText)
	}
	if err == nil && c.Format == "hf" && preprocessor.Tiling != nil && !preprocessor.Tiling.TileAll &&
		!isOneVision(preprocessor.Tiling) {
		c.Report.Say(severalText)
	}
	return err
}

// severalText says what whoever reads an exported folder must know of a question about several images.
const severalText = "note: in training, each of several images of a row was one padded tile (model.tiles.several); " +
	"transformers' LLaVA-NeXT tiles each of them"

// TurnedText says what whoever reads an exported folder must do with images that were turned in training.
const TurnedText = "note: in training, images were turned by their EXIF orientation (orientation: exif); " +
	"other programs must turn them first, as PIL's ImageOps.exif_transpose does"

func (c Conversion) write(dir string, export *model.Export, preprocessor *input.Preprocessor, marks marks) error {
	switch c.Format {
	case "projector":
		return c.writeAlone(dir, "config.json", model.ProjectorFile(""), export)
	case "adapter":
		return c.writeAlone(dir, model.AdapterConfig, model.AdapterFile, export)
	case "hf":
		if err := c.writeProcessor(dir, export, preprocessor, marks); err != nil {
			return err
		}
	default:
		if err := WriteFolder(preprocessor, dir, export.Config); err != nil {
			return err
		}
	}
	return c.writeWeights(dir, export)
}

// writeAlone writes one part of a model as a file of weights and a configuration.
func (c Conversion) writeAlone(dir, config, file string, export *model.Export) error {
	if err := os.WriteFile(filepath.Join(dir, config), export.Config, 0o666); err != nil {
		return err
	}
	tensors := make([]checkpoints.Tensor, len(export.Tensors))
	for i, info := range export.Tensors {
		values, err := export.Read(i)
		if err != nil {
			return err
		}
		tensors[i] = checkpoints.Tensor{Info: info, Data: values}
	}
	return checkpoints.WriteSafetensors(filepath.Join(dir, file), export.Metadata, tensors)
}

func (c Conversion) writeWeights(dir string, export *model.Export) error {
	shard := c.ShardBytes
	if shard == 0 {
		shard = shardBytes
	}
	w, err := checkpoints.NewWriter(dir, "model", shard, export.Tensors)
	if err != nil {
		return err
	}
	done, total := int64(0), Size(export.Tensors)
	for i, info := range export.Tensors {
		values, err := export.Read(i)
		if err == nil {
			err = w.Write(info.Name, values)
		}
		if err != nil {
			return errors.Join(err, w.Close())
		}
		export.Release(i)
		done += info.Bytes()
		c.Report.Progress("writing", done, total)
	}
	return w.Close()
}

// writeProcessor writes what transformers' AutoProcessor wants beside the weights: the two added tokens in the
// tokenizer's files, the settings of images and placeholders, the chat template, and a new generation configuration,
// since published ones hold values that newer versions refuse to save again.
func (c Conversion) writeProcessor(
	dir string, export *model.Export, preprocessor *input.Preprocessor, marks marks,
) error {
	if err := WriteFolder(preprocessor, dir, export.Config); err != nil {
		return err
	}
	if err := writeFast(preprocessor, dir); err != nil {
		return err
	}
	kind := processorOf(preprocessor.Tiling)
	if images := c.imageSettings(preprocessor); images != nil {
		if err := os.WriteFile(filepath.Join(dir, "preprocessor_config.json"), images, 0o666); err != nil {
			return err
		}
	}
	class := "LlamaTokenizer"
	if _, name := preprocessor.Tokenizer.File(); name == "tokenizer.json" {
		class = "PreTrainedTokenizerFast"
	}
	if err := marks.write(dir, class, kind+"Processor"); err != nil {
		return err
	}
	template, err := input.OpenTemplate(c.Model, c.Notes.Template)
	if err != nil {
		return err
	}
	generation, err := c.generation(preprocessor, template, marks)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"processor_config.json":  export.Processor,
		"generation_config.json": generation,
		"chat_template.jinja":    []byte(template.Chat(preprocessor.Tokenizer)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// generation is the content of generation_config.json: the tokens that begin and end an answer.
func (c Conversion) generation(preprocessor *input.Preprocessor, template *data.Template, marks marks) ([]byte, error) {
	length := c.Model.Language.MaxLength
	encoder, err := preprocessor.Encoder(template, length, c.Notes.Aspect)
	if err != nil {
		return nil, err
	}
	config := object{"_from_model_config": true, "pad_token_id": marks.pad}
	if bos := preprocessor.Tokenizer.BOS; bos >= 0 {
		config["bos_token_id"] = bos
	}
	ids, _ := encoder.Stop()
	if config["eos_token_id"] = ids; len(ids) == 1 {
		config["eos_token_id"] = ids[0]
	}
	return json.MarshalIndent(config, "", "  ")
}

// writeFast adds the tokenizer.json that newer versions of transformers want, if the model came without it.
func writeFast(p *input.Preprocessor, dir string) error {
	path := filepath.Join(dir, "tokenizer.json")
	if checkpoints.Exists(path) {
		return nil
	}
	fast, err := p.Tokenizer.Fast()
	if err != nil {
		return err
	}
	return os.WriteFile(path, fast, 0o666)
}
