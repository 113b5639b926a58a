package llava

import (
	"fmt"
	"math"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/serve"
)

// Status is what a worker says of itself.
type Status struct {
	Models  []string `json:"model_names"`
	Speed   float64  `json:"speed"`        // as compared with other workers: ours and the original's say 1
	Queue   float64  `json:"queue_length"` // requests that run or wait; the original's is whole
	Details *Details `json:"llavatrain,omitempty"`
}

// Details is what our workers add to their status.
type Details struct {
	Template     string `json:"template"`
	ImageTokens  int    `json:"image_tokens"`
	MaxPositions int    `json:"max_positions"`
	Multimodal   bool   `json:"multimodal"`
	MaxTokens    int    `json:"max_tokens"`
	StopText     string `json:"stop_text"`
	Created      int64  `json:"created"` // seconds since 1970
}

// Bounds of what others say of themselves.
const (
	MaxName   = 200 // characters
	maxModels = 256
)

// StatusOf is the status of a worker with this engine.
func StatusOf(e serve.Engine) Status {
	m, s := e.Model(), e.Status()
	return Status{Models: []string{m.Name}, Speed: 1, Queue: float64(s.Running + s.Waiting), Details: &Details{
		Template: m.Template, ImageTokens: m.ImageTokens, MaxPositions: m.MaxPositions, Multimodal: m.Images,
		MaxTokens: m.MaxTokens, StopText: m.StopText, Created: m.Created.Unix()}}
}

// Check refuses a status that cannot be used. The error ends a sentence about the worker.
func (s *Status) Check() error {
	switch n := len(s.Models); {
	case s.Models == nil:
		return fmt.Errorf("names no models")
	case n > maxModels:
		return fmt.Errorf("names %d models, and the most is %d", n, maxModels)
	}
	for _, name := range s.Models {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("names a model whose name %w", err)
		}
	}
	if d := s.Details; d != nil && (len(d.Template) > MaxName || len(d.StopText) > MaxName) {
		return fmt.Errorf("names a template of more than %d bytes", MaxName)
	}
	for _, n := range []float64{s.Speed, s.Queue} {
		if n < 0 || math.IsNaN(n) || math.IsInf(n, 0) {
			return fmt.Errorf("says a speed or queue_length that is less than 0 or no number")
		}
	}
	return nil
}

// CheckName refuses names that are too long or cannot be shown. The error ends a sentence.
func CheckName(name string) error {
	if n := utf8.RuneCountInString(name); n == 0 || n > MaxName {
		return fmt.Errorf("must have 1 to %d characters, and has %d", MaxName, n)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("must be printable: %.80q", name)
		}
	}
	return nil
}

// Model is the model of this name by what its worker says, and by the original's rules where it says nothing.
func (s *Status) Model(name string) serve.Model {
	d := s.Details
	if d == nil {
		template, _ := TemplateByName(name)
		return serve.Model{Name: name, Template: template, Images: Multimodal(name), MaxTokens: foreignTokens}
	}
	return serve.Model{Name: name, Template: d.Template, StopText: d.StopText, Created: time.Unix(d.Created, 0),
		Images: d.Multimodal, ImageTokens: d.ImageTokens, MaxPositions: d.MaxPositions, MaxTokens: d.MaxTokens}
}
