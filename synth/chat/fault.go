package chat

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

const (
	maxFaults   = 5 // of a request that is tried again
	maxRepeated = 3 // faults in a row of the kind that is not the request's alone

	// Of shorter pauses the user is told once a minute: an endpoint that limits the rate asks for one every few
	// seconds.
	longPause = 30 * time.Second
)

// faulted keeps a fault, and does what its class asks for.
func (r *run) faulted(it *item, now time.Time) error {
	record := faultRecord(it.fault)
	record.Key, record.Attempt, record.At = it.request.Key, it.attempt, milliseconds(now)
	if err := r.c.write(record); err != nil {
		return err
	}
	r.c.rates.correct(now, -it.expected.Total())
	treatment := it.fault.Class.Treatment()
	switch {
	case r.c.endpoint.swap(it):
		r.put(it)
	case it.fault.Class == reply.RateLimit, isLoading(it.fault):
		r.pause(it, now)
		r.put(it)
	case treatment.Halt == reply.Halts:
		r.end(r.c.endpoint.stopped(it.fault))
	case treatment.Halt == reply.HaltsIfRepeated:
		r.repeated(it)
	case treatment.Retry:
		r.retry(it, now)
	default:
		r.giveUp(it)
	}
	return nil
}

// isLoading: llama.cpp's server says so until it has read the model's file, however long that takes.
func isLoading(f *reply.Fault) bool {
	return f.Status == http.StatusServiceUnavailable && strings.Contains(strings.ToLower(f.Message), "loading model")
}

// giveUp tells done that a request has no answer.
func (r *run) giveUp(it *item) {
	r.done(Answer{Key: it.request.Key, Outcome: Failed, Fault: it.fault, Last: true})
	r.leave(it)
}

// repeated takes a fault that the settings cause, or else a single request. Nothing is known yet of the first answers.
func (r *run) repeated(it *item) {
	r.refusals++
	if !r.worked || r.refusals >= maxRepeated {
		r.end(r.c.endpoint.stopped(it.fault))
		return
	}
	r.giveUp(it)
}

// pause holds back everything, for the time that the endpoint asks for or a random one that grows. Requests that were
// sent before a pause began do not make the next one longer.
func (r *run) pause(it *item, now time.Time) {
	wait := it.fault.Wait
	if r.limitedFrom.IsZero() {
		r.limitedFrom = now
	}
	if !it.sent.Before(r.pausedUntil) {
		r.slots = max(1, r.slots/2)
		r.limited++
		if wait == reply.NoWait {
			wait = backoff(r.limited)
		}
	}
	if until := now.Add(wait); until.After(r.pausedUntil) {
		r.pausedUntil = until
		if wait >= longPause || wait >= time.Second && now.Sub(r.pauseSaid) >= time.Minute {
			r.pauseSaid = now
			r.c.settings.Say(fmt.Sprintf("%s holds requests back (%v): nothing is sent for %v", r.c.endpoint.host,
				it.fault, wait.Round(time.Second)))
		}
	}
	if patience := r.c.settings.Patience; r.pausedUntil.Sub(r.limitedFrom) > patience {
		r.end(failure.Remotef("%s would let nothing pass for %v, and patience ends after %v (%w); run again later, "+
			"all answers are kept", r.c.endpoint.host, r.pausedUntil.Sub(r.limitedFrom).Round(time.Second), patience,
			it.fault))
	}
}

// retry has a request sent again, unless it was tried often enough. The faults of an outage are not a request's own.
func (r *run) retry(it *item, now time.Time) {
	r.limited, r.limitedFrom = 0, time.Time{}
	b, patience := &r.breaker, r.c.settings.Patience
	outage := b.open
	if b.bad(now, it.probe, patience) {
		r.c.settings.Say(fmt.Sprintf("%s does not work (%v): the next try is in %v", r.c.endpoint.host, it.fault,
			b.next.Sub(now).Round(time.Second)))
	}
	if b.over(now, patience) {
		r.end(failure.Remotef("%s has been out of order for %v (%w); run again when it works, all answers are kept",
			r.c.endpoint.host, now.Sub(b.since).Round(time.Second), it.fault))
		return
	}
	if !outage {
		it.faults++
	}
	wait := it.fault.Wait
	if wait == reply.NoWait {
		wait = backoff(it.faults)
	}
	if it.faults >= maxFaults || wait > patience {
		r.giveUp(it)
		return
	}
	r.delay(it, now.Add(wait))
}

// backoff is a random time before the nth repetition, from 1: up to a second, two, four and so on, a minute at most. It
// is spread over all of that (full jitter), so that many clients do not come back together.
func backoff(n int) time.Duration {
	const longest = time.Minute
	return rand.N(min(longest, time.Second<<min(max(n-1, 0), 10)))
}

// advice is what to do about the faults that end a run.
var advice = map[reply.Class]string{
	reply.Quota:            "add credit to the account and run again",
	reply.NotFound:         "check the endpoint's url, which should end with /v1, and the model's name",
	reply.BadRequest:       "check the sampling parameters, which not every model takes, and the dialect",
	reply.UnexpectedStatus: "check the endpoint's url: redirections are not followed",
}

// stopped is the error of a run that a fault ends.
func (e *endpoint) stopped(f *reply.Fault) error {
	what := advice[f.Class]
	if f.Class == reply.Auth {
		what = "set the environment variable that key_env names to a key that may use this model"
		if e.keyEnv != "" {
			what = "set the environment variable " + e.keyEnv + " to a key that may use this model"
		}
	}
	return failure.Remotef("%s: %w; %s, all answers are kept", e.host, f, cmp.Or(what, "run again"))
}
