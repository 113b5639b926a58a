package guard

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

const token = "right-token"

// sent is a request as the gate sees it: headers that are "" are not sent.
type sent struct{ method, path, host, peer, auth, origin, site, mode, dest string }

func (s sent) request() *http.Request {
	method, path := s.method, s.path
	if method == "" {
		method = "POST"
	}
	if path == "" {
		path = "/v1/chat/completions"
	}
	r := httptest.NewRequest(method, path, nil)
	r.Host, r.RemoteAddr = s.host, s.peer
	for name, value := range map[string]string{"Authorization": s.auth, "Origin": s.origin, "Sec-Fetch-Site": s.site,
		"Sec-Fetch-Mode": s.mode, "Sec-Fetch-Dest": s.dest} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.168.1.5:8000"))
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
}

const (
	near = "127.0.0.1:5000"
	far  = "192.168.1.77:5000"
	mine = "localhost:8000"
)

func public(r *http.Request) bool { return r.URL.Path == "/" }

func TestGate(t *testing.T) {
	here := gate{Settings{}, "8000"}
	named := gate{Settings{Token: token, AllowHosts: []string{"llava.example", "proxy.example:443"}}, "8000"}
	open := gate{Settings{Host: "0.0.0.0", Token: token, Public: public}, "8000"}
	always := gate{Settings{Token: token, TokenAlways: true}, "8000"}
	pages := gate{Settings{AllowOrigins: []string{"https://ui.example"}}, "8000"}
	for _, test := range []struct {
		name string
		gate gate
		sent sent
		want int // 0: let in
	}{
		{"name", here, sent{host: mine, peer: near}, 0},
		{"capitals", here, sent{host: "LocalHost:8000", peer: near}, 0},
		{"no port", here, sent{host: "localhost", peer: near}, 0},
		{"address", here, sent{host: "127.0.0.1:8000", peer: near}, 0},
		{"address of version 6", here, sent{host: "[::1]:8000", peer: "[::1]:5000"}, 0},
		{"address of version 6 alone", here, sent{host: "[::1]", peer: "[::1]:5000"}, 0},
		{"any key of an OpenAI client", here, sent{host: mine, peer: near, auth: "Bearer EMPTY"}, 0},
		{"other port", here, sent{host: "localhost:9000", peer: near}, 403},
		{"other host", here, sent{host: "evil.example:8000", peer: near}, 403},
		{"host that begins alike", here, sent{host: "localhost.evil.example:8000", peer: near}, 403},
		{"no host", here, sent{peer: near}, 403},
		{"odd hosts", here, sent{host: "localhost:8000:8000", peer: near}, 403},
		{"user in the host", here, sent{host: "a@localhost:8000", peer: near}, 403},
		{"other address", here, sent{host: "10.0.0.1:8000", peer: near}, 403},
		{"address of the connection", here, sent{host: "192.168.1.5:8000", peer: far}, 0},

		{"own page", here, sent{host: mine, peer: near, origin: "http://localhost:8000", site: "same-origin"}, 0},
		{"own page, other name", here, sent{host: mine, peer: near, origin: "http://127.0.0.1:8000"}, 0},
		{"page of another port", here, sent{host: mine, peer: near, origin: "http://localhost:3000"}, 403},
		{"page of port 80", here, sent{host: mine, peer: near, origin: "http://localhost"}, 403},
		{"page of another site", here, sent{host: mine, peer: near, origin: "https://evil.example"}, 403},
		{"other site on our port", here, sent{host: mine, peer: near, origin: "http://evil.example:8000"}, 403},
		{"null", here, sent{host: mine, peer: near, origin: "null"}, 403},
		{"file", here, sent{host: mine, peer: near, origin: "file://"}, 403},
		{"cross-site", here, sent{host: mine, peer: near, site: "cross-site"}, 403},
		{"typed address", here, sent{host: mine, peer: near, site: "none"}, 0},
		{"allowed page", pages, sent{host: mine, peer: near, origin: "https://ui.example", site: "cross-site"}, 0},
		{"page like the allowed", pages, sent{host: mine, peer: near, origin: "https://ui.example.evil"}, 403},

		{"allowed host", named, sent{host: "llava.example:8000", peer: near, auth: "Bearer " + token}, 0},
		{"allowed host without token", named, sent{host: "llava.example:8000", peer: near}, 401},
		{"allowed host and port", named, sent{host: "proxy.example:443", peer: near}, 401},
		{"allowed host, other port", named, sent{host: "proxy.example:8000", peer: near}, 403},
		{"this machine", named, sent{host: mine, peer: near}, 0},

		{"far", open, sent{host: "192.168.1.5:8000", peer: far}, 401},
		{"far with a near host", open, sent{host: mine, peer: far}, 401},
		{"near with the far address", open, sent{host: "192.168.1.5:8000", peer: near}, 401},
		{"near", open, sent{host: mine, peer: near}, 0},
		{"right token", open, sent{host: "192.168.1.5:8000", peer: far, auth: "Bearer " + token}, 0},
		{"right token, any host and page", open, sent{host: "x.example", peer: far, auth: "bearer  " + token,
			origin: "https://evil.example", site: "cross-site"}, 0},
		{"wrong token", open, sent{host: "192.168.1.5:8000", peer: far, auth: "Bearer right-tokem"}, 401},
		{"longer token", open, sent{host: "192.168.1.5:8000", peer: far, auth: "Bearer " + token + "x"}, 401},
		{"no scheme", open, sent{host: "192.168.1.5:8000", peer: far, auth: token}, 401},
		{"empty token", open, sent{host: "192.168.1.5:8000", peer: far, auth: "Bearer "}, 401},
		{"page", open, sent{method: "GET", path: "/", host: "192.168.1.5:8000", peer: far}, 0},
		{"page by another name", open, sent{method: "GET", path: "/", host: "evil.example", peer: far}, 403},
		{"link to the page", open, sent{method: "GET", path: "/", host: mine, peer: near, site: "cross-site",
			mode: "navigate", dest: "document"}, 0},
		{"frame of the page", open, sent{method: "GET", path: "/", host: mine, peer: near, site: "cross-site",
			mode: "navigate", dest: "iframe"}, 403},
		{"form of another site", open, sent{host: mine, peer: near, site: "cross-site", mode: "navigate",
			dest: "document"}, 403},

		{"always", always, sent{host: mine, peer: near}, 401},
		{"always with token", always, sent{host: mine, peer: near, auth: "Bearer " + token}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := 0
			if fault := test.gate.admit(test.sent.request()); fault != nil {
				got = fault.Status
			}
			if got != test.want {
				t.Errorf("status %d, want %d", got, test.want)
			}
		})
	}
}

