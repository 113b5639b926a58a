package torch_test

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// long is for what ends by itself: a test that waits this long has failed.
const long = 30 * time.Second

func serve(t *testing.T) *torch.Store {
	t.Helper()
	s, err := torch.ServeStore(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, port int) *torch.Store {
	t.Helper()
	s, err := torch.ConnectStore("127.0.0.1", port, long)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// ofPeers wants an error that other processes may have caused.
func ofPeers(t *testing.T, err error, words string) {
	t.Helper()
	var e *torch.Error
	if !errors.As(err, &e) || !e.Peers || !strings.Contains(err.Error(), words) {
		t.Errorf("%v, want an engine's error of peers with %q", err, words)
	}
}

func TestStoreIsOneTableForAllConnections(t *testing.T) {
	a := serve(t)
	b := connect(t, a.Port())
	for _, value := range []string{"x", "", "zero\x00byte", strings.Repeat("long", 1<<16)} {
		if err := a.Set("key", value); err != nil {
			t.Fatal(err)
		}
		if got, there, err := b.Look("key"); got != value || !there || err != nil {
			t.Errorf("%d bytes, %v, %v, want %d bytes", len(got), there, err, len(value))
		}
	}
	if got, there, err := b.Look("other"); got != "" || there || err != nil {
		t.Errorf("a key without a value has %q, %v, %v", got, there, err)
	}
	first, err := a.CompareSet("claim", "", "a's")
	second, err2 := b.CompareSet("claim", "", "b's")
	third, err3 := b.CompareSet("claim", "a's", "b's")
	if err := errors.Join(err, err2, err3); err != nil || first != "a's" || second != "a's" || third != "b's" {
		t.Errorf("claimed %q, then %q, then %q; %v", first, second, third, err)
	}
	one, err := a.Add("count", 2)
	two, err2 := b.Add("count", -5)
	if err := errors.Join(err, err2); err != nil || one != 2 || two != -3 {
		t.Errorf("sums %d, %d; %v", one, two, err)
	}
	was, err := b.Delete("key")
	again, err2 := a.Delete("key")
	if _, there, _ := a.Look("key"); !was || again || there || errors.Join(err, err2) != nil {
		t.Errorf("deleted %v, again %v, still there %v; %v", was, again, there, errors.Join(err, err2))
	}
}

func TestPrefixesKeepKeysApart(t *testing.T) {
	s := serve(t)
	in := s.Prefixed("first/").Prefixed("second/")
	if err := in.Set("key", "x"); err != nil {
		t.Fatal(err)
	}
	if _, there, _ := s.Look("key"); there {
		t.Error("a key with a prefix is seen without it")
	}
	other, err := in.Another(long)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for name, s := range map[string]*torch.Store{"first/second/key": s, "key": other} {
		if got, _, err := s.Look(name); got != "x" || err != nil {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
}

func TestWaitEndsWithTheValueOrInTime(t *testing.T) {
	s := serve(t)
	waiting := connect(t, s.Port())
	for _, within := range []time.Duration{0, 300 * time.Millisecond} {
		if value, there, err := waiting.Wait("never", within); value != "" || there || err != nil {
			t.Errorf("within %v: %q, %v, %v", within, value, there, err)
		}
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = s.Set("soon", "x") })
	if value, there, err := waiting.Wait("soon", long); value != "x" || !there || err != nil {
		t.Errorf("%q, %v, %v", value, there, err)
	}
}

// What is no store, or is one no more, is an error within the time, and no later call waits again.
func TestStoreThatIsNotThereIsAnError(t *testing.T) {
	s := serve(t)
	_, err := torch.ServeStore(s.Port())
	ofPeers(t, err, "EADDRINUSE")
	_, err = torch.ConnectStore("no-such-host.invalid", s.Port(), 0)
	ofPeers(t, err, "no-such-host.invalid")

	gone := serve(t)
	client := connect(t, gone.Port())
	gone.Close()
	ofPeers(t, gone.Set("key", "x"), "closed")
	_, _, err = client.Look("key")
	if err == nil {
		_, _, err = client.Look("key")
	}
	ofPeers(t, err, "store: look")
	_, err = torch.ConnectStore("127.0.0.1", gone.Port(), 0)
	ofPeers(t, err, "store")
}

// frozen forwards connections to a port until it is told to freeze, as a host that is stopped does: they stay open, and
// nothing answers.
func frozen(t *testing.T, port int) (between int, freeze func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var stopped atomic.Bool
	forward := func(to io.Writer, from io.Reader) {
		buffer := make([]byte, 4096)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			if !stopped.Load() {
				_, _ = to.Write(buffer[:n])
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err != nil {
				return
			}
			go forward(server, client)
			go forward(client, server)
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port, func() { stopped.Store(true) }
}

func TestStoreThatDoesNotAnswerIsAnError(t *testing.T) {
	torch.SetStorePatience(t, time.Second)
	between, freeze := frozen(t, serve(t).Port())
	s := connect(t, between)
	if err := s.Set("key", "x"); err != nil {
		t.Fatal(err)
	}
	freeze()
	for _, call := range []func() error{
		func() error { _, _, err := s.Wait("other", 100*time.Millisecond); return err },
		func() error { return s.Set("key", "y") },
		func() error { _, err := s.Add("count", 1); return err },
	} {
		began := time.Now()
		ofPeers(t, call(), "has not answered for")
		if took := time.Since(began); took > long {
			t.Errorf("after %v", took)
		}
	}
	_, err := torch.ConnectStore("127.0.0.1", between, 0)
	ofPeers(t, err, "has not answered for")
}
