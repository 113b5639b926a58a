package reply

import (
	"fmt"
	"time"
)

// Class says what kind of fault an answer is, or that there was none.
type Class string

// The classes, by the names that stand in ledgers.
const (
	RateLimit        Class = "rate_limit"        // too many requests or tokens a minute
	Quota            Class = "quota"             // no money
	Auth             Class = "auth"              // the key is wrong, or not allowed to do this
	NotFound         Class = "not_found"         // no such model or address
	BadRequest       Class = "bad_request"       // a parameter is refused, say
	UnexpectedStatus Class = "unexpected_status" // a redirection, say, which is never followed
	Server           Class = "server"            // the endpoint failed
	BadBody          Class = "bad_body"          // an answer that cannot be read
	Timeout          Class = "timeout"           // no answer in time
	Network          Class = "network"           // no connection, or one that ended early
	FilteredPrompt   Class = "filtered"          // the provider refuses to read this prompt
	ContextLength    Class = "context_length"    // the prompt does not fit into the model's context
)

// Paid says whether the provider will charge for a request.
type Paid string

// A request that may have been answered before the fault may have been paid.
const (
	NotPaid   Paid = "no"
	MaybePaid Paid = "maybe"
	IsPaid    Paid = "yes" // of every reply
)

// Halt says when a fault ends the whole run.
type Halt int

// A fault that is of this request alone comes once in a while; one of the settings comes at once and again.
const (
	NeverHalts      Halt = iota
	HaltsIfRepeated      // if it is the run's first answer or the third such in a row; else only the item is given up
	Halts
)

// Treatment is what follows from a class.
type Treatment struct {
	Retry   bool // ask again, after the wait
	Try     bool // the request counts as one of the item's tries
	Halt    Halt
	Settles bool // the item is done: nothing was wrong but that the endpoint will not answer this prompt
}

var treatments = map[Class]Treatment{
	RateLimit:        {Retry: true},
	Quota:            {Halt: Halts},
	Auth:             {Try: true, Halt: HaltsIfRepeated},
	NotFound:         {Try: true, Halt: HaltsIfRepeated},
	BadRequest:       {Try: true, Halt: HaltsIfRepeated},
	UnexpectedStatus: {Try: true, Halt: HaltsIfRepeated},
	Server:           {Try: true, Retry: true},
	BadBody:          {Try: true, Retry: true},
	Timeout:          {Try: true, Retry: true},
	Network:          {Try: true, Retry: true},
	FilteredPrompt:   {Try: true, Settles: true},
	ContextLength:    {Try: true, Settles: true},
}

// Treatment says what follows from a class. From one that is none of the constants nothing follows.
func (c Class) Treatment() Treatment { return treatments[c] }

// NoWait stands for a wait that the endpoint did not name: the caller chooses it.
const NoWait time.Duration = -1

// Fault is an answer without a reply, or no answer.
type Fault struct {
	Class  Class
	Status int // of HTTP, or the code of an error that came with status 200; 0 if there was no answer
	Paid   Paid
	Wait   time.Duration // before any request is sent again, 0 to 24 hours; NoWait: none asked for, or no retry due

	// What the endpoint says, cut to a few hundred characters and otherwise as it came: Message may repeat the prompt
	// or the key.
	Message, Code, Param string
}

// Unanswered is the fault of a request that no answer came for, or only part of one. Class is [Timeout] or [Network].
func Unanswered(class Class, message string) *Fault {
	return &Fault{Class: class, Paid: MaybePaid, Wait: NoWait, Message: clip(message, maxMessage)}
}

// Error says what happened in one line, with what the endpoint says quoted.
func (f *Fault) Error() string {
	what := fmt.Sprintf("no answer: %s", f.Class)
	if f.Status != 0 {
		what = fmt.Sprintf("the endpoint's answer: %s, status %d", f.Class, f.Status)
	}
	if f.Message == "" {
		return what
	}
	return fmt.Sprintf("%s, %q", what, f.Message)
}

// unreadable is the fault of an answer that says it is a completion and is none.
func unreadable(status int, message string, headers map[string][]string) *Fault {
	return &Fault{Class: BadBody, Status: status, Paid: MaybePaid, Wait: wait(headers),
		Message: clip(message, maxMessage)}
}

// faultOf classifies an answer that says it is a fault.
func faultOf(status int, said complaint, headers map[string][]string) *Fault {
	class, paid := classify(status, said)
	f := &Fault{Class: class, Status: status, Paid: paid, Wait: NoWait, Message: clip(string(said.Message), maxMessage),
		Code: clip(string(said.Code), maxName), Param: clip(string(said.Param), maxName)}
	if class.Treatment().Retry {
		f.Wait = wait(headers)
	}
	return f
}
