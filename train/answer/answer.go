package answer

import (
	"cmp"
	"path/filepath"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/input"
)

// Answerer is an opened model that answers questions about images. Close it after use.
type Answerer struct {
	located
	*input.Preprocessor
	LLaVA   *model.LLaVA
	encoder *data.Encoder
}

// OpenAnswerer opens the model that is named, on the GPU if there is one.
func OpenAnswerer(named Named, report runs.Observer) (*Answerer, error) {
	where, err := named.Locate()
	if err != nil {
		return nil, err
	}
	preprocessor, err := input.OpenPreprocessor(where.Model)
	if err != nil {
		return nil, err
	}
	a, err := newAnswerer(where, preprocessor)
	if err != nil {
		return nil, err
	}
	on, dtype, err := device.Placement("auto", cmp.Or(named.Dtype, "auto"))
	if err != nil {
		return nil, err
	}
	if on != torch.CPU {
		for _, line := range torch.LoadKernels(on) {
			report.Say(line)
		}
	}
	options := where.Open()
	options.Device, options.Dtype, options.Normalization = on, dtype, a.Normalization()
	options.NewTokens = a.NewTokens()
	options.Progress = func(done, total int64) { report.Progress("loading weights", done, total) }
	if a.LLaVA, err = model.Open(where.Model, options); err != nil {
		return nil, err
	}
	for _, p := range a.LLaVA.Params.All() {
		torch.LargePages(p.Tensor())
	}
	if err := a.Fits(a.LLaVA.Language.Describe()); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Training makes an answerer of a model that a stage trains. LLaVA is to be set before it is asked; it stays the
// caller's, and Close is not called.
func Training(m recipes.Model, stage *recipes.Stage, preprocessor *input.Preprocessor) (*Answerer, error) {
	return newAnswerer(located{Model: m, Notes: notesOf(stage)}, preprocessor)
}

// newAnswerer makes an answerer without its model.
func newAnswerer(where located, preprocessor *input.Preprocessor) (*Answerer, error) {
	a := &Answerer{located: where, Preprocessor: preprocessor}
	template, err := input.OpenTemplate(where.Model, where.Notes.Template)
	if err != nil {
		return nil, err
	}
	aspect := cmp.Or(where.Notes.Aspect, "square")
	a.encoder, err = preprocessor.Encoder(template, where.Model.Language.MaxLength, aspect)
	return a, err
}

// Images says how images are read for the model.
func (a *Answerer) Images() picture.Options {
	return picture.Options{Orientation: a.Notes.Turns(), MaxPixels: a.Notes.MaxPixels}
}

// ReadImage decodes an image file that a person names.
func ReadImage(path string) (*picture.RGB, error) {
	images, err := picture.OpenImages(filepath.Dir(path), picture.Options{})
	if err != nil {
		return nil, err
	}
	defer images.Close()
	return images.Read(filepath.Base(path))
}

// OpenPicture reads an image file and prepares it for the tower; several says that a question is about others too.
func (a *Answerer) OpenPicture(path string, several bool) (picture.Picture, error) {
	images, err := picture.OpenImages(filepath.Dir(path), a.Images())
	if err != nil {
		return picture.Picture{}, err
	}
	defer images.Close()
	decoded, err := images.Read(filepath.Base(path))
	if err != nil {
		return picture.Picture{}, err
	}
	return a.Picture(decoded, a.Notes.Aspect, several), nil
}

// Batch turns one question into a batch of one sample; images are those that it is about. system replaces the
// template's own unless "".
func (a *Answerer) Batch(system, question string, images ...picture.Picture) (data.Batch, error) {
	sample, err := a.encoder.Prompt(system, question, images...)
	if err != nil {
		return data.Batch{}, err
	}
	return data.Collate([]data.Sample{sample}, func(n int) []uint8 { return make([]uint8, n) })
}

// Answer generates the answer to one question about images. emit gets the text as it is generated.
func (a *Answerer) Answer(images []picture.Picture, question string, how model.Sampling, emit func(text string)) error {
	batch, err := a.Batch("", question, images...)
	if err != nil {
		return err
	}
	stream := a.stream(emit)
	err = a.LLaVA.Generate(input.Input(batch), a.stopping(how), stream.token)
	stream.end()
	return err
}

// ImageTokens is how many positions an image takes that is not cut into tiles.
func (a *Answerer) ImageTokens() int { return int(a.LLaVA.ProjectorShape.Tokens) }

// StopText is the template's text that ends an answer, "" if only tokens do.
func (a *Answerer) StopText() string {
	_, text := a.encoder.Stop()
	return text
}

// stream turns an answer's tokens into text.
func (a *Answerer) stream(emit func(text string)) *stream {
	var stops []string
	if text := a.StopText(); text != "" {
		stops = []string{text}
	}
	return newStream(a.Tokenizer.NewDecoder(), stops, emit)
}

// stopping adds the tokens that end an answer to how.
func (a *Answerer) stopping(how model.Sampling) model.Sampling {
	how.Stop, _ = a.encoder.Stop()
	return how
}

// Close frees the model.
func (a *Answerer) Close() { a.LLaVA.Free() }
