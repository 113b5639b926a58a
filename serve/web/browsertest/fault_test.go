package browsertest

import (
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/web"
)

func (p *page) alert() string {
	p.t.Helper()
	return p.text(`[...document.querySelectorAll("[role=alert]")].map((a) => a.innerText).filter(Boolean).join("|")`)
}

func TestFaults(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.expect("429")
	for _, test := range []struct{ question, kept, alert string }{
		{"refuse", "", "try again"},
		{"fail", "some words", "The engine failed"},
	} {
		p.ask(test.question)
		p.answered()
		if alert := p.alert(); !strings.Contains(alert, test.alert) {
			t.Errorf("%s: the alert says %q", test.question, alert)
		}
		if answer := p.answer(); answer != test.kept {
			t.Errorf("%s: the answer is %q", test.question, answer)
		}
		if len(p.find("button", "Regenerate")) != 1 {
			t.Errorf("%s: no way out", test.question)
		}
		p.click("button", "Clear")
		p.wait(`!document.querySelector(".turn")`)
	}
}

// TestUnanswered asks anew after a fault: the picture of the question that got no answer comes with the next one.
func TestUnanswered(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.expect("429")
	p.addPicture("a.png", picturePNG(8, 8))
	p.ask("refuse")
	p.answered()
	p.ask("and now?")
	p.answered()
	if r := s.last(t); r.texts() != "refuse\nand now?" || len(r.Pictures) != 1 {
		t.Errorf("%s with %d pictures", r.texts(), len(r.Pictures))
	}
}

func TestQueue(t *testing.T) {
	s := newSite(t)
	gate := make(chan struct{})
	s.engines[0].Gate = gate
	p := newPage(t, s.url, s.url+"/")
	p.ask("queue and answer")
	for _, place := range []string{"3", "2", "1"} {
		gate <- struct{}{}
		p.waitText("Number " + place + " in the queue")
	}
	close(gate)
	p.answered()
	if answer := p.answer(); answer != "and answer" {
		t.Errorf("the answer is %q", answer)
	}
}

func TestServerGone(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.expect("ERR_")
	p.ask("endless")
	p.wait(`document.querySelector(".answer .text").innerText.startsWith("word word")`)
	s.server.Close()
	p.answered()
	if alert := p.alert(); !strings.Contains(alert, "connection broke off") {
		t.Errorf("the alert says %q", alert)
	}
	if answer := p.answer(); !strings.HasPrefix(answer, "word word") {
		t.Errorf("the partial answer is %q", answer)
	}
	p.click("button", "Regenerate")
	p.wait(`document.querySelector("[role=log] [role=alert]")?.innerText.includes("does not answer")`)
	p.click("button", "Undo")
	p.wait(`document.querySelector(".answer .text").innerText.startsWith("word word")`)
	p.click("button", "Reload models")
	p.wait(`document.getElementById("models-fault").innerText.includes("does not answer")`)
}

func TestModels(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	s.setModels()
	p.click("button", "Reload models")
	p.waitText("No model is served")
	p.run(`document.getElementById("message").focus()`)
	p.write("hello?")
	p.press("Enter", 0)
	p.waitText("No model is served.")
	if text := p.text(`document.getElementById("message").value`); text != "hello?" {
		t.Errorf("the question is gone, %q is left", text)
	}
	s.setModels("toy-c", "blind")
	p.click("button", "Reload models")
	p.wait(`document.getElementById("model").value === "toy-c"`)
	p.addPicture("a.png", picturePNG(8, 8))
	p.run(`document.getElementById("model").value = "blind"`)
	p.run(`document.getElementById("message").focus()`)
	p.press("Enter", 0)
	p.waitText("blind does not look at pictures")
	p.click("button", "Remove picture")
	p.press("Enter", 0)
	p.answered()
	if r := s.last(t); r.model != "blind" || r.texts() != "hello?" {
		t.Errorf("%s was asked %s", r.model, r.texts())
	}
}

// TestEmbedded is the page inside another: it shows neither title nor terms.
func TestEmbedded(t *testing.T) {
	s, inside := newSite(t), &site{}
	inside.serve(t, guard.Settings{}, web.New(web.Settings{Source: s.list, Mode: web.Reload, Embed: true}))
	for address, want := range map[string]string{s.url: "true,true", inside.url: "false,false"} {
		p := newPage(t, address, address+"/")
		shown := p.text(`["#brand", ".terms"].map((name) => document.querySelector(name).checkVisibility())`)
		if shown != want {
			t.Errorf("title and terms are shown: %s", shown)
		}
	}
}

