package browsertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// chromium is a running browser and the pipe to it: messages of JSON that end with a NUL.
// https://chromedevtools.github.io/devtools-protocol
type chromium struct {
	command *exec.Cmd
	to      *os.File

	mu      sync.Mutex
	next    int
	waiting map[int]chan message
	pages   map[string]func(method string, params json.RawMessage) // by session
	ended   error
}

// dict is an object of the protocol.
type dict map[string]any

type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// patience is how many ticks a step may take that takes milliseconds, on a machine that is busy with other tests. Ticks
// are counted, and not the time from the beginning, because a machine or a program that was stopped for a while has
// lost nothing.
const patience, tick = 60, time.Second

var shared struct {
	once    sync.Once
	browser *chromium
	profile string
	reason  string // why there is none
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.browser != nil {
		shared.browser.close()
		os.RemoveAll(shared.profile)
	}
	os.Exit(code)
}

// theBrowser is the browser of all tests, which start it with the first of them.
func theBrowser(t *testing.T) *chromium {
	t.Helper()
	shared.once.Do(func() {
		path, err := exec.LookPath("chromium")
		if err != nil {
			shared.reason = "the program chromium is not installed"
			return
		}
		if shared.profile, err = os.MkdirTemp("", "llavatrain-browser-"); err == nil {
			shared.browser, err = startChromium(path, shared.profile)
		}
		if err != nil {
			shared.reason = fmt.Sprintf("chromium does not start: %v", err)
		}
	})
	switch {
	case shared.browser == nil && os.Getenv("CI") == "true":
		t.Fatal(shared.reason)
	case shared.browser == nil:
		t.Skip(shared.reason)
	}
	return shared.browser
}

// TestWithoutBrowser runs a test where there is no browser: it is skipped, but not under continuous integration, where
// nobody would see that.
func TestWithoutBrowser(t *testing.T) {
	for ci, want := range map[string]string{"": "--- SKIP: TestEmbedded", "true": "--- FAIL: TestEmbedded"} {
		test := exec.Command(os.Args[0], "-test.v", "-test.run=^TestEmbedded$")
		test.Env = []string{"PATH=", "CI=" + ci, "TMPDIR=" + t.TempDir()}
		out, err := test.CombinedOutput()
		if !bytes.Contains(out, []byte(want)) || (err != nil) != (ci == "true") {
			t.Errorf("with CI=%s: %v\n%s", ci, err, out)
		}
	}
}

// startChromium starts a browser that can reach nothing but this machine.
func startChromium(path, profile string) (*chromium, error) {
	command := exec.Command(path, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
		"--user-data-dir="+profile, "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-default-apps", "--mute-audio", "--lang=en-US",
		"--disable-background-timer-throttling", "--disable-renderer-backgrounding",
		"--disable-backgrounding-occluded-windows", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
		"--no-proxy-server", "--window-size=1280,800", "about:blank")
	theirs, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	command.ExtraFiles = []*os.File{theirs, theirOut} // descriptors 3 and 4
	if err := command.Start(); err != nil {
		return nil, err
	}
	theirs.Close()
	theirOut.Close()
	c := &chromium{command: command, to: to, waiting: map[int]chan message{},
		pages: map[string]func(string, json.RawMessage){}}
	go c.read(from)
	return c, c.call("", "Target.setDiscoverTargets", dict{"discover": true}, nil)
}

// read hands out the browser's messages until it ends.
func (c *chromium) read(from *os.File) {
	defer from.Close()
	reader := bufio.NewReader(from)
	for {
		line, err := reader.ReadBytes(0)
		if err != nil {
			c.end(fmt.Errorf("the browser has ended: %w", err))
			return
		}
		var m message
		if err := json.Unmarshal(bytes.TrimSuffix(line, []byte{0}), &m); err != nil {
			continue
		}
		c.mu.Lock()
		waiting, heard := c.waiting[m.ID], c.pages[m.SessionID]
		if m.ID != 0 {
			delete(c.waiting, m.ID)
		}
		c.mu.Unlock()
		switch {
		case m.ID != 0 && waiting != nil:
			waiting <- m
		case m.ID == 0 && heard != nil:
			heard(m.Method, m.Params)
		}
	}
}

func (c *chromium) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = err
	for id, waiting := range c.waiting {
		close(waiting)
		delete(c.waiting, id)
	}
}

// call asks the browser, or a page of it by its session, and waits for the result.
func (c *chromium) call(session, method string, params, result any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	answer := make(chan message, 1)
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return c.ended
	}
	c.next++
	m := message{ID: c.next, SessionID: session, Method: method, Params: raw}
	if params == nil {
		m.Params = nil
	}
	c.waiting[m.ID] = answer
	line, _ := json.Marshal(m)
	_, err = c.to.Write(append(line, 0))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	got, ok, err := await(answer)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", method, err)
	case !ok:
		return errors.New("the browser has ended")
	case got.Error != nil:
		return fmt.Errorf("%s: %s", method, got.Error.Message)
	case result != nil:
		return json.Unmarshal(got.Result, result)
	}
	return nil
}

// await is what comes from a channel; ok is false if it was closed.
func await[T any](from <-chan T) (got T, ok bool, err error) {
	for range patience {
		select {
		case got, ok = <-from:
			return got, ok, nil
		case <-time.After(tick):
		}
	}
	return got, false, fmt.Errorf("no answer in %v", patience*tick)
}

func (c *chromium) hear(session string, heard func(string, json.RawMessage)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages[session] = heard
}

func (c *chromium) close() {
	if err := c.call("", "Browser.close", nil, nil); err != nil {
		c.command.Process.Kill()
	}
	c.to.Close()
	c.command.Wait()
}
