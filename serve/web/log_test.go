package web_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/servetest"
	"github.com/llavatrain/llavatrain/serve/web"
)

// logging is a site with a log, in a bubble whose clock starts on 2000-01-01.
func logging(t *testing.T, address bool) (s *web.Site, e *servetest.Engine, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	log, err := web.OpenLog(dir, address, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	e = servetest.New("toy")
	s = web.New(web.Settings{Source: web.Here(e), Log: log})
	return s, e, dir
}

// chat asks a site's engine, and reads n pieces of the answer or, for -1, all.
func chat(t *testing.T, s *web.Site, r serve.Request, n int) error {
	t.Helper()
	e, ok := s.Find("toy")
	if !ok {
		t.Fatal("no model")
	}
	reply, err := e.Submit(r)
	if err != nil {
		return err
	}
	defer reply.Close()
	for ; n != 0 && err == nil; n-- {
		_, err = reply.Next(t.Context())
	}
	return err
}

func read(t *testing.T, dir, day string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, day+"-conv.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// inUTC has dates be those of UTC.
func inUTC(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
}

// TestChatLog has the records of the original's web program: its keys, one line each.
func TestChatLog(t *testing.T) {
	inUTC(t)
	synctest.Test(t, func(t *testing.T) {
		s, e, dir := logging(t, true)
		e.Pace = 1500 * time.Millisecond
		photo := &picture.RGB{W: 4, H: 3, Pix: bytes.Repeat([]byte{200, 100, 50}, 12)}
		question := serve.Request{ID: "chatcmpl-1", Client: "127.0.0.5", Pictures: []*picture.RGB{photo, photo},
			Messages: []serve.Message{{Role: "system", Text: "Be brief."}, {Role: "user", Text: "what?", Pictures: 2},
				{Role: "assistant", Text: "A tree."}, {Role: "user", Text: "slow é <b>"}}}
		if err := chat(t, s, question, -1); err != io.EOF {
			t.Fatal(err)
		}
		sum := md5.Sum(photo.Pix)
		name := hex.EncodeToString(sum[:])
		want := `{"tstamp":946684806,"type":"chat","model":"toy","start":946684800,"finish":946684806,"state":{` +
			`"system":"Be brief.","roles":["USER","ASSISTANT"],"messages":[["USER","<image>\n<image>\nwhat?"],` +
			`["ASSISTANT","A tree."],["USER","slow é <b>"],["ASSISTANT","é <b>"]],"offset":0,"sep":" ",` +
			`"sep2":"</s>"},` +
			fmt.Sprintf(`"images":[%q,%q],"ip":"127.0.0.5","id":"chatcmpl-1"}`, name, name) + "\n"
		if diff := cmp.Diff(want, read(t, dir, "2000-01-01")); diff != "" {
			t.Error(diff)
		}
		path := filepath.Join(dir, "serve_images", "2000-01-01", name+".jpg")
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if img, err := jpeg.Decode(bytes.NewReader(file)); err != nil || img.Bounds().Dx() != 4 {
			t.Error(err)
		}
		for path, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, dir: 0o700,
			filepath.Join(dir, "2000-01-01-conv.json"): 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
		time.Sleep(24 * time.Hour)
		chat(t, s, question, -1)
		if got := read(t, dir, "2000-01-02"); strings.Count(got, "\n") != 1 {
			t.Error(got)
		}
	})
}

// TestStoppedAndFailed: an answer that its reader stopped is kept, one that failed is not.
func TestStoppedAndFailed(t *testing.T) {
	inUTC(t)
	synctest.Test(t, func(t *testing.T) {
		s, e, dir := logging(t, false)
		ask := func(text string, n int) error {
			return chat(t, s, serve.Request{Messages: []serve.Message{{Role: "user", Text: text}}}, n)
		}
		if err := ask("endless", 2); err != nil {
			t.Fatal(err)
		}
		if err := e.WaitIdle(t.Context()); err != nil || e.Cancelled() != 1 {
			t.Error(err, e.Cancelled())
		}
		synctest.Wait()
		got := read(t, dir, "2000-01-01")
		if !strings.Contains(got, `["ASSISTANT","word word "]`) || strings.Contains(got, `"ip"`) ||
			strings.Contains(got, `"images"`) {
			t.Error(got)
		}
		if err := ask("fail", -1); err != servetest.ErrFail {
			t.Error(err)
		}
		if err := ask("refuse", -1); err == nil {
			t.Error("no refusal")
		}
		synctest.Wait()
		if more := read(t, dir, "2000-01-01"); more != got {
			t.Error(more)
		}
	})
}

func TestVotes(t *testing.T) {
	inUTC(t)
	synctest.Test(t, func(t *testing.T) {
		const messages = `"messages": [{"role": "system", "text": "S"}, ` +
			`{"role": "user", "text": "what?", "pictures": 1}, {"role": "assistant", "text": "A <tree>."}]}`
		s, _, dir := logging(t, true)
		for _, kind := range []string{"upvote", "downvote", "flag"} {
			got := ask(s, "POST", "/page/vote", `{"vote": "`+kind+`", "model": "toy", "id": "chatcmpl-1", `+messages)
			if got.Code != 200 || got.Body.String() != `{"kept":true}` {
				t.Errorf("%d, %s", got.Code, got.Body)
			}
		}
		want := `{"tstamp":946684800,"type":"upvote","model":"toy","state":{"system":"S",` +
			`"roles":["USER","ASSISTANT"],"messages":[["USER","<image>\nwhat?"],["ASSISTANT","A <tree>."]],` +
			`"offset":0,"sep":" ","sep2":""},` +
			`"ip":"127.0.0.5","id":"chatcmpl-1"}` + "\n"
		want += strings.Replace(want, "upvote", "downvote", 1) + strings.Replace(want, "upvote", "flag", 1)
		if diff := cmp.Diff(want, read(t, dir, "2000-01-01")); diff != "" {
			t.Error(diff)
		}
		for _, test := range []struct{ body, detail string }{
			{`{`, "The vote cannot be read"},
			{`[]`, "The vote cannot be read"},
			{``, "The vote cannot be read"},
			{`{"vote": "like", "model": "toy", ` + messages, "A vote is one of"},
			{`{"vote": "flag", "model": "", ` + messages, "The model of a vote must have"},
			{`{"vote": "flag", "model": "a\u0000", ` + messages, "The model of a vote must be printable"},
			{`{"vote": "flag", "model": "toy", "id": "` + strings.Repeat("a", 201) + `",` + messages,
				"The id of a vote is too long."},
			{`{"vote": "flag", "model": "toy"}`, "A vote has 1 to 1000 messages."},
			{`{"vote": "flag", "model": "toy", "messages": [{"role": "tool"}]}`, "A message's role is"},
			{`{"vote": "flag", "model": "toy", "messages": [{"role": "user", "pictures": 9}]}`, "A message has 0 to 8"},
		} {
			body, detail := test.body, test.detail
			got := ask(s, "POST", "/page/vote", body)
			if got.Code != 400 || !strings.Contains(got.Body.String(), `"message":"`+detail) {
				t.Errorf("%.100s: %d, %s", body, got.Code, got.Body)
			}
		}
		if got := ask(s, "POST", "/page/vote", `{"vote": "`+strings.Repeat("a", 1<<20)); got.Code != 413 {
			t.Errorf("%d, %s", got.Code, got.Body)
		}
		if got := read(t, dir, "2000-01-01"); got != want {
			t.Error(got)
		}
		silent := web.New(web.Settings{Source: web.Here(servetest.New("toy"))})
		if got := ask(silent, "POST", "/page/vote", `{"vote": "flag", "model": "toy", `+messages); got.Code != 200 ||
			got.Body.String() != `{"kept":false}` {
			t.Errorf("%d, %s", got.Code, got.Body)
		}
	})
}

// TestLogFaults: a log that cannot be written ends no conversation, and says so once.
func TestLogFaults(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	said := new(strings.Builder)
	log, err := web.OpenLog(dir, false, said)
	if err != nil {
		t.Fatal(err)
	}
	e := servetest.New("toy")
	s := web.New(web.Settings{Source: web.Here(e), Log: log})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		q := serve.Request{Messages: []serve.Message{{Role: "user", Text: "a", Pictures: 1}},
			Pictures: []*picture.RGB{{W: 1, H: 1, Pix: make([]byte, 3)}}}
		if err := chat(t, s, q, -1); err != io.EOF {
			t.Error(err)
		}
		if err := chat(t, s, serve.Request{Messages: []serve.Message{{Role: "user", Text: "a"}}}, -1); err != io.EOF {
			t.Error(err)
		}
	}
	if strings.Count(said.String(), "\n") != 1 || !strings.HasPrefix(said.String(), "A conversation is not in the") {
		t.Error(said)
	}
	got := ask(s, "POST", "/page/vote", `{"vote": "flag", "model": "toy", "messages": [{"role": "user", "text": "a"}]}`)
	if got.Code != 507 || strings.Contains(got.Body.String(), dir) {
		t.Errorf("%d, %s", got.Code, got.Body)
	}
	if _, err := web.OpenLog(filepath.Join(dir, "more"), false, said); err == nil {
		t.Error("no error")
	}
}

// TestLogFull: a day's log has a size, after which nothing is kept.
func TestLogFull(t *testing.T) {
	inUTC(t)
	synctest.Test(t, func(t *testing.T) {
		s, _, dir := logging(t, false)
		for path, size := range map[string]int64{"2000-01-01-conv.json": 1 << 30,
			"serve_images/2000-01-02/a.jpg": 4<<30 + 1} {
			path = filepath.Join(dir, path)
			os.MkdirAll(filepath.Dir(path), 0o700)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, size); err != nil { // without blocks on the disk
				t.Skip(err)
			}
		}
		const body = `{"vote": "flag", "model": "toy", "messages": [{"role": "user", "text": "a"}]}`
		if got := ask(s, "POST", "/page/vote", body); got.Code != 507 {
			t.Errorf("%d, %s", got.Code, got.Body)
		}
		time.Sleep(24 * time.Hour)
		if got := ask(s, "POST", "/page/vote", body); got.Code != 200 {
			t.Errorf("%d, %s", got.Code, got.Body)
		}
		q := serve.Request{Messages: []serve.Message{{Role: "user", Text: "a", Pictures: 1}},
			Pictures: []*picture.RGB{{W: 1, H: 1, Pix: make([]byte, 3)}}}
		if err := chat(t, s, q, -1); err != io.EOF {
			t.Error(err)
		}
		if got := read(t, dir, "2000-01-02"); strings.Contains(got, `"chat"`) {
			t.Error(got)
		}
	})
}
