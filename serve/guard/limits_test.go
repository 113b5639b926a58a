package guard

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestConnections(t *testing.T) {
	l := newLimiter(nil)
	far, here := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("127.0.0.1")
	for range maxAddressConnections {
		if !l.take(far) {
			t.Fatal("too few connections of an address")
		}
	}
	if l.take(far) {
		t.Error("too many connections of an address")
	}
	for range maxConnections - maxAddressConnections {
		if !l.take(here) {
			t.Fatal("too few connections of this machine")
		}
	}
	if l.take(here) {
		t.Error("too many connections")
	}
	l.give(far)
	if !l.take(far) || l.take(here) {
		t.Error("a place is not given back")
	}
	for range maxAddressConnections {
		l.give(far)
	}
	if len(l.each) != 1 {
		t.Errorf("%d addresses are remembered", len(l.each))
	}
}

// TestOverLimit: a connection over the limit gets an answer, and closing one makes room.
func TestOverLimit(t *testing.T) {
	server := start(t, Settings{}, echo)
	l := server.listener.(*limiter)
	l.mu.Lock()
	l.all = maxConnections
	l.mu.Unlock()
	c, err := net.Dial("tcp", address(server))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if text, _ := io.ReadAll(c); !strings.HasPrefix(string(text), "HTTP/1.1 503 ") {
		t.Errorf("%q", text)
	}
	l.mu.Lock()
	l.all = 0
	l.mu.Unlock()
	if answer := send(t, address(server), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); answer.StatusCode != 200 {
		t.Errorf("status %d", answer.StatusCode)
	}
}

// TestRates: no client exceeds its rate by more than it may save up, and one that waits as told is served.
func TestRates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := Rate{rapid.IntRange(1, 100).Draw(t, "requests"), time.Minute}
		r := rates{Rate: rate}
		began := time.Unix(0, 0)
		now, served := began, 0
		for range 300 {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause")))
			wait := r.take("a", now)
			if wait == 0 {
				served++
			} else if r.take("a", now.Add(wait-1)) == 0 {
				t.Fatal("the wait is too long")
			} else if rapid.Bool().Draw(t, "waits") {
				if now = now.Add(wait); r.take("a", now) != 0 {
					t.Fatal("the wait is too short")
				}
				served++
			}
			most := rate.Requests + int(now.Sub(began)*time.Duration(rate.Requests)/rate.Per) + 1
			if served > most {
				t.Fatalf("%d requests in %v of %d a minute", served, now.Sub(began), rate.Requests)
			}
		}
	})
}

func TestRatesForget(t *testing.T) {
	r := rates{Rate: Rate{1, time.Minute}}
	now := time.Unix(0, 0)
	for i := range 3 * maxClients {
		r.take(fmt.Sprint(i), now)
		if len(r.free) > maxClients {
			t.Fatalf("%d clients are kept", len(r.free))
		}
	}
}

func TestRated(t *testing.T) {
	server := start(t, Settings{Rate: Rate{2, time.Hour}}, echo)
	get, post := "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for i, test := range []struct {
		text   string
		status int
	}{{post, 200}, {post, 200}, {get, 200}, {post, 429}, {get, 200}} {
		answer := send(t, address(server), test.text)
		if answer.StatusCode != test.status || (test.status == 429) != (answer.Header.Get("Retry-After") != "") {
			t.Errorf("request %d: %d, %v", i, answer.StatusCode, answer.Header)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"60/m": {60, time.Minute}, "1/s": {1, time.Second}, "5/h": {5, time.Hour},
		"": {}, "60": {}, "0/m": {}, "-1/m": {}, "x/m": {}, "6/d": {}, "9999999999/m": {}, "1/m/m": {},
	} {
		if got, err := ParseRate(text); got != want || (err == nil) != (want != Rate{}) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// TestLog: a line a request, whatever stands in it, without query, header or body.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	server := newServer(Settings{Log: &log}, echo, &pipes{})
	ask := func(change func(*http.Request)) (id string) {
		r := httptest.NewRequest("POST", "/v1/x?q=secret", strings.NewReader("secret"))
		r.Host = "localhost:8000"
		change(r)
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		return answer.Header().Get("X-Request-Id")
	}
	id := ask(func(*http.Request) {})
	if len(id) != 16 || !strings.Contains(log.String(), id) {
		t.Errorf("%q: %s", id, log.String())
	}
	if !strings.HasSuffix(log.String(), " size=6\n") {
		t.Errorf("%s", log.String())
	}
	if got := ask(func(r *http.Request) { r.Header.Set("X-Request-Id", "mine-1.2_3") }); got != "mine-1.2_3" {
		t.Errorf("id %q", got)
	}
	for _, id := range []string{"a b", "a\"b", strings.Repeat("a", 65), "é", "a\x1b"} {
		if got := ask(func(r *http.Request) { r.Header["X-Request-Id"] = []string{id} }); got == id {
			t.Errorf("id %q", id)
		}
	}
	ask(func(r *http.Request) {
		r.URL.Path = "/\x1b[2J\r\n\u202ewrong" + strings.Repeat("x", 1000)
		r.Method = "PO\nST"
		r.Header.Set("Authorization", "Bearer secret")
	})
	text := log.String()
	if strings.Count(text, "\n") != 8 || strings.Contains(text, "secret") || len(text) > 3000 {
		t.Errorf("%s", text)
	}
	for _, r := range text {
		if r > '~' || r < ' ' && r != '\n' {
			t.Errorf("%q in %q", r, text)
		}
	}
}

func TestIDOutside(t *testing.T) {
	if ID(t.Context()) != "" {
		t.Error("an id without a server")
	}
	Note(t.Context(), "a", 1)
}
