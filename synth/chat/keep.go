package chat

import (
	"fmt"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// write adds a record to the ledger, and counts it.
func (c *Client) write(r record) error {
	at, err := c.ledger.append(r)
	if err != nil {
		return err
	}
	return c.index.apply(r, at)
}

// keep writes an answer to the ledger.
func (c *Client) keep(it *item, now time.Time) (Answer, error) {
	r := answerRecord(it.status, it.body, it.reply, it.fault, it.expected)
	r.Key, r.Attempt, r.At, r.MS = it.request.Key, it.attempt, milliseconds(now), it.took.Milliseconds()
	r.Expected = int64(it.request.PromptTokens)
	c.otherModel(&r)
	if err := c.write(r); err != nil {
		return Answer{}, err
	}
	a := Answer{Key: r.Key, Reply: it.reply, Fault: it.fault, Usage: r.usage(), Took: it.took, Try: it.seen + 1}
	if it.fault != nil {
		a.Outcome = Refused
	}
	a.Last = a.Outcome == Refused || a.Try >= c.settings.Tries
	return a, nil
}

// answerRecord is the record of a completion, or of a fault that settles its request, without its key.
func answerRecord(status int, body []byte, read reply.Reply, fault *reply.Fault, claimed Usage) record {
	r := record{Record: recordAnswer, Status: status, Body: asJSON(body)}
	if fault != nil {
		r.Class = fault.Class
		return r
	}
	used, estimated := cost(read, claimed)
	r.Prompt, r.Cached, r.Completion, r.Estimated = used.Prompt, used.Cached, used.Completion, estimated
	r.Finish, r.Served, r.Request = read.Finish, read.Served, read.Request
	return r
}

// otherModel leaves the name of the model that answered in the record if it is not the one that was asked for, and says
// so once.
func (c *Client) otherModel(r *record) {
	if r.Served == c.settings.Model {
		r.Served = ""
	}
	if r.Served != "" && c.index.served[r.Served] == 0 {
		c.settings.Say(fmt.Sprintf("the model %q was asked for, and %q answers", c.settings.Model, r.Served))
	}
}

// faultRecord is the record of a fault without its key.
func faultRecord(f *reply.Fault) record {
	const longest = 200 // characters of what the endpoint says
	r := record{Record: recordFault, Status: f.Status, Class: f.Class, Paid: f.Paid, Message: f.Message}
	if text := []rune(r.Message); len(text) > longest {
		r.Message = string(text[:longest]) + "…"
	}
	if f.Wait != reply.NoWait {
		seconds := f.Wait.Seconds()
		r.Wait = &seconds
	}
	return r
}

// classCutPrompt is the fault of an endpoint that did not read the whole prompt.
const classCutPrompt reply.Class = "cut_prompt"

// cutPrompt looks at the first answer with a count of tokens. Ollama cuts off the beginning of a prompt that is longer
// than its context, which is short by default, and says nothing (its issues 5902 and 6176): the instructions are lost,
// and each answer is paid with time for nothing.
func (c *Client) cutPrompt(it *item) error {
	const least = 0.6 // of the expected tokens: tokenizers differ by less
	if c.measured || it.request.guessed || it.fault != nil || !it.reply.Usage.Known || it.reply.Usage.Prompt == 0 {
		return nil
	}
	c.measured = true
	counted, expected := it.reply.Usage.Prompt, it.expected.Prompt
	if float64(counted) >= least*float64(expected) {
		return nil
	}
	return failure.Remotef("%s read %d tokens of a prompt of about %d: it cuts prompts to its context; give the model "+
		"a larger one (Ollama: OLLAMA_CONTEXT_LENGTH, or num_ctx in a Modelfile) and run again", c.endpoint.host,
		counted, expected)
}
