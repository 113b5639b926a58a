package guard

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// echo answers with the length of the body.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	text, err := ReadBody(r)
	if fault := new(Fault); errors.As(err, &fault) {
		fault.Write(w)
		return
	}
	Note(r.Context(), "size", len(text))
	fmt.Fprint(w, len(text))
})

// start serves until the test ends.
func start(t *testing.T, s Settings, h http.Handler) *Server {
	t.Helper()
	server, err := New(s, h)
	if err != nil {
		t.Fatal(err)
	}
	run(t, server)
	return server
}

func run(t *testing.T, server *Server) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// send writes bytes on a connection and reads the answer.
func send(t *testing.T, address, text string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go io.WriteString(c, text)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func address(s *Server) string { return strings.TrimPrefix(s.URL(), "http://") }

// sentence reads an answer's error.
func sentence(t *testing.T, answer *http.Response) string {
	t.Helper()
	var body struct {
		Error map[string]any
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"message", "type", "param", "code"} {
		if _, ok := body.Error[key]; !ok {
			t.Errorf("the error has no %s", key)
		}
	}
	return body.Error["message"].(string)
}

func TestBodies(t *testing.T) {
	server := start(t, Settings{}, echo)
	post := func(rest string) string {
		return "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + rest
	}
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<20, strings.Repeat("x", 1<<20))
	for _, test := range []struct {
		name, text string
		status     int
		says       string
	}{
		{"body", post("Content-Length: 3\r\n\r\nabc"), 200, ""},
		{"none", post("\r\n"), 200, ""},
		{"largest", post(fmt.Sprintf("Content-Length: %d\r\n\r\n", MaxBody)) + strings.Repeat("x", MaxBody), 200, ""},
		{"one byte more", post(fmt.Sprintf("Content-Length: %d\r\n\r\n", MaxBody+1)), 413, "24 MiB"},
		{"100 MB", post("Content-Length: 100000000\r\n\r\n") + strings.Repeat("x", 100_000_000), 413, "24 MiB"},
		{"100 MB in chunks", post("Transfer-Encoding: chunked\r\n\r\n") + strings.Repeat(chunk, 95) + "0\r\n\r\n", 413,
			"24 MiB"},
		{"two lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"), 400, "-"},
		{"length and chunks", post("Content-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\nabc"), 501, "-"},
		{"odd chunk", post("Transfer-Encoding: chunked\r\n\r\nzz\r\nabc"), 400, "cut off"},
		{"long header", post("X: " + strings.Repeat("x", 80<<10) + "\r\n\r\n"), 431, "-"},
		{"many headers", post(strings.Repeat("X: y\r\n", 20<<10) + "\r\n"), 431, "-"},
		{"no request", "\x00\x01\x02\r\n\r\n", 400, "-"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "-"},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400, "-"},
		{"Host twice", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400, "-"},
		{"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 403, "host"},
		{"bad Host", "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "--allow-host"},
		{"address in the path", "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 403, "--allow-host"},
		{"bad Origin", post("Origin: null\r\nContent-Length: 0\r\n\r\n"), 403, "--allow-origin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := send(t, address(server), test.text)
			if answer.StatusCode != test.status {
				t.Fatalf("status %d, want %d", answer.StatusCode, test.status)
			}
			if test.says != "" && test.says != "-" && !strings.Contains(sentence(t, answer), test.says) {
				t.Errorf("it does not say %q", test.says)
			}
			if again := send(t, address(server), post("Content-Length: 1\r\n\r\na")); again.StatusCode != 200 {
				t.Errorf("the next request has status %d", again.StatusCode)
			}
		})
	}
	if server.bodies.bytes.Load() != 0 {
		t.Errorf("%d bytes are still counted", server.bodies.bytes.Load())
	}
}

