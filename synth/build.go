package synth

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/chat"
	"github.com/llavatrain/llavatrain/synth/scene"
)

// accepted is a row in the making: little enough to keep for all of them.
type accepted struct {
	*kind
	scene int32
	key   string
	try   int // which of the answers, from 0
}

// built is what the ledger gives.
type built struct {
	rows    []accepted // in the order of the file
	skipped []Skip     // scenes that no request was made for, up to the last that was needed
	kinds   map[answer.Kind]*KindSummary
	lengths map[answer.Kind][]float64 // words of each answer
	invents map[string]int            // rows that speak of a category which is in neither captions nor boxes
	strange int                       // rows that do so
}

// rejection is a line of rejected.jsonl.
type rejection struct {
	Scene  string      `json:"scene"`
	Kind   answer.Kind `json:"kind"`
	Reason string      `json:"reason"`
	Text   string      `json:"text"`
}

// builder goes through the ledger.
type builder struct {
	*built
	run    *Run
	client *chat.Client
	left   int // answers of the ledger that no request has been found for
	names  *answer.Names
	reject func(rejection) error
}

// build reads the rows from the ledger: of each kind the first accepted ones, by the rank of their scenes. Requests
// without an answer are passed over.
func (r *Run) build(client *chat.Client, reject func(rejection) error) (*built, error) {
	b := &builder{run: r, client: client, left: client.Summary().Answers, reject: reject,
		names: answer.NewNames(categories(r.scenes)), built: &built{skipped: slices.Clone(r.skipped),
			kinds: map[answer.Kind]*KindSummary{}, lengths: map[answer.Kind][]float64{}, invents: map[string]int{}}}
	for _, k := range r.kinds {
		b.kinds[k.name] = &KindSummary{Target: k.target, Prompts: k.prompt.Version, Rejected: map[string]int{},
			Repairs: map[string]int{}}
		if err := b.read(k); err != nil {
			return nil, err
		}
	}
	b.order()
	return b.built, nil
}

// read goes through the candidates of a kind until it has its rows, or all answers of the ledger are used.
func (b *builder) read(k *kind) error {
	total, rows, all := b.kinds[k.name], answer.Rows{}, b.run.candidates(k)
	for total.Rows < k.target && b.left > 0 {
		one, ok, err := all.take()
		if err != nil || !ok {
			return err
		}
		about := b.run.scenes[one.scene]
		if one.skip != "" {
			b.skipped = append(b.skipped, Skip{about.ID, about.Image, k.name, one.skip})
			continue
		}
		answers, err := b.client.Find(one.request.Key)
		if err != nil {
			return err
		}
		if len(answers) == 0 {
			continue
		}
		b.left -= len(answers)
		total.count(answers)
		which, worth := k.best(answers)
		if worth.Outcome == answer.Accept && rows.Add(k.name, worth.Turns) {
			b.accept(accepted{k, one.scene, one.request.Key, which.Try - 1}, worth)
			continue
		}
		reason := worth.Reason
		if worth.Outcome == answer.Accept {
			reason = answer.Duplicate
		}
		total.Rejected[reason]++
		if err := b.reject(rejection{about.ID, k.name, reason, which.Reply.Content}); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) accept(row accepted, worth answer.Result) {
	total, about := b.kinds[row.name], b.run.scenes[row.scene]
	total.Rows++
	b.rows = append(b.rows, row)
	for _, repair := range worth.Repairs {
		total.Repairs[repair]++
	}
	for _, turn := range worth.Turns {
		b.lengths[row.name] = append(b.lengths[row.name], float64(len(bytes.Fields([]byte(turn.Answer)))))
	}
	known := slices.Clone(about.Captions)
	for _, object := range about.Objects {
		known = append(known, object.Name)
	}
	invented := b.names.Invented(worth.Turns, known)
	for _, name := range invented {
		b.invents[name]++
	}
	if len(invented) > 0 {
		b.strange++
	}
}

// order puts the rows in an order that has nothing to do with their kinds.
func (b *builder) order() {
	seed, hashes := b.run.settings.Seed, map[int][32]byte{}
	places := make([]int, len(b.rows))
	for i, row := range b.rows {
		places[i], hashes[i] = i, rank(seed, b.run.scenes[row.scene].ID, string(row.name))
	}
	slices.SortFunc(places, func(x, y int) int {
		a, b := hashes[x], hashes[y]
		return cmp.Or(bytes.Compare(a[:], b[:]), cmp.Compare(x, y))
	})
	rows := make([]accepted, len(b.rows))
	for i, place := range places {
		rows[i] = b.rows[place]
	}
	b.rows = rows
}

// turns reads a row's turns from the ledger once more. The question of a description is chosen from a list.
func (r *Run) turns(client *chat.Client, row accepted) (chat.Answer, answer.Result, error) {
	answers, err := client.Find(row.key)
	if err != nil {
		return chat.Answer{}, answer.Result{}, err
	}
	a := answers[row.try]
	worth := row.verdict(a)
	if row.name == answer.Detail {
		worth.Turns[0].Question = row.prompt.Question(r.settings.Seed, r.scenes[row.scene].ID)
	}
	return a, worth, nil
}

// categories are the names of all boxes.
func categories(scenes []scene.Scene) []string {
	seen := map[string]bool{}
	var names []string
	for _, one := range scenes {
		for _, object := range one.Objects {
			if !seen[object.Name] {
				seen[object.Name] = true
				names = append(names, object.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}
