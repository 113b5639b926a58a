package chat

import (
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// bucket holds a rate a minute. Without a limit it lets everything pass.
type bucket struct {
	limiter *rate.Limiter // nil: no limit
	minute  int
	fixed   bool // by the settings
}

func newBucket(minute int) *bucket {
	b := &bucket{}
	b.set(time.Now(), minute)
	b.fixed = minute > 0
	return b
}

// set changes the rate. No more than a second's worth gathers while nothing is sent: endpoints count over less than a
// minute, too.
func (b *bucket) set(now time.Time, minute int) {
	if minute <= 0 || minute == b.minute || b.fixed {
		return
	}
	b.minute = minute
	perSecond, burst := rate.Limit(float64(minute)/60), max(1, minute/60)
	if b.limiter == nil {
		b.limiter = rate.NewLimiter(perSecond, burst)
		return
	}
	b.limiter.SetLimitAt(now, perSecond)
	b.limiter.SetBurstAt(now, burst)
}

// take takes a number and says from when on it may be used.
func (b *bucket) take(now time.Time, n int) time.Time {
	if b.limiter == nil {
		return now
	}
	if n > b.limiter.Burst() { // a request larger than a second's worth must be able to pass
		b.limiter.SetBurstAt(now, n)
	}
	return now.Add(b.limiter.ReserveN(now, n).DelayFrom(now))
}

// rates are the buckets of an endpoint.
type rates struct{ requests, tokens *bucket }

func newRates(s Settings) rates { return rates{newBucket(s.RPM), newBucket(s.TPM)} }

// take says from when on a request may be sent.
func (r rates) take(now time.Time, tokens int64) time.Time {
	requests, used := r.requests.take(now, 1), r.tokens.take(now, int(tokens))
	if used.After(requests) {
		return used
	}
	return requests
}

// correct charges what a request used beyond what was taken for it; less than 0 is given back.
func (r rates) correct(now time.Time, tokens int64) {
	if r.tokens.limiter != nil {
		r.tokens.limiter.ReserveN(now, min(int(tokens), r.tokens.limiter.Burst()))
	}
}

// learn takes the rates that an endpoint names. Azure has sent -1 for "unknown", which set ignores.
func (r rates) learn(now time.Time, headers http.Header) {
	named := func(name string) int {
		n, _ := strconv.Atoi(headers.Get("X-Ratelimit-Limit-" + name))
		return min(n, 1<<40)
	}
	r.requests.set(now, named("Requests"))
	r.tokens.set(now, named("Tokens"))
}
