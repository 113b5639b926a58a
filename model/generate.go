package model

import (
	"runtime"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Generate answers one prompt. emit is called with each token as it is made and returns whether to continue.
func (m *LLaVA) Generate(prompt Input, how Sampling, emit func(id int32) bool) error {
	return m.GenerateBatch([]Prompt{{Input: prompt, Emit: emit}}, how)
}

// Prompt is one of several prompts that are answered together.
type Prompt struct {
	Input
	Stream uint64              // determines, with Sampling.Seed, the random numbers of this answer
	Emit   func(id int32) bool // called with each token as it is made; returns whether to continue
}

// GenerateBatch answers prompts together, by an engine with room for just these. The answer to a prompt does not depend
// on the others, except through the rounding of matrix products of different sizes.
func (m *LLaVA) GenerateBatch(prompts []Prompt, how Sampling) error {
	if how.MaxTokens < 1 {
		return nil
	}
	var jobs []Job
	var positions int64
	var failed error
	for _, p := range prompts {
		jobs = append(jobs, Job{Input: p.Input, Sampling: how, Stream: p.Stream,
			Emit: func(t Token) bool { return p.Emit(t.ID) },
			Done: func(o Outcome) {
				if failed == nil {
					failed = o.Err
				}
			}})
		if err := m.check(&jobs[len(jobs)-1]); err != nil {
			return err
		}
		positions += Extent(m.span(&jobs[len(jobs)-1]))
	}
	e, err := NewEngine(m, EngineOptions{Positions: positions, Piece: WholePiece})
	if err != nil {
		return err
	}
	defer e.Close()
	runtime.LockOSThread() // the engine's state belongs to the thread
	defer runtime.UnlockOSThread()
	for _, j := range jobs {
		if _, err := e.Submit(j); err != nil {
			return err
		}
	}
	for failed == nil && e.Step() {
	}
	return failed
}

// Logits is hidden [N,D] times the output embedding: [N,V] in fp32, without a gradient.
func (m *LLaVA) Logits(s *torch.Scope, hidden *torch.Tensor) *torch.Tensor {
	return torch.To(s, torch.Product(s, hidden, m.Language.Head().Tensor()), torch.Float32)
}
