package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/chattest"
)

// answered is a folder whose ledger holds answers to n keys, after some faults.
func answered(t testing.TB, n int) (folder string, text []byte) {
	t.Helper()
	folder = t.TempDir()
	e := &chattest.Endpoint{Script: script(chattest.Answer, chattest.LimitMS, chattest.Lost, chattest.Prompt)}
	_, err := runKeys(t, folder, settings(serve(t, e)), ask(keys(n)))
	must(t, err)
	text, err = os.ReadFile(filepath.Join(folder, LedgerFile))
	must(t, err)
	return folder, text
}

func writeLedger(t testing.TB, text []byte) (folder string) {
	t.Helper()
	folder = t.TempDir()
	must(t, os.WriteFile(filepath.Join(folder, LedgerFile), text, 0o666))
	return folder
}

// A ledger that ends anywhere opens with what is complete, and is written on from there.
func TestTornLine(t *testing.T) {
	_, text := answered(t, 5)
	last := bytes.LastIndexByte(bytes.TrimSpace(text[:len(text)-1]), '\n')
	for end := 0; end <= len(text); end++ {
		if end > 50 && (end < last-20 || end > last+30) && end < len(text)-10 {
			end = min(end+97, len(text)-10)
		}
		folder := writeLedger(t, text[:end])
		complete := bytes.LastIndexByte(text[:end], '\n') + 1
		looked, err := Look(folder, Settings{})
		must(t, err)
		before := looked.Summary()
		must(t, looked.Close())
		c, err := Open(folder, Settings{})
		if err != nil {
			t.Fatalf("%d bytes: %v", end, err)
		}
		if diff := cmp.Diff(before, c.Summary()); diff != "" {
			t.Fatalf("%d bytes: looked at, and opened:\n%s", end, diff)
		}
		must(t, c.write(record{Record: recordClaim, Key: "more"}))
		must(t, c.Close())
		got, err := os.ReadFile(filepath.Join(folder, LedgerFile))
		must(t, err)
		if complete > 0 && !bytes.HasPrefix(got, text[:complete]) {
			t.Fatalf("%d bytes: %s", end, got)
		}
		records := readLedger(t, folder)
		if records[0].Version != ledgerVersion || records[len(records)-1].Key != "more" ||
			len(records) != max(1, bytes.Count(text[:end], []byte("\n")))+1 {
			t.Fatalf("%d bytes: %d records", end, len(records))
		}
	}
}

func TestRefusedLedgers(t *testing.T) {
	_, text := answered(t, 3)
	lines := bytes.SplitAfter(text, []byte("\n"))
	damaged := func(line int, old, new string) []byte {
		all := bytes.Join(lines[:line-1], nil)
		changed := bytes.Replace(lines[line-1], []byte(old), []byte(new), 1)
		if bytes.Equal(changed, lines[line-1]) {
			t.Fatalf("line %d has no %s", line, old)
		}
		return append(append(all, changed...), bytes.Join(lines[line:], nil)...)
	}
	for name, c := range map[string]struct {
		text []byte
		says []string
	}{
		"version":        {damaged(1, `:1}`, `:2}`), []string{"line 1", "version 2", "reads and writes version 1"}},
		"other":          {[]byte(`{"record":"claim"}` + "\n"), []string{"line 1", "not a ledger"}},
		"rows":           {[]byte(`[{"id": 1}]` + "\n"), []string{"line 1", "damaged"}},
		"a second head":  {append(bytes.Clone(text), lines[0]...), []string{"not a ledger"}},
		"half a line":    {damaged(2, `"key"`, ""), []string{"line 2", "damaged", "paid for again"}},
		"no end":         {damaged(2, "}\n", "\n"), []string{"line 2", "does not end"}},
		"a new record":   {damaged(2, `"claim"`, `"clam"`), []string{"line 2", `"clam"`}},
		"tokens below 0": {damaged(2, `"prompt":`, `"prompt":-`), []string{"line 2", "cannot be"}},
		"keys": {append(bytes.Clone(text), `{"record":"batch","keys":["a"],"prompts":[1,2]}`+"\n"...),
			[]string{"cannot be"}},
	} {
		folder := writeLedger(t, c.text)
		_, err := Open(folder, Settings{})
		wantError(t, err, failure.ErrInput, append(c.says, LedgerFile)...)
		if _, again := Look(folder, Settings{}); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: looked at: %v", name, again)
		}
		got, err := os.ReadFile(filepath.Join(folder, LedgerFile))
		if must(t, err); !bytes.Equal(got, c.text) {
			t.Errorf("%s: the file was changed", name)
		}
		release, err := checkpoints.Run{Dir: folder}.Lock()
		must(t, err) // a refused ledger is not kept locked
		release()
	}
}

// A body is read when its answer is asked for. One that is damaged is an error then, which names the place.
func TestDamagedBody(t *testing.T) {
	_, text := answered(t, 3)
	folder := writeLedger(t, bytes.Replace(text, []byte(`"choices":`), []byte(`"choices";`), 1))
	c := open(t, folder, Settings{})
	_, err := c.Find("k0")
	wantError(t, err, failure.ErrInput, LedgerFile, "damaged")
	err = c.Run(t.Context(), ask(keys(3)).next, ask(nil).done)
	wantError(t, err, failure.ErrInput, LedgerFile, "damaged")
	for _, err = range c.Answers() {
	}
	wantError(t, err, failure.ErrInput, LedgerFile, "damaged")
}

