package train

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/exam"
	"github.com/llavatrain/llavatrain/train/input"
)

// PlanOptions says what to plan for.
type PlanOptions struct {
	Stage        string // pretrain or finetune; "" for all that the recipe has
	DeviceMemory int64  // bytes of a GPU to plan for; 0: this machine's device
	Processes    int    // that train together, one for each GPU; 0: one alone
	TokensPerS   float64
	Report       runs.Observer
}

// Planned is what one stage needs. Its JSON is a contract with scripts.
type Planned struct {
	Stage        string        `json:"stage"`
	Dtype        string        `json:"dtype"`
	Processes    int           `json:"processes,omitempty"` // that train together; 0: one alone
	Zero         int           `json:"zero,omitempty"`      // 1 divides the optimizer's state, 2 gradients, 3 weights
	Modes        []ModePlanned `json:"modes,omitempty"`     // of several processes, by zero
	Parts        []PartPlanned `json:"parts"`
	Micro        int           `json:"micro"`     // samples in a micro-batch; 0 if tokens limits it
	Tokens       int           `json:"tokens"`    // positions in a micro-batch; 0 if micro limits it
	Recompute    string        `json:"recompute"` // none, selective or layers
	Moments      string        `json:"moments"`   // dtype of the optimizer's
	Why          string        `json:"why"`
	DeviceMemory int64         `json:"device_memory"`
	Memory       []MemoryItem  `json:"memory"` // for the largest micro-batch that the recipe allows
	MemoryTotal  int64         `json:"memory_total"`
	Steps        int           `json:"steps"`
	StepTokens   float64       `json:"step_tokens"`  // mean positions in a step, of a sample of the rows
	SampledPeak  int64         `json:"sampled_peak"` // bytes for the largest micro-batch of the sample
	Checkpoints  int64         `json:"checkpoints"`  // bytes on disk: those kept, and one more while saving
	Export       int64         `json:"export"`       // bytes
	TokensPerS   float64       `json:"tokens_per_s"` // 0 if neither stated nor measured
	Measured     bool          `json:"measured"`     // by an earlier run of the recipe
	Hours        float64       `json:"hours"`
	Notes        []string      `json:"notes"`
}

// ModePlanned is what each process needs with one value of zero.
type ModePlanned struct {
	Zero        int    `json:"zero"`
	MemoryTotal int64  `json:"memory_total"`
	Micro       int    `json:"micro"` // samples in a micro-batch; 0 if positions limit it
	Recompute   string `json:"recompute"`
	Moments     string `json:"moments"`
	Fits        bool   `json:"fits"`
}

// PartPlanned counts the parameters of one part.
type PartPlanned struct {
	Part    string `json:"part"`
	Trained int64  `json:"trained"`
	Frozen  int64  `json:"frozen"`
}

// MakePlan returns what the stages of a recipe need, without loading any weights.
func MakePlan(r *recipes.Recipe, o PlanOptions) ([]Planned, error) {
	if _, err := torch.Open(); err != nil {
		return nil, err
	}
	stages, err := input.ChosenStages(r, o.Stage)
	if err != nil {
		return nil, err
	}
	var list []Planned
	for _, name := range stages {
		stage, err := r.Stage(name)
		if err != nil {
			return nil, err
		}
		planned, err := makeStagePlan(r, stage, name, o)
		if err != nil {
			return nil, failure.Under(name+": ", err)
		}
		list = append(list, planned)
	}
	return list, nil
}

