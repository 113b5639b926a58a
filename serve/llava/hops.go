package llava

import (
	"context"
	"net/http"
	"strconv"
)

// hopsHeader counts the controllers that a request has passed: a controller may be a worker of another one, and by
// mistake of itself.
const (
	hopsHeader = "Llavatrain-Hops"
	maxHops    = 3
)

type hopsKey struct{}

// Deeper is the context of requests that a controller makes for r; false if it has passed too many already.
func Deeper(r *http.Request) (context.Context, bool) {
	n, _ := strconv.Atoi(r.Header.Get(hopsHeader)) // 0 of all but controllers
	return context.WithValue(r.Context(), hopsKey{}, n+1), n < maxHops
}

// hops is what requests in the context say.
func hops(ctx context.Context) string {
	if n, ok := ctx.Value(hopsKey{}).(int); ok {
		return strconv.Itoa(n)
	}
	return ""
}
