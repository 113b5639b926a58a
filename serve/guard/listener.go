package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Limits of connections.
const (
	maxConnections        = 1024
	maxAddressConnections = 64 // of one address; this machine's own has no limit
)

// listen opens the address. Errors are the user's.
func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, failure.Inputf("%s is in use by another program: choose another port with --port", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, failure.Inputf("%s is no address of this machine: use --host 127.0.0.1 for this machine alone, or "+
			"--host 0.0.0.0 for all that reach it", address)
	case err != nil:
		return nil, failure.Input(fmt.Errorf("%s cannot be listened on: %w", address, err))
	}
	return l, nil
}

// limiter closes connections over the limits with a short answer.
type limiter struct {
	net.Listener
	mu   sync.Mutex
	all  int
	each map[netip.Addr]int
}

func newLimiter(l net.Listener) *limiter { return &limiter{Listener: l, each: map[netip.Addr]int{}} }

func (l *limiter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address := client(addressOf(c.RemoteAddr().String()))
		if l.take(address) {
			return &counted{Conn: c, free: sync.OnceFunc(func() { l.give(address) })}, nil
		}
		c.SetWriteDeadline(time.Now().Add(time.Second))
		c.Write([]byte(manyConnections))
		c.Close()
	}
}

const manyConnections = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n" +
	"Connection: close\r\n\r\nToo many connections are open. Close some, or try again later.\n"

func (l *limiter) take(address netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxConnections || l.each[address] >= maxAddressConnections && !address.IsLoopback() {
		return false
	}
	l.all++
	l.each[address]++
	return true
}

func (l *limiter) give(address netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.each[address]--; l.each[address] == 0 {
		delete(l.each, address)
	}
}

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	free func()
}

func (c *counted) Close() error {
	c.free()
	return c.Conn.Close()
}
