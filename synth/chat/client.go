package chat

import (
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// Client asks one endpoint and keeps one ledger. Not safe for concurrent use; the functions that Run calls may use it.
type Client struct {
	settings Settings
	ledger   *ledger // nil: there is none to look at
	looking  bool
	index    *index
	rates    rates
	endpoint *endpoint // nil: nothing has been sent
	flying   int
	flight   bill // the most that the requests in flight can cost
	measured bool // an answer has shown that the endpoint reads whole prompts
}

// Open takes a folder, which is made if need be, for this process alone, and reads its ledger. The error wraps
// checkpoints.ErrBusy where another process has the folder.
func Open(folder string, s Settings) (*Client, error) {
	c, err := newClient(s)
	if err != nil {
		return nil, err
	}
	if c.ledger, err = openLedger(folder); err != nil {
		return nil, err
	}
	if err = c.index.read(c.ledger); err == nil {
		err = c.ledger.cut()
	}
	if err == nil && c.ledger.size == 0 {
		_, err = c.ledger.append(record{Record: recordLedger, Version: ledgerVersion})
	}
	if err != nil {
		c.ledger.close()
		return nil, err
	}
	return c, nil
}

// Look reads the ledger of a folder without taking the folder or writing anything. A missing one is empty. Where
// another process is at work, its requests in flight look lost.
func Look(folder string, s Settings) (*Client, error) {
	c, err := newClient(s)
	if err != nil {
		return nil, err
	}
	c.looking = true
	if c.ledger, err = lookLedger(folder); err != nil || c.ledger == nil {
		return c, err
	}
	if err := c.index.read(c.ledger); err != nil {
		c.ledger.close()
		return nil, err
	}
	return c, nil
}

func newClient(s Settings) (*Client, error) {
	s = s.usual()
	if err := s.check(); err != nil {
		return nil, err
	}
	return &Client{settings: s, index: newIndex(), rates: newRates(s)}, nil
}

// Close gives the folder back.
func (c *Client) Close() error {
	if c.endpoint != nil {
		c.endpoint.http.CloseIdleConnections()
	}
	if c.ledger == nil {
		return nil
	}
	return c.ledger.close()
}

// mayWrite is the error of writing to a ledger that is only looked at.
func (c *Client) mayWrite() error {
	if c.looking {
		return errors.New("the ledger was opened for reading only")
	}
	return nil
}

// Has says whether the ledger holds an answer to a key.
func (c *Client) Has(key string) bool { return len(c.spans(key)) > 0 }

func (c *Client) spans(key string) []span {
	if e := c.index.keys[key]; e != nil {
		return e.answers
	}
	return nil
}

// Find reads the answers to a key, in the order in which they came.
func (c *Client) Find(key string) ([]Answer, error) {
	var found []Answer
	for i := range c.spans(key) {
		a, err := c.recorded(key, i)
		if err != nil {
			return nil, err
		}
		found = append(found, a)
	}
	return found, nil
}

// recorded reads the answer of a try, from 0, from the ledger.
func (c *Client) recorded(key string, try int) (Answer, error) {
	r, err := c.ledger.read(c.spans(key)[try])
	if err != nil {
		return Answer{}, err
	}
	return c.read(r, try), nil
}

// read is the answer in a record.
func (c *Client) read(r record, try int) Answer {
	a := r.answer()
	a.Try, a.Last = try+1, a.Outcome == Refused || try+1 >= c.settings.Tries
	return a
}

// Answers reads all answers from the ledger, in the order in which they came. An error is the last that it yields.
func (c *Client) Answers() iter.Seq2[Answer, error] {
	return func(yield func(Answer, error) bool) {
		if c.ledger == nil {
			return
		}
		_, err := c.ledger.scan(func(line []byte, at span) error {
			if r, err := head(line); err != nil || r.Record != recordAnswer {
				return err
			}
			r, err := whole(line)
			if err != nil {
				return err
			}
			if !yield(c.read(r, slices.Index(c.spans(r.Key), at)), nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(Answer{}, err)
		}
	}
}

var errEnough = errors.New("the caller has enough")

// Summary is a ledger in numbers.
type Summary struct {
	Answers   int // with the endpoint's refusals
	Estimated int // answers whose tokens the endpoint did not count

	Spent, MaybePaid, Waiting Cost // for answers; for faults and lost claims; for what waits in batch files

	Lost   int                 // claims without an outcome: what was in flight when a process was killed
	Flying int                 // requests in flight
	Faults map[reply.Class]int // how often each came
	Served map[string]int      // answers by models of other names than the one that was asked for
}

// Cost is a number of tokens and what they cost.
type Cost struct {
	Usage
	Money float64 `json:"money"` // in the currency of the prices
}

// Summary counts what the ledger holds, from its beginning.
func (c *Client) Summary() Summary {
	x := c.index
	cost := func(b bill) Cost { return Cost{b.usage(), c.settings.Budget.Prices.of(b)} }
	return Summary{
		Answers: x.answers, Estimated: x.estimated,
		Spent: cost(x.spent), MaybePaid: cost(x.maybe), Waiting: cost(x.waiting),
		Lost: x.lost, Flying: c.flying, Faults: maps.Clone(x.faults), Served: maps.Clone(x.served),
	}
}

// afford says whether the budget has room for a request, besides all that was and will be paid. If not, it returns the
// error that says so.
func (c *Client) afford(most bill) error {
	x, budget := c.index, c.settings.Budget
	if budget.allows(x.spent, x.maybe, x.waiting, c.flight, most) {
		return nil
	}
	return failure.Remotef("the budget of %s does not suffice: %s spent, %s maybe paid, %s in batch files, %s in "+
		"flight, and the next request may cost %s; raise it and run again, nothing is lost", budget,
		budget.amount(x.spent), budget.amount(x.maybe), budget.amount(x.waiting), budget.amount(c.flight),
		budget.amount(most))
}
