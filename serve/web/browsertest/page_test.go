package browsertest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// page is a tab. Its methods end the test on a fault.
type page struct {
	t       *testing.T
	browser *chromium
	session string
	context string
	origin  string

	mu       sync.Mutex
	console  []string // warnings, errors and uncaught exceptions
	requests []string // addresses
	expected []string // parts of lines of the console that a test provokes

	onFileDialog func(node int)
}

// newPage opens a tab with storage of its own, which is checked at the test's end: nothing in the console, and no
// request to anywhere but origin.
func newPage(t *testing.T, origin, address string) *page {
	t.Helper()
	browser := theBrowser(t)
	var made struct{ BrowserContextID string }
	if err := browser.call("", "Target.createBrowserContext", dict{"disposeOnDetach": true}, &made); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		browser.call("", "Target.disposeBrowserContext", dict{"browserContextId": made.BrowserContextID}, nil)
	})
	return openTab(t, browser, made.BrowserContextID, origin, address)
}

// tab opens another tab that shares this one's storage.
func (p *page) tab(address string) *page {
	p.t.Helper()
	return openTab(p.t, p.browser, p.context, p.origin, address)
}

func openTab(t *testing.T, browser *chromium, context, origin, address string) *page {
	t.Helper()
	p := &page{t: t, browser: browser, context: context, origin: origin}
	var target struct{ TargetID string }
	if err := browser.call("", "Target.createTarget", dict{"url": "about:blank", "browserContextId": context},
		&target); err != nil {
		t.Fatal(err)
	}
	var attached struct{ SessionID string }
	if err := browser.call("", "Target.attachToTarget", dict{"targetId": target.TargetID, "flatten": true},
		&attached); err != nil {
		t.Fatal(err)
	}
	p.session = attached.SessionID
	browser.hear(p.session, p.hear)
	t.Cleanup(p.check)
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "DOM", "Accessibility"} {
		p.call(domain+".enable", nil, nil)
	}
	p.call("Emulation.setFocusEmulationEnabled", dict{"enabled": true}, nil)
	p.size(1280, 800)
	p.goTo(address)
	return p
}

// hear notes what the console says and what is requested.
func (p *page) hear(method string, params json.RawMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch method {
	case "Runtime.consoleAPICalled", "Runtime.exceptionThrown":
		p.console = append(p.console, string(params))
	case "Log.entryAdded":
		text := string(params)
		if strings.Contains(text, `"level":"error"`) || strings.Contains(text, `"level":"warning"`) {
			p.console = append(p.console, string(params))
		}
	case "Page.fileChooserOpened":
		var event struct{ BackendNodeID int }
		if json.Unmarshal(params, &event) == nil && p.onFileDialog != nil {
			p.onFileDialog(event.BackendNodeID)
		}
	case "Network.requestWillBeSent":
		var event struct{ Request struct{ URL string } }
		if json.Unmarshal(params, &event) == nil {
			p.requests = append(p.requests, event.Request.URL)
		}
	}
}

// fileDialog gives files to the dialog that open opens.
func (p *page) fileDialog(open func(), paths ...string) {
	p.t.Helper()
	p.call("Page.setInterceptFileChooserDialog", dict{"enabled": true}, nil)
	opened := make(chan int, 1)
	p.mu.Lock()
	p.onFileDialog = func(node int) {
		select {
		case opened <- node:
		default:
		}
	}
	p.mu.Unlock()
	open()
	node, _, err := await(opened)
	if err != nil {
		p.t.Fatalf("a dialog for files: %v", err)
	}
	p.call("DOM.setFileInputFiles", dict{"files": paths, "backendNodeId": node}, nil)
}

// downloaded is closed when the next download is complete.
func (p *page) downloaded() <-chan struct{} {
	done := make(chan struct{})
	p.browser.hear("", func(method string, params json.RawMessage) {
		if method == "Browser.downloadProgress" && strings.Contains(string(params), `"completed"`) {
			p.browser.hear("", nil)
			close(done)
		}
	})
	return done
}

