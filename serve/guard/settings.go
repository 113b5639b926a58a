package guard

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Settings of a server. The zero value listens on this machine only, on a free port.
type Settings struct {
	Host         string // name or address to listen on; "": 127.0.0.1
	Port         int    // 0: a free one
	Token        string // that requests carry; see NeedsToken
	TokenAlways  bool   // requests of this machine need the token too
	AllowHosts   []string
	AllowOrigins []string // SCHEME://HOST[:PORT] of pages that may ask besides the server's own
	Rate         Rate
	Drain        time.Duration // how long requests may run on when the server ends

	Public  func(*http.Request) bool // needs no token: files of a page, a probe. nil: nothing
	Counted func(*http.Request) bool // counts for Rate. nil: every POST
	OnDrain func()                   // when the server begins to end; may be nil
	Log     io.Writer                // a line a request; nil: none
}

// NeedsToken reports whether Settings need a token: other machines can reach the server, or may through a proxy.
func (s Settings) NeedsToken() bool {
	return s.TokenAlways || len(s.AllowHosts) > 0 || !loopbackName(s.Host)
}

func (s Settings) check() error {
	switch {
	case s.NeedsToken() && s.Token == "":
		return failure.Inputf("a server that other machines can reach needs a token")
	case s.Port < 0 || s.Port > 65535:
		return failure.Inputf("port must be 0 to 65535, not %d", s.Port)
	}
	if s.Token != "" {
		if err := checkToken(s.Token); err != nil {
			return err
		}
	}
	for _, host := range s.AllowHosts {
		if host == "" || strings.ContainsAny(host, "/*@ ") {
			return failure.Inputf("a host to allow is a name or an address, with :PORT or without, not %q", host)
		}
	}
	for _, origin := range s.AllowOrigins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || origin != u.Scheme+"://"+u.Host {
			return failure.Inputf("an origin to allow has the form https://HOST or http://HOST:PORT, not %q", origin)
		}
	}
	return nil
}

func (s Settings) address() string {
	host := s.Host
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(s.Port))
}

// loopbackName reports whether a host of Settings or of a request names this machine for itself. Other names can be
// made to resolve to it by whoever owns them.
func loopbackName(host string) bool {
	if host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && address.Unmap().IsLoopback()
}

// Rate is how many requests a client may send. The zero value is any number.
type Rate struct {
	Requests int
	Per      time.Duration
}

// ParseRate reads NUMBER/s, /m or /h.
func ParseRate(text string) (Rate, error) {
	number, unit, _ := strings.Cut(text, "/")
	per, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.Atoi(number)
	if !known || err != nil || n < 1 || n > 1_000_000 {
		return Rate{}, failure.Inputf("a rate has the form 60/m (or /s, /h), not %q", text)
	}
	return Rate{n, per}, nil
}
