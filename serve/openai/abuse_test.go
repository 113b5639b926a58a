package openai

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"io"
	"net"
	"net/http"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// guarded is a whole server on a port of this machine.
func guarded(t *testing.T, e *servetest.Engine, log io.Writer) string {
	t.Helper()
	_, mux := newAPI(e)
	server, err := guard.New(guard.Settings{Log: log}, mux)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return strings.TrimPrefix(server.URL(), "http://")
}

// exchange sends bytes and reads the answer's status and body; the status is 0 if there is none.
func exchange(t *testing.T, address string, text []byte) (int, []byte) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer c.Close()
	go c.Write(text)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, nil
	}
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, body
}

func posting(body string) []byte {
	return fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// pngOf is a PNG that says it has so many pixels, of which it has as many as it takes to be whole if it is.
func pngOf(t testing.TB, width, height int, whole bool) []byte {
	t.Helper()
	size := image.Rect(0, 0, 1, 1)
	if whole {
		size = image.Rect(0, 0, width, height)
	}
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(size)); err != nil {
		t.Fatal(err)
	}
	text := file.Bytes()
	binary.BigEndian.PutUint32(text[16:], uint32(width))
	binary.BigEndian.PutUint32(text[20:], uint32(height))
	binary.BigEndian.PutUint32(text[29:], crc32.ChecksumIEEE(text[12:29]))
	return text
}

func picturing(files ...[]byte) string {
	var parts []string
	for _, file := range files {
		parts = append(parts, `{"type":"image_url","image_url":{"url":"data:image/png;base64,`+
			base64.StdEncoding.EncodeToString(file)+`"}}`)
	}
	return saying(`[{"role":"user","content":[{"type":"text","text":"secret-question"},` + strings.Join(parts, ",") +
		`]}]`)
}