// TestManyBodies: bodies that are read at once have a bound together.
func TestManyBodies(t *testing.T) {
	server := start(t, Settings{}, echo)
	server.bodies.bytes.Store(maxBodies - 2)
	text := "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
	answer := send(t, address(server), text)
	if answer.StatusCode != 503 || answer.Header.Get("Retry-After") != "1" {
		t.Errorf("status %d", answer.StatusCode)
	}
	server.bodies.bytes.Store(0)
	if answer := send(t, address(server), text); answer.StatusCode != 200 {
		t.Errorf("status %d", answer.StatusCode)
	}
}

// pipes is a network in memory, so that time can be virtual.
type pipes struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.connections:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8000} }

// virtual runs a test in virtual time against a server of which each dial gives a connection.
func virtual(t *testing.T, s Settings, h http.Handler, test func(t *testing.T, server *Server, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{connections: make(chan net.Conn), closed: make(chan struct{})}
		server := newServer(s, h, p)
		run(t, server)
		test(t, server, func() net.Conn {
			here, there := net.Pipe()
			p.connections <- there
			t.Cleanup(func() { here.Close() })
			return here
		})
	})
}

func TestSlowSender(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       string // first line of the answer; "": the connection is cut
		after      time.Duration
	}{
		{"nothing", "", "", headerTime},
		{"header", "POST / HTTP/1.1\r\nHost: local", "", headerTime},
		{"body", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 Request Timeout",
			bodyTime},
		{"next request", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual(t, Settings{}, echo, func(t *testing.T, server *Server, dial func() net.Conn) {
				c, began := dial(), time.Now()
				go io.WriteString(c, test.text)
				lines := bufio.NewReader(c)
				first, _ := lines.ReadString('\n')
				if took := time.Since(began); strings.TrimSpace(first) != test.want || took != test.after {
					t.Errorf("%q after %v", first, took)
				}
				io.Copy(io.Discard, lines)
				if took := time.Since(began); test.name == "next request" && took != idleTime {
					t.Errorf("the connection is cut after %v", took)
				}
			})
		})
	}
}

// TestLongAnswer: the time for reading a request ends with it.
func TestLongAnswer(t *testing.T) {
	long := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ReadBody(r)
		select {
		case <-time.After(time.Hour):
			io.WriteString(w, "done")
		case <-r.Context().Done():
			t.Error("the request was cancelled")
		}
	})
	virtual(t, Settings{}, long, func(t *testing.T, _ *Server, dial func() net.Conn) {
		c := dial()
		for range 2 {
			go io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if text, _ := io.ReadAll(answer.Body); string(text) != "done" {
				t.Errorf("%q", text)
			}
		}
	})
}

// TestClientGone: a client that goes ends its request.
func TestClientGone(t *testing.T) {
	var gone chan struct{}
	waits := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ReadBody(r)
		<-r.Context().Done()
		close(gone)
	})
	virtual(t, Settings{}, waits, func(t *testing.T, _ *Server, dial func() net.Conn) {
		gone = make(chan struct{})
		c := dial()
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
		synctest.Wait()
		c.Close()
		<-gone
	})
}

// TestSlowReader: a client that takes nothing of an answer is cut off.
func TestSlowReader(t *testing.T) {
	var cut chan time.Duration
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		for {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				cut <- time.Since(began)
				return
			}
			http.NewResponseController(w).Flush()
		}
	})
	virtual(t, Settings{}, endless, func(t *testing.T, _ *Server, dial func() net.Conn) {
		cut = make(chan time.Duration, 1)
		c := dial()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if took := <-cut; took != writeTime {
			t.Errorf("cut after %v", took)
		}
	})
}

