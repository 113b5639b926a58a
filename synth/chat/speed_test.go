package chat

import (
	"bytes"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/synth/chat/chattest"
)

// long is how many requests the tests of size make: those of LLaVA's 158K rows with LLAVATRAIN_LONG=1.
func long() int {
	if os.Getenv("LLAVATRAIN_LONG") != "" {
		return 158_000
	}
	return 3000
}

// All requests of LLaVA's instruction data against an endpoint without latency, as a process of its own, whose memory
// must not grow with the answers; then its ledger is opened.
func TestManyRequests(t *testing.T) {
	e, folder, out := &chattest.Endpoint{}, t.TempDir(), &bytes.Buffer{}
	url, n := serve(t, e), long()
	began := time.Now()
	must(t, child(t, folder, url, n, 32, out).Run())
	took := time.Since(began)
	if r := lastLine(t, out); r.Outcomes[Answered] != n {
		t.Fatalf("%+v", r)
	}
	megabytes := peakMemory(t, out.String())
	t.Logf("%d answers in %v, %.0f a second, %d MB resident", n, took.Round(time.Millisecond),
		float64(n)/took.Seconds(), megabytes)
	if megabytes > 200 {
		t.Errorf("%d MB resident", megabytes)
	}
}

// peakMemory is what a child printed of its memory, in megabytes.
func peakMemory(t *testing.T, printed string) int {
	t.Helper()
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(printed)
	if found == nil {
		t.Fatal("no memory was printed")
	}
	kilobytes, err := strconv.Atoi(found[1])
	must(t, err)
	return kilobytes / 1000
}

// printMemory prints the largest size that this process had in memory.
func printMemory() {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmHWM") {
			fmt.Print(line)
		}
	}
}

// A ledger of that many answers, each of 2,500 bytes and some with faults before, opens without reading the bodies.
func TestOpenLargeLedger(t *testing.T) {
	n := long()
	folder := t.TempDir()
	file, err := os.Create(filepath.Join(folder, LedgerFile))
	must(t, err)
	file.Write(encode(record{Record: recordLedger, Version: ledgerVersion}))
	body := []byte(fmt.Sprintf(`{"id":"c","choices":[{"message":{"content":%q},"finish_reason":"stop"}]}`,
		strings.Repeat("A sentence of an answer, as long as it is.\n", 55)))
	var lines bytes.Buffer
	for i := range n {
		claim := record{Record: recordClaim, Key: fmt.Sprintf("%064x", i*7919), Attempt: 1,
			At: int64(1790000000000 + i), Prompt: 1900, Completion: 300}
		lines.Write(encode(claim))
		if i%20 == 0 {
			lines.Write(encode(record{Record: recordFault, Key: claim.Key, Attempt: 1, At: claim.At, Class: "server",
				Paid: "maybe", Status: 500}))
			lines.Write(encode(claim))
		}
		lines.Write(encode(record{Record: recordAnswer, Key: claim.Key, Attempt: 1, At: claim.At, Prompt: 1950,
			Cached: 1700, Completion: 310, Expected: 1900, Status: 200, Finish: "stop", Request: "req_0123456789abcdef",
			MS: 2100, Body: body}))
		if lines.Len() > 1<<20 {
			lines.WriteTo(file)
		}
	}
	lines.WriteTo(file)
	must(t, file.Close())

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began, busy := time.Now(), cpu(t)
	c, err := Open(folder, Settings{})
	must(t, err)
	took, computed := time.Since(began), cpu(t)-busy
	runtime.GC()
	runtime.ReadMemStats(&after)
	s := c.Summary()
	if s.Answers != n || s.Spent.Prompt != int64(1950*n) || s.Faults["server"] != (n+19)/20 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
	perKey := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(n)
	began = time.Now()
	read := 0
	for a, err := range c.Answers() {
		must(t, err)
		read += len(a.Reply.Content)
	}
	t.Logf("a ledger of %d answers and %d MB: opened in %v (%v of processors), %d bytes of memory a key; all "+
		"answers read in %v", n, c.ledger.size/1e6, took.Round(time.Millisecond), computed.Round(time.Millisecond),
		perKey, time.Since(began).Round(time.Millisecond))
	if perKey > 500 || read != n*43*55 {
		t.Errorf("%d bytes of memory a key, %d bytes read", perKey, read)
	}
	must(t, c.Close())
}

// cpu is the time that processors have spent on this process.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// An outage of a real minute: the server is gone, with all connections, and comes back at the same address.
func TestRealOutage(t *testing.T) {
	if os.Getenv("LLAVATRAIN_LONG") == "" {
		t.Skip("takes more than a minute: set LLAVATRAIN_LONG=1")
	}
	e, folder := &chattest.Endpoint{Latency: 20 * time.Millisecond}, t.TempDir()
	server := httptest.NewServer(e)
	address := server.Listener.Addr().String()
	var from, to time.Time
	go func() {
		time.Sleep(3 * time.Second)
		server.Listener.Close() // before from: what is sent later reaches nobody
		from = time.Now()
		server.CloseClientConnections()
		time.Sleep(time.Minute)
		listener, err := net.Listen("tcp", address)
		if err != nil {
			panic(err)
		}
		server = httptest.NewUnstartedServer(e)
		server.Listener.Close()
		server.Listener = listener
		to = time.Now()
		server.Start()
	}()
	s := settings("http://" + address + "/v1")
	s.Say = func(text string) { t.Log(text) }
	n := 3000
	who := ask(keys(n))
	_, err := runKeys(t, folder, s, who)
	must(t, err)
	during := 0
	for _, r := range readLedger(t, folder) {
		if at := time.UnixMilli(r.At); r.Record == recordClaim && at.After(from) && at.Before(to) {
			during++
		}
	}
	t.Logf("%d requests during the outage, done %v after it", during, time.Since(to).Round(time.Second))
	if during > 12 || during == 0 || who.outcomes()[Answered] != n {
		t.Errorf("%d requests during the outage, %v", during, who.outcomes())
	}
	server.Close()
}
