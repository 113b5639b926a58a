package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/synth/chat/chattest"
)

// mixed has one in so many items meet a fault, the first time that it is asked for.
var mixed = []struct {
	every     int
	behaviour chattest.Behaviour
}{
	{5000, chattest.Huge}, {5000, chattest.LimitAt}, {2500, chattest.Limit}, {2500, chattest.Hang},
	{2500, chattest.Dribble}, {400, chattest.LimitMS}, {400, chattest.LimitS}, {100, chattest.Down},
	{100, chattest.Gateway}, {100, chattest.Busy}, {100, chattest.In200}, {100, chattest.Empty}, {100, chattest.Lost},
	{100, chattest.Half}, {100, chattest.Early}, {100, chattest.Short}, {100, chattest.Long}, {100, chattest.Reset},
	{50, chattest.Slow}, {50, chattest.Refusal}, {50, chattest.Apology}, {50, chattest.Filtered}, {50, chattest.Prompt},
	{50, chattest.Context}, {50, chattest.NoUsage}, {100, chattest.EchoKey}, {200, chattest.Other},
}

func mixedFaults(c chattest.Call) chattest.Behaviour {
	item, _ := strconv.Atoi(strings.TrimPrefix(c.Key, "k"))
	for i, row := range mixed {
		refusal := row.behaviour == chattest.Prompt || row.behaviour == chattest.Context
		if item%row.every == (3*i+11)%row.every && (c.Nth == 1 || refusal) {
			return row.behaviour
		}
	}
	return chattest.Answer
}

// child is this test binary as a run of n keys that can be killed.
func child(t testing.TB, folder, url string, n, concurrency int, out *bytes.Buffer) *exec.Cmd {
	t.Helper()
	command := exec.Command(os.Args[0], folder, url, strconv.Itoa(n), strconv.Itoa(concurrency))
	command.Env = append(os.Environ(), childVariable+"=run", keyVariable+"="+secret)
	command.Stdout, command.Stderr = out, out
	return command
}

// runChild prints a line for each answer, and the summary.
func runChild(args []string) {
	limitFiles()
	n, _ := strconv.Atoi(args[2])
	concurrency, _ := strconv.Atoi(args[3])
	s := settings(args[1])
	s.KeyEnv, s.Concurrency, s.Timeout = keyVariable, concurrency, 2*time.Second
	s.Say = func(text string) { fmt.Println(text) }
	c, err := Open(args[0], s)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	asked, outcomes := 0, map[Outcome]int{}
	err = c.Run(context.Background(), func() (Request, bool) {
		asked++
		return request(fmt.Sprint("k", asked-1)), asked <= n
	}, func(a Answer) Verdict {
		outcomes[a.Outcome]++
		return Done
	})
	printMemory()
	text, _ := json.Marshal(childResult{c.Summary(), outcomes, fmt.Sprint(err)})
	fmt.Printf("\n%s\n", text)
	c.Close()
}

type childResult struct {
	Summary  Summary
	Outcomes map[Outcome]int
	Err      string
}

func lastLine(t testing.TB, out *bytes.Buffer) (r childResult) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return r
}

// All faults at once, and a process that is killed five times: what was answered is not asked for again.
func TestKilledAmongAllFaults(t *testing.T) {
	const kills, concurrency = 5, 32
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	e := &chattest.Endpoint{Script: mixedFaults, Bearer: secret}
	url, folder := serve(t, e), t.TempDir()
	out := &bytes.Buffer{}
	for kill := 1; kill <= kills; kill++ {
		command := child(t, folder, url, n, concurrency, out)
		must(t, command.Start())
		// Killed once it has come somewhere new, at a random moment.
		goal := len(e.Calls()) + n/10 + rand.IntN(n/20)
		for len(e.Calls()) < goal {
			time.Sleep(time.Millisecond)
		}
		must(t, command.Process.Kill())
		command.Wait()
	}
	must(t, child(t, folder, url, n, concurrency, out).Run())
	result := lastLine(t, out)
	if result.Err != "<nil>" || result.Outcomes[Answered]+result.Outcomes[Refused] != n {
		t.Fatalf("%+v", result)
	}
	checkAccount(t, e, folder, result.Summary, kills*concurrency)

	calls := len(e.Calls())
	must(t, child(t, folder, url, n, concurrency, out).Run())
	if again := lastLine(t, out); len(e.Calls()) != calls || fmt.Sprint(again.Outcomes) != fmt.Sprint(result.Outcomes) {
		t.Errorf("a further run sent %d requests: %+v", len(e.Calls())-calls, again)
	}
	checkSecret(t, folder, out.String())
}

