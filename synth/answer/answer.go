// Package answer turns what a chat model wrote into the turns of a row of training data, or says why it cannot.
//
//  1. The text is tidied and unpacked: thoughts before the answer and a fence around it go (tidy.go).
//  2. Questions and answers are found, in JSON (json.go) or under markers (lines.go), and paired (pairs.go); a
//     description is freed of what stands around it (detail.go).
//  3. Filters reject what would teach a model wrong things: that it speaks of captions, say, or repeats its prompt
//     (filters.go).
//  4. The caller drops what an earlier row says already ([Rows]), and may report what an answer seems to have invented
//     ([Names]).
//
// Everything here is a function of its arguments, so that answers that were paid for once can be read again by better
// rules. The time is in proportion to the length of an answer, whatever is in it.
//
// The asked forms, and the names and the purpose of the three kinds, are those of LLaVA's instruction data (Liu et al.
// 2023, Visual Instruction Tuning). How its makers read and filtered answers was not published; the rules are ours.
package answer

import (
	"slices"

	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// Kind is what an answer is for.
type Kind string

// The kinds.
const (
	Conversation Kind = "conversation" // questions about what can be seen, with short answers
	Detail       Kind = "detail"       // one long description; the question is chosen from a list later
	Reasoning    Kind = "reasoning"    // one question that needs thought and knowledge, with a long answer
)

// Kinds are all kinds.
var Kinds = [...]Kind{Conversation, Detail, Reasoning}

// Rules is the version of all rules of this package. It stands in every row of data, and is raised with any change of
// what they make of an answer.
const Rules = "1"

// Outcome says what becomes of an answer.
type Outcome string

// The outcomes.
const (
	Accept Outcome = "accept"
	Reject Outcome = "reject" // for good: another try would likely give the same
	Retry  Outcome = "retry"  // the form is wrong, by chance perhaps: the same request may give a better one
)

// Turn is a question with its answer. The question of a description is "".
type Turn struct{ Question, Answer string }

// Result is what a reply gave.
type Result struct {
	Outcome Outcome
	Reason  string   // of what is not accepted
	Repairs []string // of what is accepted: what was taken away or read another way; sorted, each once
	Turns   []Turn   // of what is accepted
}

// Read reads a reply as an answer of a kind. With nil filters it is compared with no prompt, and may be in any
// language. A kind that is none of the constants gives the zero Result.
func Read(kind Kind, r reply.Reply, against *Filters) Result {
	switch {
	case r.Refusal != "":
		return reject(refusal)
	case r.Finish == reply.Filtered:
		return reject(filtered)
	}
	return ReadText(kind, r.Content, r.Finish == reply.Length, against)
}

// ReadText reads a text as an answer of a kind; cut says that it ended at the limit of tokens. The rest is as in
// [Read].
func ReadText(kind Kind, text string, cut bool, against *Filters) Result {
	if against == nil {
		against = &Filters{}
	}
	a := reading{cut: cut, filters: against}
	text, failed := a.unwrap(text)
	if failed != nil {
		return *failed
	}
	switch kind {
	case Detail:
		return a.detail(text)
	case Conversation:
		return a.dialogue(text, a.conversation)
	case Reasoning:
		return a.dialogue(text, a.reasoning)
	}
	return Result{} // there is no such kind
}

// reading is an answer that is being read.
type reading struct {
	cut     bool
	filters *Filters
	repairs []string // in the order of their making, perhaps several times
}

func (a *reading) repaired(how string) { a.repairs = append(a.repairs, how) }

func (a *reading) accept(turns ...Turn) Result {
	slices.Sort(a.repairs)
	return Result{Outcome: Accept, Repairs: slices.Compact(a.repairs), Turns: turns}
}

func reject(reason string) Result { return Result{Outcome: Reject, Reason: reason} }

// retry asks for another try. A text that was cut has a wrong form for that reason, whatever it looks like.
func (a *reading) retry(reason string) Result {
	if a.cut {
		reason = truncated
	}
	return Result{Outcome: Retry, Reason: reason}
}

// Reasons for not accepting an answer, besides those of the filters.
const (
	empty       = "empty"         // nothing but thoughts and white space
	shape       = "shape"         // not in the asked form
	truncated   = "truncated"     // cut before enough of it was there
	tooFewTurns = "too_few_turns" // of a conversation
	tooShort    = "too_short"
	tooLong     = "too_long"
	filtered    = "filtered" // by the provider
)

// Duplicate is the reason for dropping an accepted answer that says the same as an earlier row; see [Rows].
const Duplicate = "duplicate"

// Repairs.
const (
	thinking     = "thinking"      // thoughts before the answer were cut off
	fence        = "fence"         // fences around the answer went
	inJSON       = "json"          // the answer was in JSON
	otherMarkers = "markers"       // Q and A, or the names of roles, instead of Question and Answer
	preamble     = "preamble"      // text before the answer went
	trailer      = "trailer"       // text after the answer went
	cutOff       = "cut"           // the answer was cut, and went back to where it is whole
	unanswered   = "unanswered"    // a question without answer went
	strayAnswer  = "stray_answer"  // an answer without question went
	emptyTurn    = "empty_turn"    // a pair with nothing in one half went
	droppedTurn  = "dropped_turn"  // a pair with a fault went
	repeatedTurn = "repeated_turn" // a pair that came before went
	extraTurns   = "extra_turns"   // there were more pairs than wanted
	labelled     = "label"         // a word like "Description:" before the text went
	quotes       = "quotes"        // quotes around the text went
)

// Limits, in words and pairs.
const (
	fewestTurns, mostTurns             = 2, 12
	shortestReasoning, shortestDetails = 20, 30
	longest                            = 600 // words of one answer of any kind
)
