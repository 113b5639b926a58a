package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llavatrain/llavatrain/synth/chat/chattest"
)

// children are what this test binary does instead of testing when it is started again with the variable set: runs that
// are killed.
var children = map[string]func(args []string){
	"run": runChild,
}

const childVariable = "CHAT_TEST_CHILD"

func TestMain(m *testing.M) {
	if child, ok := children[os.Getenv(childVariable)]; ok {
		child(os.Args[1:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	keyVariable = "CHAT_TEST_KEY"
	secret      = "sk-test-0123456789/abcdefghijkl"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// request is the request of a key.
func request(key string) Request {
	messages, _ := json.Marshal([]map[string]string{
		{"role": "system", "content": strings.Repeat("Always the same. ", 40)}, {"role": "user", "content": key},
	})
	prompt, _ := chattest.Tokens(string(messages), key)
	return Request{Key: key, Messages: messages, PromptTokens: prompt, MaxTokens: 200}
}

// keys are the keys k0, k1, ….
func keys(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint("k", i))
	}
	return list
}

// caller asks for keys, and keeps what became of them.
type caller struct {
	todo    []string
	last    map[string]Answer
	all     map[string][]Answer
	verdict func(Answer) Verdict
}

func ask(keys []string) *caller {
	return &caller{todo: keys, last: map[string]Answer{}, all: map[string][]Answer{},
		verdict: func(Answer) Verdict { return Done }}
}

func (c *caller) next() (Request, bool) {
	if len(c.todo) == 0 {
		return Request{}, false
	}
	key := c.todo[0]
	c.todo = c.todo[1:]
	return request(key), true
}

func (c *caller) done(a Answer) Verdict {
	c.last[a.Key] = a
	c.all[a.Key] = append(c.all[a.Key], a)
	return c.verdict(a)
}

// outcomes counts the last of each key.
func (c *caller) outcomes() map[Outcome]int {
	counts := map[Outcome]int{}
	for _, a := range c.last {
		counts[a.Outcome]++
	}
	return counts
}

// settings are those of a test's endpoint.
func settings(url string) Settings {
	return Settings{URL: url, Model: "test-model", Concurrency: 8, Timeout: 5 * time.Second}
}

func serve(t testing.TB, e *chattest.Endpoint) string {
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return server.URL + "/v1"
}

func open(t testing.TB, folder string, s Settings) *Client {
	t.Helper()
	c, err := Open(folder, s)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// runKeys opens the folder, asks for the keys, and closes it.
func runKeys(t testing.TB, folder string, s Settings, who *caller) (Summary, error) {
	t.Helper()
	c, err := Open(folder, s)
	must(t, err)
	err = c.Run(context.Background(), who.next, who.done)
	summary := c.Summary()
	must(t, c.Close())
	return summary, err
}

// pipes is a network in memory, so that time can be virtual.
type pipes struct {
	connections chan net.Conn
	closed      chan struct{}
	down        func() bool
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.connections:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	if p.down() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	here, there := net.Pipe()
	p.connections <- there
	return here, nil
}

// virtual runs a test in virtual time with the endpoint at the address that it is given. While down says so, no
// connection can be made.
func virtual(t *testing.T, e *chattest.Endpoint, down func() bool, test func(t *testing.T, s Settings)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if down == nil {
			down = func() bool { return false }
		}
		p := &pipes{make(chan net.Conn), make(chan struct{}), down}
		usual := dial
		dial = p.dial
		server := &http.Server{Handler: e}
		go server.Serve(p)
		defer func() {
			dial = usual
			close(p.closed)
			server.Close()
		}()
		test(t, settings("http://localhost/v1"))
	})
}

// script has the nth request of all, from 1, behave as listed; those after the list are answered.
func script(list ...chattest.Behaviour) func(chattest.Call) chattest.Behaviour {
	n := 0
	return func(chattest.Call) chattest.Behaviour {
		if n++; n <= len(list) {
			return list[n-1]
		}
		return chattest.Answer
	}
}

// always behaves alike.
func always(b chattest.Behaviour) func(chattest.Call) chattest.Behaviour {
	return func(chattest.Call) chattest.Behaviour { return b }
}

// readLedger reads the records of a ledger.
func readLedger(t testing.TB, folder string) (list []record) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, LedgerFile))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		r, err := whole([]byte(line))
		must(t, err)
		list = append(list, r)
	}
	return list
}

func wantError(t testing.TB, err, is error, says ...string) {
	t.Helper()
	if !errors.Is(err, is) {
		t.Fatalf("error %v, want one that wraps %v", err, is)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q: %v", text, err)
		}
	}
}
