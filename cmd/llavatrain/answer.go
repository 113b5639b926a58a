package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/train"
)

// located is what a MODEL argument stands for.
type located struct {
	model    recipes.Model
	overlay  []string // weight files over those of the recipe
	lora     map[string]recipes.LoRA
	seed     uint64 // of parts that the recipe makes from a configuration
	dtype    string // as in a recipe
	template string
	aspect   string
}

// open is where the model's values come from.
func (l located) open() model.OpenOptions {
	return model.OpenOptions{Seed: l.seed, Overlay: l.overlay, LoRA: l.lora}
}

// locate finds the model behind a path: a run folder (its export, else its newest checkpoint), a checkpoint,
// a LLaVA folder, or the Hugging Face id of one.
func locate(path string) (located, error) {
	has := func(elements ...string) bool {
		_, err := os.Stat(filepath.Join(append([]string{path}, elements...)...))
		return err == nil
	}
	switch {
	case has("config.json"):
		return locateFolder(path)
	case has("mm_projector.safetensors"):
		overlay := []string{model.ProjectorFile(path)}
		for _, file := range []string{model.AdapterFile, model.OthersFile} {
			if has(file) {
				overlay = append(overlay, filepath.Join(path, file))
			}
		}
		return locateInRun(filepath.Dir(path), overlay...)
	case has("state.json"):
		return locateInRun(filepath.Dir(filepath.Dir(path)), filepath.Join(path, "model.safetensors"))
	case has("export"):
		return locate(filepath.Join(path, "export"))
	case has("recipe.yaml"):
		newest, _, ok, err := checkpoints.Run{Dir: path}.Newest()
		if err == nil && !ok {
			err = fmt.Errorf("%s has no finished export and no checkpoint yet", path)
		}
		if err != nil {
			return located{}, err
		}
		return locate(newest.Dir)
	}
	for _, stage := range []string{"finetune", "pretrain"} {
		if has(stage) {
			return locate(filepath.Join(path, stage))
		}
	}
	if dir, err := model.Resolve(path); err == nil && dir != path { // a Hugging Face id
		return locateFolder(dir)
	}
	return located{}, fmt.Errorf("%s is not a model: give a run folder, a checkpoint, a LLaVA folder, or the Hugging Face id of one in the local hub cache", path)
}

// locateInRun is the recipe of a run folder with weights laid over it.
func locateInRun(runDir string, weights ...string) (located, error) {
	r, err := recipes.Load(filepath.Join(runDir, "recipe.yaml"), nil)
	if err != nil {
		return located{}, err
	}
	stage, err := r.Stage(filepath.Base(runDir))
	if err != nil {
		return located{}, err
	}
	return located{
		model: r.Model, overlay: weights, lora: stage.Adapters(), seed: r.Seed, dtype: r.Dtype, template: stage.Template, aspect: stage.Image,
	}, nil
}

// locateFolder reads the configuration of a whole model's folder: one that llavatrain exported, the original's, or transformers'.
func locateFolder(dir string) (located, error) {
	m, notes, err := model.ReadLLaVA(dir)
	return located{model: m, dtype: "auto", template: notes.Template, aspect: notes.Aspect}, err
}

// answerer is an opened model that answers questions about pictures.
type answerer struct {
	located
	*train.Reading
	llava   *model.LLaVA
	encoder *data.Encoder
}

func openAnswerer(path string, report train.Report) (*answerer, error) {
	where, err := locate(path)
	if err != nil {
		return nil, err
	}
	a := &answerer{located: where}
	if a.Reading, err = train.OpenReading(where.model); err != nil {
		return nil, err
	}
	template, err := data.OpenTemplate(where.template)
	if err != nil {
		return nil, err
	}
	if a.encoder, err = data.NewEncoder(a.Tokenizer, template, where.model.Language.MaxLength, int(a.Tower.Tokens)); err != nil {
		return nil, err
	}
	device, dtype, err := train.Placement("auto", "auto")
	if err != nil {
		return nil, err
	}
	table, options := a.Processor.Table(), where.open()
	options.Device, options.Dtype, options.Normalization = device, dtype, table[:]
	options.Progress = func(done, total int64) { report.Progress("loading weights", done, total) }
	if a.llava, err = model.Open(where.model, options); err != nil {
		return nil, err
	}
	if err := a.Fits(a.llava.Language.Describe()); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// picture prepares an image file for the tower.
func (a *answerer) picture(path string) (data.Picture, error) {
	images, err := data.OpenImages(filepath.Dir(path), nil)
	if err != nil {
		return data.Picture{}, err
	}
	defer images.Close()
	decoded, err := images.Read(filepath.Base(path))
	if err != nil {
		return data.Picture{}, err
	}
	return a.Picture(decoded, a.aspect), nil
}

// batch is one question, about a picture when there is one, as the model takes it.
func (a *answerer) batch(picture *data.Picture, question string) (data.Batch, error) {
	ids, err := a.encoder.Prompt(question, picture != nil)
	if err != nil {
		return data.Batch{}, err
	}
	sample := data.Sample{IDs: ids, Labels: slices.Repeat([]int32{data.Ignore}, len(ids))}
	if picture != nil {
		sample.Images = []data.Picture{*picture}
	}
	return data.Collate([]data.Sample{sample}, int(a.Tower.Tokens), func(n int) []uint8 { return make([]uint8, n) })
}

// answer generates the reply to one question, about a picture when there is one. emit gets the text as it comes.
func (a *answerer) answer(picture *data.Picture, question string, how model.Sampling, emit func(text string)) error {
	batch, err := a.batch(picture, question)
	if err != nil {
		return err
	}
	stream := a.stream(emit)
	err = a.llava.Generate(train.Input(batch), a.stopping(how), stream.token)
	stream.end()
	return err
}

// stream turns an answer's tokens into text.
func (a *answerer) stream(emit func(text string)) *stream {
	_, stopText := a.encoder.Stop()
	return newStream(a.Tokenizer.NewDecoder(), stopText, emit)
}

// stopping is how, with the tokens that end an answer.
func (a *answerer) stopping(how model.Sampling) model.Sampling {
	how.Stop, _ = a.encoder.Stop()
	return how
}

func (a *answerer) close() { a.llava.Free() }
