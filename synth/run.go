package synth

import (
	"context"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/chat"
	"github.com/llavatrain/llavatrain/synth/prompt"
)

// stage is the folder of a run of synth, beside those of the stages that train.
const stage = "synth"

// Run is one making of data.
type Run struct {
	Folder string // RUNS/NAME/synth
	*annotations

	settings *recipes.Synth
	kinds    []*kind // those with a share, in the order of answer.Kinds
	exclude  *exclusion
}

// Read reads what a recipe's section synth names: prompts and annotations. Rows, unless 0, replaces the recipe's
// number.
func Read(ctx context.Context, recipe *recipes.Recipe, rows int, o Observer) (*Run, error) {
	s := recipe.Synth
	if s == nil {
		return nil, failure.Inputf("recipe %q has no section synth, which says what to make; `llavatrain init "+
			"synth-coco` "+
			"writes one", recipe.Path)
	}
	r := &Run{Folder: runs.RunDir(recipe, stage), settings: s}
	if rows == 0 {
		rows = s.Rows
	}
	targets := shares(rows, s.Kinds)
	var kinds []answer.Kind
	for _, name := range answer.Kinds {
		if targets[name] > 0 {
			kinds = append(kinds, name)
		}
	}
	prompts, err := prompt.Load(s.Prompts, kinds...) // before the annotations, which take a while
	if err != nil {
		return nil, err
	}
	if r.exclude, err = openExclusion(s.Exclude, o.Say); err != nil {
		return nil, err
	}
	if r.annotations, err = readAnnotations(ctx, s, r.exclude, o.Say); err != nil {
		return nil, err
	}
	if err := r.exclude.look(r.images); err != nil {
		return nil, err
	}
	for _, name := range kinds {
		r.kinds = append(r.kinds, newKind(name, targets[name], prompts[name], s, r.scenes))
	}
	return r, nil
}

// Settings are the client's.
func (r *Run) Settings(say func(string)) chat.Settings {
	e, b := r.settings.Endpoint, r.settings.Budget
	timeout, patience := e.Limits()
	s := chat.Settings{URL: e.URL, Model: e.Model, KeyEnv: e.KeyEnv, Dialect: e.Dialect, Insecure: e.Insecure,
		Concurrency: e.Concurrency, RPM: e.RPM, TPM: e.TPM, Timeout: timeout, Patience: patience,
		Budget: chat.Budget{Tokens: int64(b.Tokens), Money: b.Money}, Say: say}
	if p := b.Prices; p != nil {
		s.Budget.Prices = chat.Prices{Prompt: p.Prompt, Completion: p.Completion, Cached: p.Cached,
			BatchFactor: p.BatchFactor}
	}
	return s
}

// request is what is asked about a context.
func (r *Run) request(k *kind, context string) chat.Request {
	how := r.settings.Sampling
	asked := k.prompt.Request(context, prompt.Parameters{Model: r.settings.Endpoint.Model, MaxTokens: how.MaxTokens,
		Temperature: how.Temperature, TopP: how.TopP, Seed: how.Seed})
	return chat.Request{Key: asked.Key, Messages: asked.Messages, PromptTokens: asked.Tokens, MaxTokens: how.MaxTokens,
		Sampling: chat.Sampling{Temperature: how.Temperature, TopP: how.TopP, Seed: how.Seed}}
}

// Close releases the images.
func (r *Run) Close() error { return r.exclude.close() }