func makeStagePlan(r *recipes.Recipe, stage *recipes.Stage, name string, o PlanOptions) (Planned, error) {
	out := Planned{Stage: name, DeviceMemory: o.DeviceMemory, Notes: []string{}}
	if o.Processes > 1 {
		out.Processes = o.Processes
	}
	p, err := placedPlan(r, stage, &out)
	if err != nil {
		return out, err
	}
	selects, err := Trains(stage.Train)
	if err != nil {
		return out, err
	}
	preprocessor, noSamples := input.OpenPreprocessor(r.Model)
	options := model.OpenOptions{Trains: selects, LoRA: stage.Adapters(), AnyProjector: true}
	if noSamples == nil {
		options.NewTokens = preprocessor.NewTokens()
		p.imageTiles = preprocessor.MostTiles(stage.Image)
	}
	m, err := model.Rehearse(r.Model, options)
	if err != nil {
		return out, err
	}
	defer m.Free()
	if p.answers, err = out.answers(r, stage, preprocessor, m); err != nil {
		return out, err
	}
	size, length := sizeOf(m), int64(r.Model.Language.MaxLength)
	out.Modes = p.modes(size, length, out.DeviceMemory)
	out.Why = p.fitMemory(size, length, out.DeviceMemory)
	out.Micro, out.Tokens, out.Recompute, out.Moments = p.micro, p.tokens, string(p.recompute), p.moments.String()
	out.Memory = size.memory(p.setting(), p.worst(length))
	if better := out.fitting(); better != "" {
		out.Notes = append(out.Notes, better)
	}
	if warning := p.idleWarning(); warning != "" {
		out.Notes = append(out.Notes, warning)
	}
	out.MemoryTotal = totalOf(out.Memory)
	out.count(m, p)
	if noSamples == nil {
		noSamples = out.sample(r, stage, preprocessor, p, size, o)
	}
	if err := noSamples; failure.IsStorage(err) {
		return out, err
	} else if err != nil {
		out.Notes = append(out.Notes, "steps and tokens are not known: "+err.Error())
	} else if warning := RateWarning(stage, out.Steps); warning != "" {
		out.Notes = append(out.Notes, warning)
	}
	out.time(filepath.Join(runs.RunDir(r, name), runs.MetricsFile), o.TokensPerS)
	return out, nil
}

// answers is what the answers to questions of the eval section need room for, with a note of what that takes.
func (out *Planned) answers(
	r *recipes.Recipe, stage *recipes.Stage, preprocessor *input.Preprocessor, m *model.LLaVA,
) (room exam.Room, err error) {
	if preprocessor == nil { // which is noted
		return room, nil
	}
	e, err := openEvaluator(r, stage, preprocessor, noPeers(), runs.Silent{})
	if err == nil {
		room, err = e.ask(m)
	}
	defer e.close()
	switch {
	case failure.IsStorage(err):
		return room, err
	case err != nil:
		out.Notes = append(out.Notes, "the memory for answers is not known: "+err.Error())
		return exam.Room{}, nil
	case room.Positions == 0:
		return room, nil
	}
	shape, width := m.Language.Describe(), int64(4)
	if out.Dtype == torch.BFloat16.String() {
		width = 2
	}
	out.Notes = append(out.Notes, fmt.Sprintf("keys and values for the answers to %d questions "+
		"together take %s, in place of a step's activations", exam.Together,
		checkpoints.Megabytes(width*room.Positions*2*shape.Layers*shape.KeySize)))
	return room, nil
}

// placedPlan makes a plan for the recipe's device, or for a GPU with the stated memory.
func placedPlan(r *recipes.Recipe, stage *recipes.Stage, out *Planned) (*plan, error) {
	p := &plan{
		stage: stage, tokens: stage.Batch.Tokens, dtype: torch.BFloat16, lora: stage.Adapters(),
		momentsSetting: stage.Optimizer.Moments, hypothetical: out.DeviceMemory != 0,
		world: max(1, out.Processes), sharers: 1,
	}
	p.zero = p.divides(r.Distributed, stage)
	out.Zero = int(p.zero)
	if err := p.dealable(); err != nil {
		return nil, err
	}
	if out.DeviceMemory == 0 {
		var err error
		if p.device, p.dtype, err = device.Placement(r.Device, r.Dtype); err != nil {
			return nil, fmt.Errorf("%w; --device-memory plans for a GPU that this machine does not have", err)
		}
		out.DeviceMemory = device.Memory(p.device)
		if p.device == torch.CPU {
			out.DeviceMemory /= int64(p.world)
		}
	} else if r.Dtype == "fp32" {
		p.dtype = torch.Float32
	}
	out.Dtype = p.dtype.String()
	p.setMicro("")
	return p, nil
}

// count fills in the parameters and the space on disk.
func (out *Planned) count(m *model.LLaVA, p *plan) {
	for _, part := range recipes.Parts {
		row := PartPlanned{Part: part}
		for _, param := range m.Params.All() {
			switch {
			case param.Part != part:
			case param.Trainable:
				row.Trained += param.Elements()
			default:
				row.Frozen += param.Elements()
			}
		}
		out.Parts = append(out.Parts, row)
		out.Checkpoints += checkpointBytes(row.Trained, p.stage.Save.Keep)
	}
	out.Export = (&trainer{model: m, plan: p}).exportBytes()
}

