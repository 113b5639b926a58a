package chat

import (
	"time"

	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// Outcome says what became of a request.
type Outcome int

const (
	Answered Outcome = iota // Reply holds the answer
	Refused                 // the endpoint will not answer this content; Fault says why. It is not asked again
	Failed                  // every try ended in a fault, of which Fault is the last. The next run asks again
	Waiting                 // a batch file holds the request, and its answer has not been read
)

// Answer is what became of a request.
type Answer struct {
	Key     string
	Outcome Outcome

	Try  int  // which answer to the request this is, from 1; 0 if it is none
	Last bool // no other will be asked for, whatever the verdict

	Reply    reply.Reply // as the endpoint sent it: not to be trusted, nor shown unescaped
	Fault    *reply.Fault
	Usage    Usage         // what it cost
	Took     time.Duration // from sending to the last byte; 0 of batches
	Recorded bool          // it was in the ledger before this run
}

// Verdict is what a caller makes of an answer.
type Verdict int

const (
	Done  Verdict = iota // the request needs no other answer
	Again                // the answer is of no use: ask for another, if tries are left
)