func TestFolderIsTakenOnce(t *testing.T) {
	folder := t.TempDir()
	c := open(t, folder, Settings{})
	_, err := Open(folder, Settings{})
	wantError(t, err, checkpoints.ErrBusy, fmt.Sprint("process ", os.Getpid()), folder)
	must(t, c.Close())
	must(t, open(t, folder, Settings{}).Close())
}

// Looking changes nothing, needs no ledger, and is not kept from it by a process at work.
func TestLook(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "none")
	c, err := Look(folder, settings("http://localhost/v1"))
	must(t, err)
	if checkpoints.Exists(folder) || c.Has("k0") || c.Summary().Answers != 0 {
		t.Error("it is there")
	}
	for range c.Answers() {
		t.Error("an answer")
	}
	must(t, c.Close())

	folder, text := answered(t, 5)
	must(t, os.Remove(filepath.Join(folder, ".lock")))
	must(t, os.WriteFile(filepath.Join(folder, LedgerFile), append(text, `{"record":"cl`...), 0o666))
	must(t, os.Chmod(folder, 0o555))
	defer os.Chmod(folder, 0o777)
	c, err = Look(folder, settings("http://localhost/v1"))
	must(t, err)
	if s := c.Summary(); s.Answers != 5 || s.Lost != 0 || !c.Has("k0") || c.Has("k5") {
		t.Errorf("%+v", s)
	}
	if c.Run(context.Background(), ask(keys(1)).next, ask(nil).done) == nil {
		t.Error("it runs")
	}
	if _, err := c.BatchOut(t.TempDir(), ask(keys(6)).next, ask(nil).done); err == nil {
		t.Error("it writes batches")
	}
	if _, err := c.BatchIn("x"); err == nil {
		t.Error("it reads batches")
	}
	must(t, c.Close())
	entries, err := os.ReadDir(folder)
	if must(t, err); len(entries) != 1 {
		t.Errorf("%v", entries)
	}
}

// Answers come from the ledger as they came from the endpoint, singly and all together.
func TestFindAndAnswers(t *testing.T) {
	e, folder := &chattest.Endpoint{}, t.TempDir()
	who := ask(keys(20))
	who.verdict = func(a Answer) Verdict {
		if a.Try == 1 && len(a.Key) == 2 {
			return Again
		}
		return Done
	}
	_, err := runKeys(t, folder, settings(serve(t, e)), who)
	must(t, err)
	c := open(t, folder, Settings{})
	all := map[string][]Answer{}
	for a, err := range c.Answers() {
		must(t, err)
		all[a.Key] = append(all[a.Key], a)
	}
	if len(all) != 20 {
		t.Errorf("answers to %d keys", len(all))
	}
	for key, want := range who.all {
		for i := range want {
			want[i].Recorded, want[i].Took = true, want[i].Took.Truncate(time.Millisecond)
		}
		found, err := c.Find(key)
		must(t, err)
		if diff := cmp.Diff(want, found); diff != "" || cmp.Diff(want, all[key]) != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", key, diff, cmp.Diff(want, all[key]))
		}
	}
	for range c.Answers() {
		break // must not yield after that
	}
	if found, err := c.Find("none"); found != nil || err != nil {
		t.Errorf("%v, %v", found, err)
	}
}

// head reads the same as whole, whatever stands in a record.
func TestHead(t *testing.T) {
	text := rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune(`"\,:{}body`)), rapid.Rune()))
	rapid.Check(t, func(t *rapid.T) {
		r := record{Record: recordAnswer, Key: text.Draw(t, "key"), Served: text.Draw(t, "served"),
			Request: `,"body":` + text.Draw(t, "request"), Message: text.Draw(t, "message"), Prompt: 5}
		body := text.Draw(t, "body")
		bare := record{}
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		line, err := head(encode(r)[:len(encode(r))-1])
		must(err)
		bare, err = whole(encode(r))
		must(err)
		r.Body = asJSON([]byte(body))
		line2, err := head(bytes.TrimSuffix(encode(r), []byte("\n")))
		must(err)
		if cmp.Diff(line, bare) != "" || cmp.Diff(line2, bare) != "" {
			t.Fatalf("%s", encode(r))
		}
		again, err := whole(encode(r))
		must(err)
		if want := strings.ToValidUTF8(body, "\ufffd"); !json.Valid([]byte(body)) && string(again.text()) != want {
			t.Fatalf("body %q, want %q", again.text(), want)
		}
	})
}