// modes are the plans of several processes for each value of zero.
func (p *plan) modes(size modelSize, maxLength, available int64) (list []ModePlanned) {
	if p.world < 2 {
		return nil
	}
	for zero := nn.Whole; zero <= nn.Weights; zero++ {
		of := *p
		of.zero = zero
		of.fitMemory(size, maxLength, available)
		total := totalOf(size.memory(of.setting(), of.worst(maxLength)))
		list = append(list, ModePlanned{Zero: int(zero), MemoryTotal: total, Micro: of.micro,
			Recompute: string(of.recompute), Moments: of.moments.String(),
			Fits: float64(total) <= share*float64(available)})
	}
	return list
}

// fitting says which value of zero fits into the memory, if the planned one does not and another does.
func (out *Planned) fitting() string {
	for _, mode := range out.Modes {
		if mode.Fits && mode.Zero >= out.Zero {
			if mode.Zero == out.Zero {
				return ""
			}
			return fmt.Sprintf("zero %d does not fit, zero %d does: set distributed.zero to %[2]d", out.Zero, mode.Zero)
		}
	}
	return ""
}

// sampledSteps is how many steps of the data are read.
const sampledSteps = 32

// sample reads the rows of the first steps as a run does, without their images.
func (out *Planned) sample(
	r *recipes.Recipe, stage *recipes.Stage, preprocessor *input.Preprocessor, p *plan, size modelSize, o PlanOptions,
) error {
	d, err := input.OpenDataset(r, stage, preprocessor, o.Report)
	if err != nil {
		return err
	}
	defer d.Close()
	out.Steps = d.Steps.Steps()
	var largest load
	tokens, steps := 0, min(out.Steps, max(1, min(sampledSteps, 4096/stage.Batch.Global)))
	for step := range steps {
		batches, err := shapesOf(d, step, p)
		if err != nil {
			return err
		}
		for _, batch := range batches {
			largest = largest.larger(batch)
			tokens += int(batch.positions)
		}
	}
	out.StepTokens = float64(tokens) / float64(max(1, steps))
	out.SampledPeak = totalOf(size.memory(p.setting(), largest))
	return nil
}

// shapesOf returns the sizes of the micro-batches of one step.
func shapesOf(d *input.Dataset, step int, p *plan) (batches []load, err error) {
	var samples []data.Sample
	first, end := d.Steps.Span(step)
	for position := first; position < end; position++ {
		source, row := d.Order.At(position)
		sample, err := d.Encode(context.Background(), source, row)
		if input.StorageFault(err) {
			return nil, err
		}
		if err == nil {
			samples = append(samples, sample)
		}
	}
	groups := data.Split(samples, max(1, p.micro))
	if p.tokens > 0 {
		groups = data.SplitTokens(samples, p.tokens)
	}
	for _, group := range groups {
		var l load
		for _, s := range group {
			l.positions += int64(s.Length())
			for _, image := range s.Images {
				l.tiles += int64(image.Layout.Tiles())
			}
			for _, label := range s.Labels {
				if label != data.Ignore {
					l.supervised++
				}
			}
		}
		batches = append(batches, l)
	}
	return batches, nil
}

// time turns tokens into hours, at the stated speed or that of an earlier run.
func (out *Planned) time(metrics string, stated float64) {
	out.TokensPerS = stated
	if stated == 0 {
		out.TokensPerS = measuredSpeed(metrics)
		out.Measured = out.TokensPerS > 0
	}
	if out.TokensPerS > 0 {
		out.Hours = float64(out.Steps) * out.StepTokens / out.TokensPerS / 3600
	}
}

// measuredSpeed is the tokens a second of a run's steps, except the first, which warms up; 0 if there was no run.
func measuredSpeed(path string) float64 {
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	var tokens, seconds float64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var m runs.Metrics
		if json.Unmarshal(lines.Bytes(), &m) == nil && m.Step > 1 {
			tokens += float64(m.Tokens)
			seconds += float64(m.StepMS+m.DataWaitMS) / 1e3
		}
	}
	if seconds == 0 {
		return 0
	}
	return tokens / seconds
}

// checkpointBytes is the space that checkpoints take on disk: a weight and two moments in fp32 for each trained
// parameter, in one more checkpoint than are kept, since one is being written.
func checkpointBytes(trained int64, keep int) int64 { return 12 * trained * int64(keep+1) }
