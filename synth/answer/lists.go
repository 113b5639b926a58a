package answer

import (
	_ "embed"
	"encoding/json"
	"regexp"
	"strings"
	"sync"
)

//go:embed lists.json
var listsJSON []byte

// lists are the word list and the patterns. They are compiled at first use: most runs of the program read no answer.
var lists = sync.OnceValue(func() *patterns {
	var from map[string]string
	if err := json.Unmarshal(listsJSON, &from); err != nil {
		panic(err) // cannot be: the file is part of the program, and every test reads it
	}
	compile := func(name string) *regexp.Regexp { return regexp.MustCompile(from[name]) }
	p := &patterns{
		marker: regexp.MustCompile(strings.Replace(from["marker"], "NAMES", markerNames, 1)),
		label:  compile("label"), chatter: compile("chatter"), refusal: compile("refusal"), markup: compile("markup"),
		source: compile("source"), coordinates: compile("coordinates"), english: map[string]bool{},
	}
	for word := range strings.FieldsSeq(from["english"]) {
		p.english[word] = true
	}
	return p
})

type patterns struct {
	marker      *regexp.Regexp  // of a line that begins a half; its groups are markerNames and what follows in the line
	label       *regexp.Regexp  // a start like "Description:"
	chatter     *regexp.Regexp  // a first line like "Sure! Here is the description:"
	refusal     *regexp.Regexp  // a start that declines
	markup      *regexp.Regexp  // what data loaders or chat templates give a meaning
	source      *regexp.Regexp  // speaks of what the model was given instead of the picture
	coordinates *regexp.Regexp  // a box as it is written in the prompt
	english     map[string]bool // the commonest function words
}

// markerNames are the names of questions and answers, a family after the other: groups 1 and 2, 3 and 4, 5 and 6.
const markerNames = "(question)|(answer)|(q)|(a)|(user|human)|(assistant|ai)"

const families = 3
