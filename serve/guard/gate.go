package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// gate lets requests in.
type gate struct {
	Settings
	port string // that the server listens on
}

// admit returns why a request is not let in, or nil.
func (g *gate) admit(r *http.Request) *Fault {
	if HasToken(r, g.Token) {
		return nil
	}
	if !g.ours(r.Host, r) {
		return forbidden("This server does not answer to the host of the request. Use its address or localhost, send " +
			"its token, or start it with --allow-host HOST.")
	}
	origin := r.Header.Get("Origin")
	switch allowed := slices.Contains(g.AllowOrigins, origin); {
	case allowed:
	case len(r.Header.Values("Origin")) > 1 || origin != "" && !g.ownOrigin(origin, r):
		return forbidden("Pages of other sites may not ask this server. Start it with --allow-origin ORIGIN to let " +
			"one.")
	case r.Header.Get("Sec-Fetch-Site") == "cross-site" && !g.followsLink(r):
		return forbidden("Pages of other sites may not ask this server; open its address yourself.")
	}
	if g.Token == "" || g.isPublic(r) || !g.TokenAlways && g.fromHere(r) {
		return nil
	}
	return unauthorized
}

func (g *gate) isPublic(r *http.Request) bool { return g.Public != nil && g.Public(r) }

// followsLink reports whether a reader of another site has followed a link to the page: that shows the page and nothing
// else.
func (g *gate) followsLink(r *http.Request) bool {
	return r.Method == http.MethodGet && g.isPublic(r) && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		r.Header.Get("Sec-Fetch-Dest") == "document"
}

// HasToken reports whether a request carries the token, "" for none. It compares in a time that does not tell how much
// of the token is right.
func HasToken(r *http.Request, want string) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if want == "" || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	sent, right := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(sent[:], right[:]) == 1
}

// fromHere reports whether a request comes from this machine and knows that it does: a proxy on this machine passes on
// the name that it was asked by.
func (g *gate) fromHere(r *http.Request) bool {
	name, _ := splitHost(r.Host)
	return name != "" && loopbackName(name) && PeerAddress(r).IsLoopback()
}

// ours reports whether host names this server: for its own machine, by a name that was allowed, or by the address that
// the connection was made to. An address is safe: who rebinds a name has a browser send the name.
func (g *gate) ours(host string, r *http.Request) bool {
	name, port := splitHost(host)
	if name == "" {
		return false
	}
	for _, allowed := range g.AllowHosts {
		if strings.EqualFold(allowed, host) {
			return true
		}
		allowedName, allowedPort := splitHost(allowed)
		if allowedPort == "" && strings.EqualFold(allowedName, name) && (port == "" || port == g.port) {
			return true
		}
	}
	if port != "" && port != g.port {
		return false
	}
	if name == "localhost" || name == "127.0.0.1" || name == "::1" {
		return true
	}
	address, err := netip.ParseAddr(name)
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if err != nil || !ok {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	return err == nil && at.Addr().Unmap() == address.Unmap()
}

// ownOrigin reports whether a page of this server asks: one of another port of the same machine is another site's.
func (g *gate) ownOrigin(origin string, r *http.Request) bool {
	scheme, host, _ := strings.Cut(origin, "://")
	if scheme != "http" && scheme != "https" || host == "" {
		return false
	}
	_, port := splitHost(host)
	return strings.EqualFold(host, r.Host) || port == g.port && g.ours(host, r)
}

// splitHost is the name, in lower case and without brackets, and the port, "" for none. The name is "" if host is not
// of the form NAME, NAME:PORT, ADDRESS, [ADDRESS] or [ADDRESS]:PORT.
func splitHost(host string) (name, port string) {
	host = strings.ToLower(host)
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		return inner[:len(inner)-1], ""
	}
	if !strings.Contains(host, ":") {
		return host, ""
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil || port == "" {
		return "", ""
	}
	return name, port
}

// PeerAddress is the address at the other end of a request's connection; the zero value if it has none.
func PeerAddress(r *http.Request) netip.Addr { return addressOf(r.RemoteAddr) }

func addressOf(text string) netip.Addr {
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// Client is whose turn a request takes: that of its address. A provider gives a subscriber a network of 64 bits of
// IPv6, which counts as one address.
func Client(r *http.Request) string { return client(PeerAddress(r)).String() }

func client(address netip.Addr) netip.Addr {
	if network, err := address.Prefix(64); err == nil && address.Is6() {
		return network.Addr()
	}
	return address
}

// allowOrigin lets the pages of AllowOrigins read answers, and answers what a browser asks before it sends a request of
// theirs. It reports whether the request was that question.
func (g *gate) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if !slices.Contains(g.AllowOrigins, origin) {
		return false
	}
	header := w.Header()
	header.Add("Vary", "Origin")
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header.Set("Access-Control-Allow-Methods", "GET, POST")
	header.Set("Access-Control-Max-Age", "600")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		header.Set("Access-Control-Allow-Headers", asked)
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
