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

// patience is for steps that take milliseconds, on a machine that is busy with other tests.
const patience = 60 * time.Second

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
	if shared.browser == nil {
		t.Skip(shared.reason)
	}
	return shared.browser
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
	select {
	case got, ok := <-answer:
		switch {
		case !ok:
			return errors.New("the browser has ended")
		case got.Error != nil:
			return fmt.Errorf("%s: %s", method, got.Error.Message)
		case result != nil:
			return json.Unmarshal(got.Result, result)
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s: no answer in %v", method, patience)
	}
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
