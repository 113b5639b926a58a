package guard

import (
	"net/http"
	"sync"
	"time"
)

// maxClients is how many clients' rates are kept. When there are more, those that have rested longest are forgotten.
const maxClients = 10_000

// rates count the requests of each client, by the leaky bucket: a client may use its rate at once, and then has it back
// evenly.
type rates struct {
	Rate
	mu   sync.Mutex
	free map[string]time.Time // when a client's bucket is empty again
}

// take counts a request. If it is too many, it returns how long to wait.
func (r *rates) take(client string, now time.Time) (wait time.Duration) {
	if r.Requests == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.free == nil || len(r.free) >= maxClients {
		r.forget(now)
	}
	each := r.Per / time.Duration(r.Requests)
	free := r.free[client]
	if free.Before(now) {
		free = now
	}
	if wait = free.Add(each).Sub(now) - r.Per; wait > 0 {
		return wait
	}
	r.free[client] = free.Add(each)
	return 0
}

// forget drops the clients that may use their whole rate, or all if there are too many others.
func (r *rates) forget(now time.Time) {
	kept := map[string]time.Time{}
	for client, free := range r.free {
		if free.After(now) && len(kept) < maxClients/2 {
			kept[client] = free
		}
	}
	r.free = kept
}

func manyRequests(wait time.Duration) *Fault {
	return &Fault{Status: http.StatusTooManyRequests, Kind: "rate_limit_error", Code: "rate_limit_exceeded",
		After: wait, Text: "Too many requests came from this address. Wait as long as the header Retry-After says, " +
			"then send this one again."}
}
