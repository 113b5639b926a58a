package guard

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// record is what the log says of one request.
type record struct {
	id    string
	mu    sync.Mutex
	notes []string
}

type recordKey struct{}

// ID is the id of the request in whose context ctx is, "" outside of a server.
func ID(ctx context.Context) string {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		return r.id
	}
	return ""
}

// Note adds name=value to the request's line in the log. Values must not be what was asked or answered.
func Note(ctx context.Context, name string, value any) {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notes = append(r.notes, name+"="+plain(fmt.Sprint(value)))
	}
}

// withRecord gives a request its id: that which the client sent if it is a word, or else a new one.
func withRecord(r *http.Request) (*http.Request, *record) {
	id := r.Header.Get("X-Request-Id")
	if len(id) > 64 || id == "" || strings.ContainsFunc(id, notInID) {
		id = strings.ToLower(rand.Text()[:16])
	}
	entry := &record{id: id}
	return r.WithContext(context.WithValue(r.Context(), recordKey{}, entry)), entry
}

func notInID(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// logger writes the lines.
type logger struct {
	mu  sync.Mutex
	out io.Writer // may be nil
}

func (l *logger) line(r *http.Request, entry *record, status int, began time.Time) {
	if l.out == nil {
		return
	}
	entry.mu.Lock()
	notes := strings.Join(entry.notes, " ")
	entry.mu.Unlock()
	// The query is left out: it may hold what was asked.
	l.write(fmt.Sprintf("%s %s %s %s %d %.3fs id=%s %s", began.UTC().Format("2006-01-02T15:04:05.000Z"),
		plain(PeerAddress(r).String()), plain(r.Method), plain(r.URL.Path), status, time.Since(began).Seconds(),
		entry.id, notes))
}

func (l *logger) write(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		io.WriteString(l.out, strings.TrimSpace(line)+"\n")
	}
}

// Write takes a line of net/http's own, which quotes what clients sent.
func (l *logger) Write(line []byte) (int, error) {
	l.write("server: " + plain(strings.TrimSpace(string(line))))
	return len(line), nil
}

// plain is text from outside as it may stand in a line on a terminal: short, and quoted unless it is one plain word.
func plain(text string) string {
	const longest = 200
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	if text == "" || strings.ContainsFunc(text, odd) {
		return strconv.QuoteToASCII(text)
	}
	return text
}