// expect says that lines with this text may stand in the console.
func (p *page) expect(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, text)
}

func (p *page) check() {
	p.browser.hear(p.session, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
lines:
	for _, line := range p.console {
		for _, text := range p.expected {
			if strings.Contains(line, text) {
				continue lines
			}
		}
		p.t.Errorf("the console says %.1000s", line)
	}
	for _, address := range p.requests {
		scheme, _, _ := strings.Cut(address, ":")
		if !strings.HasPrefix(address, p.origin+"/") && scheme != "blob" && scheme != "data" && scheme != "about" {
			p.t.Errorf("a request left the origin: %.200s", address)
		}
	}
}

func (p *page) call(method string, params, result any) {
	p.t.Helper()
	if params == nil {
		params = struct{}{}
	}
	if err := p.browser.call(p.session, method, params, result); err != nil {
		p.t.Fatal(err)
	}
}

// goTo opens an address, and waits until the page has asked for the models.
func (p *page) goTo(address string) {
	p.t.Helper()
	p.leave("Page.navigate", dict{"url": address})
}

// reload waits first until what is shown is kept.
func (p *page) reload() {
	p.t.Helper()
	p.wait(`(async () => {
		const { load } = await import("./store.js");
		const kept = await load(sessionStorage.getItem("llavatrain.conversation"));
		const shown = (what) => document.querySelectorAll(what).length;
		const answers = (kept?.turns ?? []).flatMap((turn) => turn.answers);
		return shown(".turn") === (kept?.turns.length ?? 0) &&
			shown(".answer [aria-pressed=true]") === answers.filter((answer) => answer.vote).length &&
			shown(".answer[aria-busy=true]") === answers.filter((a) => /waiting|streaming/.test(a.state)).length;
	})()`)
	p.leave("Page.reload", nil)
}

// leave goes on when the new page is ready. It may be some time before the old one is left, which was ready, too.
func (p *page) leave(method string, params any) {
	p.t.Helper()
	p.run(`delete document.body?.dataset.ready`)
	p.call(method, params, nil)
	p.wait(`document.body?.dataset.ready`)
}

// eval evaluates an expression, or a promise of one, into result.
func (p *page) eval(expression string, result any) error {
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := p.browser.call(p.session, "Runtime.evaluate", dict{"expression": expression, "awaitPromise": true,
		"returnByValue": true, "userGesture": true}, &got); err != nil {
		return err
	}
	if fault := got.ExceptionDetails; fault != nil {
		return fmt.Errorf("%.200s: %s %s", expression, fault.Text, fault.Exception.Description)
	}
	if result == nil || got.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(got.Result.Value, result)
}

func (p *page) run(expression string) {
	p.t.Helper()
	if err := p.eval(expression, nil); err != nil {
		p.t.Fatal(err)
	}
}

// text is the value of an expression as a string.
func (p *page) text(expression string) (value string) {
	p.t.Helper()
	if err := p.eval(`(async () => String(await (`+expression+`)))()`, &value); err != nil {
		p.t.Fatal(err)
	}
	return value
}

// wait waits until an expression is true. A page that is being left is asked again.
func (p *page) wait(expression string) {
	p.t.Helper()
	script := fmt.Sprintf(`new Promise((done) => {
		let looks = 3000;
		const look = async () => {
			let found = false;
			try { found = Boolean(await (%s)); } catch {}
			if (found || --looks === 0) done(found);
			else setTimeout(look, 10);
		};
		look();
	})`, expression)
	for range 5 {
		found := false
		if err := p.eval(script, &found); err != nil {
			continue // the page was left meanwhile
		}
		if found {
			return
		}
		break
	}
	p.t.Fatalf("never true: %s\nthe page says: %s", expression, p.text(`document.body?.innerText.slice(0, 2000)`))
}

func (p *page) waitText(text string) {
	p.t.Helper()
	quoted, _ := json.Marshal(text)
	p.wait(fmt.Sprintf(`document.body.innerText.includes(%s)`, quoted))
}

// quote is a string of JavaScript.
func quote(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}