// A claim without an outcome is lost, once, also when the key was claimed again.
func TestLostClaims(t *testing.T) {
	_, text := answered(t, 3)
	for _, lost := range []string{
		`{"record":"claim","key":"new","attempt":1,"prompt":100,"completion":50}`,
		`{"record":"claim","key":"k2","attempt":2,"prompt":100,"completion":50}`,
		`{"record":"claim","key":"k1","attempt":2,"prompt":100,"completion":50}
{"record":"claim","key":"k1","attempt":3,"prompt":1,"completion":1}
{"record":"fault","key":"k1","attempt":3,"class":"rate_limit","paid":"no"}`,
	} {
		folder := writeLedger(t, append(bytes.Clone(text), lost+"\n"...))
		before, after := open(t, writeLedger(t, text), Settings{}).Summary(), open(t, folder, Settings{}).Summary()
		if after.Lost != before.Lost+1 || after.MaybePaid.Total() != before.MaybePaid.Total()+150 || after.Flying != 0 {
			t.Errorf("%s: %+v", lost, after)
		}
	}
}

// When the disk has no room left, the answers that are on their way still have theirs.
func TestNoRoomForAnswers(t *testing.T) {
	e, folder := &chattest.Endpoint{Latency: time.Millisecond}, t.TempDir()
	usual := fallocate
	defer func() { fallocate = usual }()
	fallocate = func(int, uint32, int64, int64) error { return unix.ENOSPC }
	c, who := open(t, folder, settings(serve(t, e))), ask(keys(5000))
	c.ledger.room = c.ledger.size + 9*256<<10 + 200_000 // enough for eight requests in flight, for a while
	err := c.Run(t.Context(), who.next, who.done)
	wantError(t, err, failure.ErrStorage, LedgerFile, "no space left")
	if s := c.Summary(); s.Lost+s.Flying != 0 || len(who.last) != len(e.Calls()) || s.Answers != len(e.Calls()) ||
		len(e.Calls()) < 50 || e.Busiest() != 8 {
		t.Errorf("%d calls, %d answers, %+v", len(e.Calls()), len(who.last), s)
	}
	// Other file systems cannot set room aside.
	fallocate = func(int, uint32, int64, int64) error { return unix.EOPNOTSUPP }
	must(t, c.Run(t.Context(), ask(keys(300)).next, ask(nil).done))
}

// The kernel refuses to write beyond a limit, in the middle of a record: nothing of it stays, and what was passed on is
// in the ledger.
func TestFullDisk(t *testing.T) {
	e, folder := &chattest.Endpoint{}, t.TempDir()
	url := serve(t, e)
	out := &bytes.Buffer{}
	command := child(t, folder, url, 500, 8, out)
	command.Env = append(command.Env, "CHAT_TEST_LIMIT="+strconv.Itoa(64<<10))
	must(t, command.Run())
	result := lastLine(t, out)
	if !strings.Contains(result.Err, "file too large") || !strings.Contains(result.Err, "storage") {
		t.Fatalf("%+v", result)
	}
	c := open(t, folder, Settings{})
	s := c.Summary()
	if s.Answers != result.Outcomes[Answered] || s.Answers < 20 || s.Lost > 8 {
		t.Errorf("%+v, passed on: %v", s, result.Outcomes)
	}
	must(t, c.Close())
	before := len(e.Calls())
	who := ask(keys(500))
	_, err := runKeys(t, folder, settings(url), who)
	must(t, err)
	if sent := len(e.Calls()) - before; sent != 500-s.Answers || who.outcomes()[Answered] != 500 {
		t.Errorf("%d sent, %v", sent, who.outcomes())
	}
}

// limitFiles lets this process write no file beyond the size in the variable, if it is set.
func limitFiles() {
	if limit, err := strconv.Atoi(os.Getenv("CHAT_TEST_LIMIT")); err == nil {
		signal.Ignore(syscall.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(limit), Max: uint64(limit)}); err != nil {
			panic(err)
		}
	}
}

// Whatever a ledger holds, it opens or is refused; what opens reads the same when it is opened again.
func FuzzLedger(f *testing.F) {
	_, text := answered(f, 4)
	f.Add(text)
	f.Add(bytes.Replace(text, []byte(`"body":{`), []byte(`"body":[`), 1))
	f.Add(append(bytes.Clone(text), `{"record":"batch","batch":"b","keys":["k1","x"],"prompts":[5,6],"completion":7}
{"record":"answer","key":"x","batch":"b","line":"l","status":200,"finish":"stop","body":{"choices":[]}}
{"record":"fault","key":"k1","class":"batch_expired","paid":"maybe","wait":1e300}
`...))
	f.Fuzz(func(t *testing.T, text []byte) {
		folder := writeLedger(t, text)
		c, err := Open(folder, Settings{})
		if err != nil {
			if !errors.Is(err, failure.ErrInput) {
				t.Fatal(err)
			}
			return
		}
		before, found, damaged := c.Summary(), 0, false
		for _, err := range c.Answers() {
			if damaged = err != nil; !damaged {
				found++
			}
		}
		if found > before.Answers || found < before.Answers && !damaged {
			t.Errorf("%d answers of %d", found, before.Answers)
		}
		c.Run(t.Context(), ask([]string{"k0", "k1", "x"}).next, ask(nil).done)
		must(t, c.Close())
		c = open(t, folder, Settings{})
		if diff := cmp.Diff(before, c.Summary()); diff != "" {
			t.Error(diff)
		}
		must(t, c.Close())
	})
}
