package synth

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/chat"
	"github.com/llavatrain/llavatrain/synth/prompt"
	"github.com/llavatrain/llavatrain/synth/scene"
)

// kind is one kind of row: whom to ask about, in which order, and how to read what comes back.
type kind struct {
	name    answer.Kind
	target  int // rows
	prompt  *prompt.Prompt
	filters *answer.Filters
	order   []int32 // places of scenes, by rank
}

// newKind ranks the scenes for a kind.
func newKind(name answer.Kind, target int, p *prompt.Prompt, s *recipes.Synth, scenes []scene.Scene) *kind {
	k := &kind{name: name, target: target, prompt: p, filters: p.Filters(s.Language == "en"),
		order: make([]int32, len(scenes))}
	type ranked struct {
		hash  [32]byte
		scene int32
	}
	all := make([]ranked, len(scenes))
	for i := range scenes {
		all[i] = ranked{rank(s.Seed, string(name), scenes[i].ID), int32(i)}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(bytes.Compare(a.hash[:], b.hash[:]), cmp.Compare(a.scene, b.scene))
	})
	for i, r := range all {
		k.order[i] = r.scene
	}
	return k
}

// candidate is a scene that a kind may ask about.
type candidate struct {
	scene   int32 // its place
	request chat.Request
	skip    string // reason for not asking; "" to ask
}

// candidates goes through the scenes in the order of their ranks.
type candidates struct {
	*kind
	run  *Run
	next int
	keys map[string]bool // of the requests so far
}

func (r *Run) candidates(k *kind) *candidates {
	return &candidates{kind: k, run: r, keys: map[string]bool{}}
}

// take is the next candidate; ok is false after the last.
func (c *candidates) take() (one candidate, ok bool, err error) {
	if c.next == len(c.order) {
		return one, false, nil
	}
	one.scene = c.order[c.next]
	c.next++
	about := &c.run.scenes[one.scene]
	context := about.Context(prompt.Boxes(c.name))
	if context == "" || c.name == answer.Conversation && len(about.Captions) == 0 {
		one.skip = string(scene.NoCaptions)
		return one, true, nil
	}
	if seen, err := c.run.exclude.looks(about.Image); err != nil || seen {
		one.skip = excluded
		return one, true, err
	}
	one.request = c.run.request(c.kind, context)
	if c.keys[one.request.Key] {
		one.skip = sameContext
	}
	c.keys[one.request.Key] = true
	return one, true, nil
}

// verdict is what a reply is worth.
func (k *kind) verdict(a chat.Answer) answer.Result {
	if a.Outcome == chat.Refused {
		return answer.Result{Outcome: answer.Reject, Reason: string(a.Fault.Class)}
	}
	return answer.Read(k.name, a.Reply, k.filters)
}

// best is the first of a request's answers that is accepted, or else what the last was worth.
func (k *kind) best(answers []chat.Answer) (which chat.Answer, worth answer.Result) {
	for _, which = range answers {
		if worth = k.verdict(which); worth.Outcome == answer.Accept {
			return which, worth
		}
	}
	return which, worth
}
