package browsertest

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/serve/controller"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/pictures"
	"github.com/llavatrain/llavatrain/serve/servetest"
	"github.com/llavatrain/llavatrain/serve/web"
)

// TestWorkerKilled runs the three programs, and ends the worker in mid-answer: the page says so and keeps what had
// come; a new worker answers.
func TestWorkerKilled(t *testing.T) {
	theBrowser(t)
	client := llava.NewClient("", false)
	control := httptest.NewServer(controller.New(controller.Settings{HTTP: client}).Routes())
	t.Cleanup(control.Close)
	at := llava.Peer{HTTP: client, Address: control.URL}
	newWorker := func() *httptest.Server {
		e := servetest.New("toy")
		w := httptest.NewServer((&llava.Worker{Engine: e, Pictures: pictures.NewDecoder()}).Routes())
		if err := at.Register(t.Context(), llava.Registration{Worker: w.URL}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		return w
	}
	worker := newWorker()
	s := &site{}
	s.serve(t, guard.Settings{}, web.New(web.Settings{Source: web.Workers(llava.NewFleet(at, nil)), Mode: web.Reload}))
	p := newPage(t, s.url, s.url+"/")
	p.expect("503")
	p.expect("404")
	p.ask("endless")
	p.wait(`document.querySelector(".answer .text")?.innerText.startsWith("word word")`)
	worker.Listener.Close()
	worker.CloseClientConnections()
	p.answered()
	if alert := p.alert(); !strings.Contains(alert, "worker") || !strings.Contains(alert, "Ask again") {
		t.Errorf("the alert says %q", alert)
	}
	if answer := p.answer(); !strings.HasPrefix(answer, "word word") {
		t.Errorf("the partial answer is %q", answer)
	}
	p.click("button", "Regenerate")
	p.answered()
	if alert := p.alert(); alert == "" {
		t.Error("without a worker, there is no alert")
	}
	newWorker()
	p.click("button", "Reload models")
	p.wait(`document.getElementById("model").value === "toy"`)
	p.click("button", "Clear")
	p.ask("and now?")
	p.answered()
	if answer := p.answer(); answer != "and now?" {
		t.Errorf("the new worker answers %q", answer)
	}
	p.click("button", "Upvote") // of a server without a log
	p.waitText("Kept in this browser only")
}