// checkAccount compares the ledger with the endpoint's account.
func checkAccount(t *testing.T, e *chattest.Endpoint, folder string, s Summary, mostLost int) {
	t.Helper()
	whole, behaved, paid := map[string]int{}, map[chattest.Behaviour]int{}, map[string]bool{}
	for _, c := range e.Calls() {
		behaved[c.Behaviour]++
		if c.Whole {
			whole[c.Key]++
		}
		paid[c.Key] = paid[c.Key] || c.Prompt > 0
	}
	for _, row := range mixed {
		if behaved[row.behaviour] == 0 && !testing.Short() {
			t.Errorf("no request met %s", row.behaviour)
		}
	}
	twice := 0
	for _, n := range whole {
		twice += max(0, n-1)
	}
	// A machine that is busy with other things may be too slow for the time limit.
	slow := max(0, s.Faults["timeout"]-behaved[chattest.Hang]-behaved[chattest.Dribble]+s.Lost)
	if s.Lost > mostLost || twice > s.Lost+slow {
		t.Errorf("%d answers came twice; %d claims lost, of at most %d; %d too slow", twice, s.Lost, mostLost, slow)
	}
	prompt, completion := e.Paid()
	t.Logf("%d requests for %d contents, %d answers came twice, %d claims lost; the endpoint was paid %d tokens, "+
		"the ledger counts %d, and %d maybe", len(e.Calls()), len(paid), twice, s.Lost, prompt+completion,
		s.Spent.Total(), s.MaybePaid.Total())
	if total := int64(prompt + completion); s.Spent.Total() > total {
		t.Errorf("the ledger counts %d tokens, the endpoint %d", s.Spent.Total(), total)
	}
	checkWaits(t, folder)
	claims := map[string]int{}
	for _, r := range readLedger(t, folder) {
		if r.Record == recordClaim {
			claims[r.Key]++
		}
	}
	for _, c := range e.Calls() {
		if claims[c.Key]--; claims[c.Key] < 0 {
			t.Errorf("%s was sent without a claim", c.Key)
		}
	}
}

// checkWaits reads the ledger, whose order is that of events: no claim comes before the wait of a rate limit is over,
// and none of an item before its own.
func checkWaits(t *testing.T, folder string) {
	t.Helper()
	var all time.Time
	own := map[string]time.Time{}
	for _, r := range readLedger(t, folder) {
		at := time.UnixMilli(r.At)
		switch {
		case r.Record == recordFault && r.Wait != nil:
			until := at.Add(time.Duration(*r.Wait * float64(time.Second))).Add(-time.Millisecond) // At is rounded
			own[r.Key] = until
			if r.Class == "rate_limit" && until.After(all) {
				all = until
			}
		case r.Record == recordClaim && (at.Before(own[r.Key]) || at.Before(all)):
			t.Errorf("%s was sent %v too early", r.Key, max(own[r.Key].Sub(at), all.Sub(at)))
		}
	}
}

// checkSecret searches for the key in all files of a folder, and in what was printed.
func checkSecret(t testing.TB, folder, printed string) {
	t.Helper()
	files := 0
	must(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		for _, form := range []string{secret, strings.ReplaceAll(secret, "/", `\/`)} {
			if bytes.Contains(text, []byte(form)) {
				err = errors.Join(err, fmt.Errorf("%s holds the key", path))
			}
		}
		return err
	}))
	if strings.Contains(printed, secret) || files < 2 {
		t.Errorf("the key was printed, or there are only %d files: %s", files, printed)
	}
}