func TestToken(t *testing.T) {
	const token = "s3cret-s3cret-s3cret-s3cret-s3cret"
	s := newSiteWith(t, guard.Settings{Token: token, TokenAlways: true})
	p := newPage(t, s.url, s.url+"/?model=toy-b#token="+token)
	p.expect("401")
	if address := p.text(`location.href`); address != s.url+"/?model=toy-b" {
		t.Errorf("the address is %s", address)
	}
	p.ask("hello")
	p.answered()
	p.reload()
	p.ask("again")
	p.answered()

	// A tab without the token asks for it.
	other := p.tab(s.url + "/")
	other.expect("401")
	other.waitText("This server asks for a token")
	other.write(token)
	other.press("Enter", 0)
	other.wait(`document.getElementById("model").value === "toy-a"`)
	other.ask("hello")
	other.answered()
}

// TestNothingKept is a browser without storage: the page says so, and works.
func TestNothingKept(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.call("Page.addScriptToEvaluateOnNewDocument", dict{"source": `
		for (const name of ["indexedDB", "localStorage", "sessionStorage"]) {
			Object.defineProperty(window, name, { get() { throw new Error("not here"); } });
		}`}, nil)
	p.goTo(s.url + "/?#token=s3cret")
	p.waitText("This browser keeps no conversations")
	p.addPicture("a.png", picturePNG(8, 8))
	p.ask("first")
	p.answered()
	p.ask("second")
	p.answered()
	if r := s.last(t); r.texts() != "first|first|second" || r.sizes() != "8x8" {
		t.Errorf("%s with pictures %s", r.texts(), r.sizes())
	}
}

// TestNoticesStay lets all long timers of the page run out at once: what it tells is there until the next question.
func TestNoticesStay(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.call("Page.addScriptToEvaluateOnNewDocument", dict{"source": `
		const later = window.setTimeout;
		window.setTimeout = (f, ms, ...rest) => later(f, ms >= 1000 ? 0 : ms, ...rest);`}, nil)
	p.goTo(s.url + "/?#token=s3cret")
	p.importFile(file(t, "bad.json", []byte("null")))
	p.waitText("is not a file that Export has written.")
	p.run(`new Promise((done) => later(done, 300))`)
	if told := p.text(`document.getElementById("told").innerText`); !strings.HasPrefix(told, "bad.json is not") {
		t.Errorf("%q is told", told)
	}
	p.ask("hello")
	p.wait(`document.getElementById("told").innerText === ""`)
	p.answered()
}

// hostile are texts of a model that would do harm as HTML, with what is shown of them.
var hostile = []struct{ name, text, shown string }{
	{"tag", `<img src=x onerror="document.title='bad'"><script>document.title='bad'</script>`,
		`<img src=x onerror="document.title='bad'"><script>document.title='bad'</script>`},
	{"picture", "![look](https://example.com/a.png)", "Picture: look"},
	{"script link", `[a](javascript:document.title='bad') [b](JaVaScRiPt:alert(1)) [c](data:text/html,x)`,
		`[a](javascript:document.title='bad') [b](JaVaScRiPt:alert(1)) [c](data:text/html,x)`},
	{"code", "```html\n<b onclick=alert(1)>\n```", "html\nCopy code\n<b onclick=alert(1)>"},
	{"attribute", `[x](https://a.b/"onmouseover="alert(1))`, "x"},
	{"table", "| <i>a</i> |\n| --- |\n| <svg onload=alert(1)> |", "<i>a</i>\n<svg onload=alert(1)>"},
	{"right to left", "\u202eevil\u202c שלום", "\u202eevil\u202c שלום"},
}

func TestHostile(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	for _, test := range hostile {
		p.ask(test.text)
		p.answered()
		if answer := p.answer(); answer != test.shown {
			t.Errorf("%s is shown as %q, not %q", test.name, answer, test.shown)
		}
	}
	if text := p.text(`document.title`); text != "llavatrain" {
		t.Error("a script ran")
	}
	n := p.text(`document.querySelectorAll(".text :is(img, script, svg, iframe, style, [style], [onclick])").length`)
	if n != "0" {
		t.Errorf("%s elements that answers must not have", n)
	}
	if links := p.text(`[...document.querySelectorAll(".text a")].map((a) => a.protocol + a.rel + a.target)`); links !=
		"https:noopener noreferrer nofollow_blank,https:noopener noreferrer nofollow_blank" {
		t.Errorf("the links are %s", links)
	}
	if text := p.text(`[...document.querySelectorAll(".text p")].at(-1).dir`); text != "auto" {
		t.Errorf("a paragraph's direction is %q", text)
	}
}

// TestLongLine asks for an answer of one line of a megabyte, and whether the page still answers.
func TestLongLine(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	for _, unit := range []string{"a", "*a_", "[a](", "`", "_a*b", "\\", "**a", "<b>"} {
		p.ask(megabyte + unit)
		p.answered()
		if n := p.text(`document.querySelector(".answer .text").textContent.length`); len(n) < 6 {
			t.Errorf("%q: the answer has %s characters", unit, n)
		}
		if text := p.text(`document.documentElement.scrollWidth <= innerWidth`); text != "true" {
			t.Errorf("%q: the page scrolls sideways", unit)
		}
		p.run(`document.getElementById("clear").click()`) // the tree for screen readers takes its time
		p.wait(`!document.querySelector(".turn")`)
	}
}
