package export

import (
	"fmt"
	"os"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

// Merging adds the adapters of a trained model to the weights beside them and writes the whole model.
type Merging struct {
	Model  recipes.Model
	Open   model.OpenOptions // adapters, overlays, and the seed of random parts
	Device torch.Device
	Dtype  torch.Dtype // of the file; the sums and their check are in fp32
	Notes  model.ExportNotes
	Out    string // a folder that does not exist yet
	Report runs.Observer
}

// Run writes the folder, unless the merged model's logits differ from those of the model with adapters by more than
// rounding.
func (m Merging) Run() error {
	if _, err := os.Lstat(m.Out); err == nil {
		return failure.Inputf("%s exists; name a folder that does not", m.Out)
	}
	if len(m.Open.LoRA) == 0 && model.HoldsAdapters(m.Model.Language.Weights) { // which are added as they are read
		return Conversion{
			Model:  m.Model,
			Open:   m.Open,
			Notes:  m.Notes,
			Format: "llava",
			Out:    m.Out,
			Report: m.Report,
		}.Run()
	}
	if len(m.Open.LoRA) == 0 {
		return failure.Inputf("the model was not trained with adapters (lora): there is nothing to merge")
	}
	preprocessor, err := input.OpenPreprocessor(m.Model)
	if err != nil {
		return err
	}
	m.Open.Device, m.Open.Dtype, m.Open.Normalization = m.Device, torch.Float32, preprocessor.Normalization()
	m.Open.NewTokens = preprocessor.NewTokens()
	m.Open.Progress = func(done, total int64) { m.Report.Progress("loading weights", done, total) }
	llava, err := model.Open(m.Model, m.Open)
	if err != nil {
		return err
	}
	defer llava.Free()
	moved, err := llava.Merge()
	if err != nil {
		return err
	}
	m.Report.Say(fmt.Sprintf("the logits of a fixed prompt changed by %.2g of the largest; up to %g is allowed",
		moved, model.MergeTolerance))
	return m.write(llava, preprocessor)
}

func (m Merging) write(llava *model.LLaVA, preprocessor *input.Preprocessor) error {
	config, err := llava.Config(m.Model, m.Notes, StoredDtype(m.Dtype))
	if err != nil {
		return err
	}
	weights := Select(llava.Params.All(), func(p *nn.Param) bool { return !p.Adapter })
	out := Output{"model", weights, StoredDtype(m.Dtype), AsNamed}
	if err := checkpoints.NeedSpace(m.Out, Size(out.Infos())); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	err = checkpoints.Publish(m.Out, func(dir string) error {
		if err := WriteFolder(preprocessor, dir, config); err != nil {
			return err
		}
		return out.Write(dir, m.Report)
	})
	if err == nil && m.Notes.Turns() {
		m.Report.Say(TurnedText)
	}
	return err
}
