package judge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/synth/chat"
)

// Estimate is how many tokens requests have, at four bytes a token, and how many the replies may have.
func Estimate(set *benchmarks.Set, requests []Request) (prompt, completion int) {
	for _, r := range requests {
		for _, m := range r.Messages {
			prompt += len(m.Content)/4 + 1
		}
	}
	return prompt, len(requests) * asked[set.Benchmark.Name].limit
}

// Ask sends requests to an endpoint, and keeps the replies in a ledger in a folder: asked again, it pays for nothing
// twice. A reply that the rule cannot read is asked for once more. progress is told how many are there. A request
// without a reply has its fault in place of one; any other error ends the work, and what is there stays in the ledger.
func Ask(ctx context.Context, folder string, how chat.Settings, set *benchmarks.Set, requests []Request,
	progress func(done int)) (*Replies, error) {
	s, err := settingsOf(set)
	if err != nil {
		return nil, err
	}
	client, err := chat.Open(folder, how)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	r := &Replies{List: make([]benchmarks.Reply, len(set.Questions))}
	of := map[string][]int{} // questions with the same request share its reply
	var different []chat.Request
	for _, request := range requests {
		one := chatRequest(s, request, how.Model)
		if of[one.Key] == nil {
			different = append(different, one)
		}
		of[one.Key] = append(of[one.Key], request.Question)
	}
	models, next, done := map[string]bool{}, 0, 0
	err = client.Run(ctx, func() (chat.Request, bool) {
		if next == len(different) {
			return chat.Request{}, false
		}
		next++
		return different[next-1], true
	}, func(a chat.Answer) chat.Verdict {
		said := benchmarks.Reply{Fault: "it has no reply"}
		if a.Outcome == chat.Answered {
			said = asReply(a.Reply)
			models[a.Reply.Served] = true
		} else if a.Fault != nil {
			said.Fault = a.Fault.Error()
		}
		for _, question := range of[a.Key] {
			r.List[question] = said
		}
		if !a.Last && (said.Fault != "" || !set.Readable(of[a.Key][0], said.Text)) {
			return chat.Again
		}
		done += len(of[a.Key])
		progress(done)
		return chat.Done
	})
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	delete(models, "")
	if r.Judge = strings.Join(slices.Sorted(maps.Keys(models)), ", "); r.Judge == "" {
		r.Judge = how.Model
	}
	r.count(set)
	return r, nil
}

// chatRequest is a request for the client, whose key names all that the reply depends on.
func chatRequest(s settings, r Request, model string) chat.Request {
	messages, _ := json.Marshal(r.Messages) // of strings: it cannot fail
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %g %d %s", model, s.temperature, s.limit, messages))
	return chat.Request{Key: hex.EncodeToString(sum[:16]), Messages: messages, MaxTokens: s.limit,
		Sampling: chat.Sampling{Temperature: &s.temperature}}
}