func TestTwoOrigins(t *testing.T) {
	g := gate{Settings{}, "8000"}
	r := sent{host: mine, peer: near, origin: "http://localhost:8000"}.request()
	r.Header.Add("Origin", "https://evil.example")
	if g.admit(r) == nil {
		t.Error("a request of two origins is let in")
	}
}

// FuzzHost: whatever stands in a request, it is not let in under a foreign name, or without the token from afar.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"localhost", mine, "[::1]:8000", "[::1%25lo]:8000", "evil.example:8000",
		"127.0.0.1.:8000"} {
		f.Add(host, "http://"+host, "Bearer x")
	}
	g := gate{Settings{Host: "0.0.0.0", Token: token}, "8000"}
	f.Fuzz(func(t *testing.T, host, origin, auth string) {
		if strings.Contains(auth, token) {
			return
		}
		r := sent{host: host, peer: far, auth: auth, origin: origin}.request()
		if g.admit(r) == nil {
			t.Errorf("%q is let in from afar", host)
		}
		r.RemoteAddr = near
		if g.admit(r) != nil {
			return
		}
		for _, name := range []string{"localhost", "127.0.0.1", "[::1]", "::1", "192.168.1.5"} {
			if port, ok := strings.CutPrefix(strings.ToLower(host), name); ok && (port == "" || port == ":8000") {
				return
			}
		}
		t.Errorf("host %q is let in", host)
	})
}

func TestClient(t *testing.T) {
	for peer, want := range map[string]string{
		"10.0.0.1:99": "10.0.0.1", "[::ffff:10.0.0.1]:99": "10.0.0.1", "[2001:db8:1:2:3::4]:99": "2001:db8:1:2::",
		"[2001:db8:1:2:ffff::9]:99": "2001:db8:1:2::", "[fe80::1%eth0]:99": "fe80::",
	} {
		if got := Client(sent{peer: peer}.request()); got != want {
			t.Errorf("%s: %s, want %s", peer, got, want)
		}
	}
}