// memory is how many bytes of memory the process holds, but for what it has given back.
func memory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// TestAbuse: whatever is sent has a status and a sentence, takes bounded memory, and the next request is served.
func TestAbuse(t *testing.T) {
	var log syncBuffer
	e := servetest.New("toy")
	address := guarded(t, e, &log)
	small := pngOf(t, 4, 4, true)
	question := `"messages":[{"role":"user","content":"a"}]}`
	begin := "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
	for _, test := range []struct {
		name   string
		text   []byte
		status int
		says   string
	}{
		{"good", posting(picturing(small)), 200, "secret-question"},
		{"bad JSON", posting(`{"model":`), 400, "not a JSON object"},
		{"no JSON", posting("\x00\xff\xfe"), 400, "not a JSON object"},
		{"empty", posting(""), 400, "not a JSON object"},
		{"deep JSON", posting(strings.Repeat(`{"a":[`, 3_000_000)), 400, "not a JSON object"},
		{"deep content", posting(saying(`[{"role":"user","content":` + strings.Repeat("[", 1_000_000) +
			strings.Repeat("]", 1_000_000) + `}]`)), 400, "not a JSON object"},
		{"many messages", posting(saying("[" + strings.Repeat(`{"role":"user","content":""},`, 500_000) + `{}]`)), 400,
			"10000 messages"},
		{"many numbers", posting(saying("[" + strings.Repeat(`1,`, 10_000_000) + `1]`)), 400, "not a message"},
		{"many parts", posting(saying(`[{"role":"user","content":[` + strings.Repeat(`{},`, 7_000_000) + `{}]}]`)), 400,
			"1000 parts"},
		{"many stops", posting(asking(`"stop":[` + strings.Repeat(`"",`, 7_000_000) + `""]`)), 400, "4 strings"},
		{"many fields", posting("{" + strings.Repeat(`"a":1,`, 3_000_000) + `"b":1}`), 400, "names no model"},
		{"long name", posting(`{"model":"` + strings.Repeat("x", 20<<20) + `",` + question), 404, "is not served"},
		{"control characters", posting(`{"model":"\u001b[2J\r\n\u0000",` + question), 404, "is not served"},
		{"100 MB", append([]byte(begin+"Content-Length: 100000000\r\n\r\n"), make([]byte, 100_000_000)...), 413,
			"24 MiB"},
		{"large number", posting(asking(`"n":1` + strings.Repeat("0", 10<<20))), 400, "whole number"},
		{"bomb", posting(picturing(pngOf(t, 30_000, 30_000, false))), 400, "50 million"},
		{"eight bombs", posting(picturing(slicesOf(8, pngOf(t, 7_000, 7_000, false))...)), 400, "together"},
		{"bomb that is whole", posting(picturing(pngOf(t, 9_000, 9_000, true))), 400, "50 million"},
		{"nine pictures", posting(picturing(slicesOf(9, small)...)), 400, "this one has 9"},
		{"large file", posting(saying(`[{"role":"user","content":[{"type":"image_url",` +
			`"image_url":"data:image/png;base64,` + strings.Repeat("A", 23<<20) + `"}]}]`)), 400, "16 MiB"},
		{"no picture", posting(picturing([]byte("hello"))), 400, "known image format"},
		{"address", posting(saying(`[{"role":"user","content":[{"type":"image_url",` +
			`"image_url":"http://169.254.169.254/latest"}]}]`)), 400, "not fetched"},
		{"bad Host", []byte("POST /v1/chat/completions HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403, "host"},
		{"bad Origin", []byte(begin + "Origin: https://evil.example\r\n\r\n"), 403, "other sites"},
		{"bad path", []byte("GET /v1/%00%1b HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404, "no such path"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := memory()
			status, body := exchange(t, address, test.text)
			if status != test.status || !bytes.Contains(body, []byte(test.says)) || len(body) > 2000 {
				t.Errorf("%d %s", status, body[:min(len(body), 300)])
			}
			if bytes.ContainsAny(body, "\x1b\x00") {
				t.Errorf("%q", body)
			}
			if after := memory(); after > before+300<<20 {
				t.Errorf("memory grew from %d to %d MB", before>>20, after>>20)
			}
			if status, body := exchange(t, address, posting(asking(`"n":1`))); status != 200 {
				t.Errorf("the next request: %d %s", status, body)
			}
		})
	}
	if text := log.String(); strings.ContainsAny(text, "\x1b\x00\r") || strings.Contains(text, "secret-question") {
		t.Errorf("%q", text)
	}
}

func slicesOf(n int, file []byte) (list [][]byte) {
	for range n {
		list = append(list, file)
	}
	return list
}

// TestBombsTogether: many pictures as large as may be, at once, take the memory of a few.
func TestBombsTogether(t *testing.T) {
	address := guarded(t, servetest.New("toy"), nil)
	text := posting(picturing(pngOf(t, 7_000, 7_000, true)))
	before, most := memory(), uint64(0)
	watch, stop := time.NewTicker(5*time.Millisecond), make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-watch.C:
				most = max(most, memory())
			case <-stop:
				return
			}
		}
	}()
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			if status, body := exchange(t, address, text); status != 200 && status != 429 {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	group.Wait()
	close(stop)
	<-watched
	if most > before+1536<<20 {
		t.Errorf("memory grew from %d to %d MB", before>>20, most>>20)
	}
	t.Logf("memory grew from %d to %d MB", before>>20, most>>20)
}

// TestDisconnects: clients that go at any moment leave nothing behind.
func TestDisconnects(t *testing.T) {
	e := servetest.New("toy")
	address := guarded(t, e, nil)
	whole := posting(`{"model":"toy","messages":[{"role":"user","content":"endless"}],"stream":true}`)
	for n := 0; n <= len(whole); n += 7 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.Write(whole[:min(n, len(whole))])
		c.Close()
	}
	for range 50 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.Write(whole)
		io.ReadFull(c, make([]byte, 400))
		c.Close()
	}
	if status, _ := exchange(t, address, posting(asking(`"n":1`))); status != 200 {
		t.Errorf("the next request has status %d", status)
	}
	if err := e.WaitIdle(t.Context()); err != nil || e.Cancelled() < 50 {
		t.Errorf("%v, %d cancelled", err, e.Cancelled())
	}
}

// TestManyClients: every one gets its own answer.
func TestManyClients(t *testing.T) {
	e := servetest.New("toy")
	address := guarded(t, e, nil)
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			body := fmt.Sprintf(`{"model":"toy","messages":[{"role":"user","content":"slow number %d of many"}]}`, i)
			status, answer := exchange(t, address, posting(body))
			if status != 200 || !bytes.Contains(answer, fmt.Appendf(nil, `"content":"number %d of many"`, i)) {
				t.Errorf("%d: %d %s", i, status, answer)
			}
		})
	}
	group.Wait()
	if err := e.WaitIdle(t.Context()); err != nil || e.Cancelled() != 0 {
		t.Errorf("%v, %d cancelled", err, e.Cancelled())
	}
}

// syncBuffer is a buffer that a server writes and a test reads.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
