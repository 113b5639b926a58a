package serve

import "time"

// Refusal is why a request is not answered, in a sentence for its sender: what is wrong and what to do. It has no paths
// or other internals of the server.
type Refusal struct {
	Reason Reason
	Field  string        // of the request that is at fault, "" for none
	Text   string        // a sentence
	After  time.Duration // when to try again; 0: never, or unknown
}

func (r *Refusal) Error() string { return r.Text }

// Reason is the kind of a refusal. Each protocol has a status and a code for it.
type Reason int

// The kinds of refusals.
const (
	Invalid     Reason = iota // a value that cannot be used
	ContextFull               // prompt and answer do not fit
	BadPicture                // a picture cannot be read
	Busy                      // the queue is full, or the sender's rate is used up
	Closing                   // the server ends, or is not ready yet
	Failed                    // a fault of the engine
)
