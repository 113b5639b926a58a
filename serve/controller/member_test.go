package controller_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/serve/controller"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/llava/llavatest"
)

// member runs one with a queue that the test sets.
func member(t *testing.T, n *llavatest.Network) (*controller.Member, *atomic.Int64, *strings.Builder) {
	var queue atomic.Int64
	log := new(strings.Builder)
	m := controller.NewMember(llava.Peer{HTTP: n.Client(), Address: "http://localhost:1"}, "http://localhost:2",
		func() llava.Status {
			return llava.Status{Models: []string{"m"}, Speed: 1, Queue: float64(queue.Load())}
		}, log)
	go m.Run(t.Context())
	return m, &queue, log
}

const (
	registered = `localhost:1/register_worker {"worker_name":"http://localhost:2","check_heart_beat":true,` +
		`"worker_status":{"model_names":["m"],"speed":1,"queue_length":0}}`
	beat0 = `localhost:1/receive_heart_beat {"worker_name":"http://localhost:2","queue_length":0}`
	beat3 = `localhost:1/receive_heart_beat {"worker_name":"http://localhost:2","queue_length":3}`
)

// since is what was called after the first n calls.
func since(t *testing.T, network *llavatest.Network, n int, want ...string) int {
	t.Helper()
	synctest.Wait()
	calls := network.Calls()
	if diff := cmp.Diff(append([]string{}, want...), append([]string{}, calls[n:]...)); diff != "" {
		t.Error(diff)
	}
	return len(calls)
}

func TestMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("")
		m, queue, log := member(t, &w.network)
		n := since(t, &w.network, 0, registered)
		w.want(t, "/list_models", "", `{"models":["m"]}`)
		time.Sleep(16 * time.Second)
		n = since(t, &w.network, n, beat0)
		queue.Store(3)
		m.Changed()
		n = since(t, &w.network, n, beat3)
		time.Sleep(16 * time.Second)
		n = since(t, &w.network, n, beat3)
		w.want(t, "/get_worker_address", `{"model":"m"}`, `{"address":"http://localhost:2"}`)

		fresh := newWorld("") // the controller was started anew
		w.network.Serve("localhost:1", fresh.routes)
		time.Sleep(15 * time.Second)
		n = since(t, &w.network, n, beat3, strings.Replace(registered, `"queue_length":0`, `"queue_length":3`, 1))
		fresh.want(t, "/list_models", "", `{"models":["m"]}`)

		w.network.Serve("localhost:1", nil)
		time.Sleep(15 * time.Second)
		n = since(t, &w.network, n, beat3)
		m.Changed() // does not hurry
		time.Sleep(10 * time.Second)
		n = since(t, &w.network, n, beat3, beat3)
		w.network.Serve("localhost:1", fresh.routes)
		time.Sleep(5 * time.Second)
		since(t, &w.network, n, beat3, beat3) // the second for Changed
		want := "The controller http://localhost:1 does not answer; requests are answered, and it is asked again " +
			"every 5 seconds.\nThe controller http://localhost:1 knows this worker now.\n"
		if diff := cmp.Diff(want, log.String()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestMemberAlone: a worker whose controller does not run yet waits for it.
func TestMemberAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(llavatest.Network)
		member(t, n)
		time.Sleep(11 * time.Second)
		since(t, n, 0, registered, registered, registered)
		w := newWorld("")
		n.Serve("localhost:1", w.routes)
		time.Sleep(5 * time.Second)
		since(t, n, 3, registered)
		w.want(t, "/list_models", "", `{"models":["m"]}`)
	})
}

// TestMemberHangs: a controller that takes the beat and says nothing is given 5 seconds.
func TestMemberHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(llavatest.Network)
		n.Serve("localhost:1", hanging)
		_, _, log := member(t, n)
		time.Sleep(21 * time.Second)
		since(t, n, 0, registered, registered, registered)
		if !strings.Contains(log.String(), "does not answer within 5s") {
			t.Error(log)
		}
	})
}

// TestMemberOfNone: what answers is no controller.
func TestMemberOfNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(llavatest.Network)
		n.Serve("localhost:1", http.NotFoundHandler())
		_, _, log := member(t, n)
		time.Sleep(6 * time.Second)
		since(t, n, 0, registered, registered)
		if !strings.Contains(log.String(), "answers with status 404") {
			t.Error(log)
		}
	})
}
