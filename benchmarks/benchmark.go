// Package benchmarks knows the benchmarks that LLaVA models are judged by: their files, questions, rules and uploads.
//
//  1. [Open] reads a benchmark's files from a folder, or those of the Hugging Face hub, into a [Set] of questions,
//     asked as a rule asks them.
//  2. `benchmark run` has a model answer them ([Question.Text], [Question.Images]) or rank their options
//     ([Set.Ranked]), and writes an answer file in LLaVA's form ([NewAnswer]). [ReadAnswers] reads any such file, and
//     [Set.Join] says which question each answer is to.
//  3. [Set.Score] joins answers with questions, marks each by the rule, and computes the figures ([Result]), with
//     everything that they rest on. Two benchmarks need a judge's replies for that: package judge.
//  4. [Set.Submit] writes what a server takes where the labels are hidden. [Compare] sets two results side by side.
//
// A rule is named in every result, because the same answers have other figures by other rules: "original" is LLaVA's
// scripts, "official" the benchmark's own evaluator, "lmms" lmms-eval, "vlmeval" VLMEvalKit without a judge.
package benchmarks

import (
	"path/filepath"
	"slices"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Benchmark is a row of the table of benchmarks.
type Benchmark struct {
	Name, Title string
	Files       []string // the files that it reads, under the names that LLaVA or its site gives them
	Hub         string   // its set on the Hugging Face hub, whose parquet files are read too
	Rules       []Rule   // the first is the default
	Limit       int      // new tokens of an answer at most, as the original has it; answers are greedy
	Upload      string   // what its server takes; "" where there is none or the labels are public

	pictures string // the folder of its pictures, below the folder of its files
	pairs    bool   // questions about a picture count together
	read     func(*reading) error
	submit   func(*submission) error
}

// Rule is a way to ask and to judge.
type Rule struct {
	Name string
	What string // in a few words

	// Judged is a rule that scores by the replies of a judge, for which reply is there and mark is not.
	Judged bool
	mark   func(q *Question, answer string) Mark
	reply  func(q *Question, reply string) Mark

	figures func(rows []Row) []figure.Figure // nil: accuracy
	counts  func(*Row) bool                  // which rows have a part in them; nil: all
	// forgives: questions without an answer have a place in the figures, as in the original.
	forgives bool
}

// Mark is what a rule makes of an answer.
type Mark struct {
	Score  float64 // 0 to 1; of a judge its score of the answer
	Parsed string  // what the rule read
	// Unparsed: the rule could read nothing, and the answer counts as wrong.
	Unparsed  bool
	Reference float64 // the judge's score of the answer that the model's is compared with
}

// All is the table of benchmarks, in the order of the documentation.
func All() []*Benchmark {
	return []*Benchmark{vqav2, gqa, vizwiz, scienceQA, textVQA, pope, mme, mmbench, mmbenchCN, seed, llavaBench, mmVet,
		mmmu, ai2d, chartQA, docVQA, mmstar, realWorldQA}
}

// Find finds a benchmark by its name.
func Find(name string) (*Benchmark, error) {
	table := map[string]*Benchmark{}
	for _, b := range All() {
		table[b.Name] = b
	}
	return failure.LookUp("benchmark", name, table)
}

// rule finds one of the benchmark's rules; "" is the default.
func (b *Benchmark) rule(name string) (*Rule, error) {
	if name == "" {
		return &b.Rules[0], nil
	}
	var names []string
	for i := range b.Rules {
		if b.Rules[i].Name == name {
			return &b.Rules[i], nil
		}
		names = append(names, b.Rules[i].Name)
	}
	return nil, failure.NotOneOf("rule of "+b.Name, name, names)
}

// Purpose says which of a benchmark's questions are wanted, where its files have several splits.
type Purpose int

// Questions with labels are for scoring; those whose labels are hidden are for an upload.
const (
	ToScore Purpose = iota
	ToSubmit
)

// Open reads a benchmark's files. A rule "" is the benchmark's first. The error is the user's, and says which file is
// missing or damaged, or of another release.
func Open(benchmark, folder, rule string, purpose Purpose) (*Set, error) {
	b, err := Find(benchmark)
	if err != nil {
		return nil, err
	}
	by, err := b.rule(rule)
	if err != nil {
		return nil, err
	}
	data, err := files.Open(folder)
	if err != nil {
		return nil, err
	}
	set := &Set{Benchmark: b, Rule: by, Labelled: true, PictureFolder: filepath.Join(data.Path, b.pictures)}
	r := &reading{Folder: data, rule: by.Name, purpose: purpose, Set: set}
	if err := b.read(r); err != nil {
		set.Close()
		return nil, failure.Input(err)
	}
	if len(set.Questions) == 0 {
		set.Close()
		return nil, failure.Inputf("%s: the files of %s hold no questions", folder, b.Name)
	}
	if !slices.ContainsFunc(set.Questions, func(q Question) bool { return !q.Held() && q.Image != "" }) {
		set.PictureFolder = data.Path // which is there
	}
	set.Sources = data.Read()
	return set, nil
}

// reading is one call of Open.
type reading struct {
	*files.Folder
	*Set
	rule    string
	purpose Purpose
}

// labels says whether a file of labels is there and wanted.
func (r *reading) labels(name string) bool { return r.purpose == ToScore && r.Has(name) }

// open opens the parquet files of the hub's set, which stay open as long as the set.
func (r *reading) open(split string, patterns ...string) (err error) {
	r.Split = split
	r.hub, err = r.OpenHub(patterns...)
	return err
}

// otherRelease is the error of labels that do not belong to the questions.
func otherRelease(questions, labels string, without, unasked int) error {
	if without+unasked == 0 {
		return nil
	}
	return failure.Inputf("%d questions of %s have no label in %s, and %d labels no question: the files are of "+
		"different releases, get both from the same place", without, questions, labels, unasked)
}
