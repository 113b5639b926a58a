package synth

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/chat"
)

// usualAnswer is about how many tokens an answer has: the means of the answers that LLaVA's makers published.
var usualAnswer = map[answer.Kind]int64{answer.Conversation: 650, answer.Detail: 104, answer.Reasoning: 141}

// shownRequests is how many whole requests a dry run prints.
const shownRequests = 2

// DryRun prints what a run would ask and cost, with whole requests. It sends nothing; client may be opened by
// chat.Look.
func (r *Run) DryRun(w io.Writer, client *chat.Client) error {
	fmt.Fprintf(w, "scenes      %s to ask about", number(len(r.scenes)))
	if len(r.skipped) > 0 {
		fmt.Fprintf(w, ", %s left out (%s)", number(len(r.skipped)), counted(r.skipped))
	}
	fmt.Fprintf(w, "\nimages      %s\nendpoint    %s, model %s\n\n", r.images, host(r.settings.Endpoint.URL),
		r.settings.Endpoint.Model)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "kind\trows\tto ask\tanswered\tprompt tokens\tanswer tokens\t")
	var low, high chat.Usage
	var shown []chat.Request
	var short []string
	for _, k := range r.kinds {
		e, err := r.estimate(k, client)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s to %s\t\n", k.name, number(k.target), number(e.asks),
			number(e.answered),
			runs.Grouped(e.low.Prompt), runs.Grouped(e.low.Completion), runs.Grouped(e.high.Completion))
		if e.asks+e.answered < k.target {
			short = append(short, fmt.Sprintf("%s: there are scenes for %s rows only", k.name,
				number(e.asks+e.answered)))
		}
		low, high = plus(low, e.low), plus(high, e.high)
		if e.first != nil && len(shown) < shownRequests {
			shown = append(shown, *e.first)
		}
	}
	table.Flush()
	for _, line := range short {
		fmt.Fprintln(w, line)
	}
	r.printCost(w, low, high)
	for _, request := range shown {
		if err := printRequest(w, request); err != nil {
			return err
		}
	}
	return nil
}

func plus(a, b chat.Usage) chat.Usage {
	return chat.Usage{Prompt: a.Prompt + b.Prompt, Cached: a.Cached + b.Cached, Completion: a.Completion + b.Completion}
}

// estimated is what a kind's rows will take, if every answer is accepted.
type estimated struct {
	asks, answered int
	low, high      chat.Usage
	first          *chat.Request
}

func (r *Run) estimate(k *kind, client *chat.Client) (e estimated, err error) {
	all := r.candidates(k)
	for e.asks+e.answered < k.target {
		one, ok, err := all.take()
		if err != nil || !ok {
			return e, err
		}
		if one.skip != "" {
			continue
		}
		if e.first == nil {
			e.first = &one.request
		}
		if client.Has(one.request.Key) {
			e.answered++
			continue
		}
		e.asks++
		limit := int64(r.settings.Sampling.MaxTokens)
		e.low = plus(e.low, chat.Usage{Prompt: int64(one.request.PromptTokens),
			Completion: min(usualAnswer[k.name], limit)})
		e.high = plus(e.high, chat.Usage{Prompt: int64(one.request.PromptTokens), Completion: limit})
	}
	return e, nil
}

func (r *Run) printCost(w io.Writer, low, high chat.Usage) {
	b := r.settings.Budget
	if b.Prices == nil {
		fmt.Fprintln(w, "\ncost        unknown: synth.budget.prices has none")
	} else {
		prices := r.Settings(nil).Budget.Prices
		fmt.Fprintf(w, "\ncost        %.2f to %.2f, less where the endpoint caches the prompts' beginning; rejected "+
			"answers come on top\n", prices.Money(low), prices.Money(high))
	}
	if b.Money > 0 || b.Tokens > 0 {
		fmt.Fprintf(w, "budget      %s\n", r.Settings(nil).Budget)
	}
}

// host is the part of an address that says who is asked.
func host(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return "?"
	}
	return parsed.Host
}

func printRequest(w io.Writer, request chat.Request) error {
	var messages []struct{ Role, Content string }
	if err := json.Unmarshal(request.Messages, &messages); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n--- a request, about %d tokens ---\n", request.PromptTokens)
	for _, m := range messages {
		fmt.Fprintf(w, "[%s]\n%s\n", m.Role, visible(m.Content))
	}
	return nil
}

// visible replaces control characters, which could steer a terminal. Captions come from anywhere.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, text)
}