func TestDrain(t *testing.T) {
	for _, test := range []struct {
		name  string
		work  time.Duration
		whole bool
	}{{"in time", 20 * time.Second, true}, {"too long", time.Minute, false}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				work := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.WriteString(w, "begin ")
					http.NewResponseController(w).Flush()
					select {
					case <-time.After(test.work):
						io.WriteString(w, "end")
					case <-r.Context().Done():
						panic(http.ErrAbortHandler)
					}
				})
				p := &pipes{connections: make(chan net.Conn), closed: make(chan struct{})}
				told := false
				server := newServer(Settings{Drain: 25 * time.Second, OnDrain: func() { told = true }}, work, p)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- server.Serve(ctx) }()
				here, there := net.Pipe()
				p.connections <- there
				go io.WriteString(here, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
				answer, err := http.ReadResponse(bufio.NewReader(here), nil)
				if err != nil {
					t.Fatal(err)
				}
				cancel()
				synctest.Wait()
				if !server.Draining() || !told {
					t.Error("it does not say that it ends")
				}
				select {
				case <-p.closed:
				default:
					t.Error("it still listens")
				}
				text, err := io.ReadAll(answer.Body)
				if (err == nil) != test.whole || test.whole != (string(text) == "begin end") {
					t.Errorf("%q, %v", text, err)
				}
				if err := <-ended; err != nil {
					t.Error(err)
				}
				here.Close()
			})
		})
	}
}

func TestPanic(t *testing.T) {
	var log bytes.Buffer
	early := true
	server, err := New(Settings{Log: &log}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !early {
			io.WriteString(w, "half")
		}
		panic("secret \x1b[31m")
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.Serve(ctx) }()
	answer := send(t, address(server), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if text := sentence(t, answer); answer.StatusCode != 500 || strings.Contains(text, "secret") {
		t.Errorf("%d: %s", answer.StatusCode, text)
	}
	early = false
	c, _ := net.Dial("tcp", address(server))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if text, _ := io.ReadAll(c); bytes.HasSuffix(text, []byte("0\r\n\r\n")) {
		t.Errorf("half an answer looks whole: %q", text)
	}
	c.Close()
	cancel()
	<-ended
	if text := log.String(); strings.Count(text, "\n") != 2 || strings.Contains(text, "\x1b") ||
		!strings.Contains(text, "guard.TestPanic") {
		t.Errorf("%s", text)
	}
	if server.Refused()[500] != 1 {
		t.Errorf("%v", server.Refused())
	}
}

func TestPages(t *testing.T) {
	server := start(t, Settings{AllowOrigins: []string{"https://ui.example"}}, echo)
	ask := "OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nAccess-Control-Request-Method: POST\r\n" +
		"Access-Control-Request-Headers: authorization, x-stainless-os\r\nOrigin: "
	answer := send(t, address(server), ask+"https://ui.example\r\n\r\n")
	if answer.StatusCode != 204 || answer.Header.Get("Access-Control-Allow-Origin") != "https://ui.example" ||
		answer.Header.Get("Access-Control-Allow-Headers") != "authorization, x-stainless-os" ||
		answer.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d: %v", answer.StatusCode, answer.Header)
	}
	for origin, status := range map[string]int{"https://evil.example": 403, "null": 403} {
		answer := send(t, address(server), ask+origin+"\r\n\r\n")
		if answer.StatusCode != status || answer.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d: %v", origin, answer.StatusCode, answer.Header)
		}
	}
}

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		name     string
		settings Settings
		says     string
	}{
		{"taken", Settings{Port: taken.Addr().(*net.TCPAddr).Port}, "in use"},
		{"other machine's", Settings{Host: "203.0.113.7", Token: token}, "no address of this machine"},
		{"port", Settings{Port: 70_000}, "0 to 65535"},
		{"no token", Settings{Host: "0.0.0.0"}, "needs a token"},
		{"no token for a proxy", Settings{AllowHosts: []string{"a.example"}}, "needs a token"},
		{"bad token", Settings{Token: "a b"}, "one word"},
		{"host", Settings{Token: token, AllowHosts: []string{"http://a"}}, "http://a"},
		{"any host", Settings{Token: token, AllowHosts: []string{"*"}}, "*"},
		{"origin", Settings{AllowOrigins: []string{"a.example"}}, "a.example"},
		{"origin with a path", Settings{AllowOrigins: []string{"https://a.example/"}}, "https://a.example/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, err := New(test.settings, echo)
			if err == nil {
				server.Close()
			}
			if err == nil || !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
		})
	}
	_, err = New(Settings{Host: "no-such-host.invalid", Token: token}, echo)
	if err == nil || !errors.Is(err, failure.ErrInput) || errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
}
