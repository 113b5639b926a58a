package browsertest

import (
	"fmt"
	"strings"
	"testing"
)

func TestStream(t *testing.T) {
	s := newSite(t)
	gate := make(chan struct{})
	s.engines[0].Gate = gate
	p := newPage(t, s.url, s.url+"/")
	if text := p.text(`document.documentElement.lang`); text != "en" {
		t.Errorf("the page's language is %q", text)
	}
	p.ask("one two three four")
	gate <- struct{}{}
	gate <- struct{}{}
	p.wait(`document.querySelector(".answer .text").innerText.trim() === "one two"`)
	if busy := p.text(`document.querySelector("[role=log]").getAttribute("aria-busy")`); busy != "true" {
		t.Errorf("the log's aria-busy is %s in mid-answer", busy)
	}
	if len(p.find("button", "Send")) != 0 || len(p.find("button", "Stop")) != 1 {
		t.Error("in mid-answer, there is no Stop in the place of Send")
	}
	close(gate)
	p.answered()
	if answer := p.answer(); answer != "one two three four" {
		t.Errorf("the answer is %q", answer)
	}
	for _, text := range []string{"s to the first token", "tokens/s", "prompt tokens", "answer tokens"} {
		p.waitText(text)
	}
	if len(p.find("log", "Conversation")) != 1 || len(p.find("button", "Send")) != 1 {
		t.Error("no log named Conversation, or no Send")
	}
	p.ask("and again")
	p.answered()
	r := s.last(t)
	if r.texts() != "one two three four|one two three four|and again" {
		t.Errorf("the second request has %s", r.texts())
	}
	if p := r.Sampling; p.Temperature != 0.2 || p.TopP != 0.7 || p.MaxTokens != 512 || p.Seed != nil ||
		r.model != "toy-a" {
		t.Errorf("the request to %s has %+v", r.model, p)
	}
}

func TestStop(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	for name, stop := range map[string]func(){
		"button": func() { p.click("button", "Stop") },
		"escape": func() { p.press("Escape", 0) },
	} {
		p.ask("endless " + name)
		p.wait(`[...document.querySelectorAll(".answer .text")].at(-1).innerText.startsWith("word word")`)
		stop()
		p.answered()
		p.waitText("Stopped")
		if answer := p.answer(); !strings.HasPrefix(answer, "word word") {
			t.Errorf("%s: the partial answer is %q", name, answer)
		}
	}
	if n := s.cancelled(t); n != 2 {
		t.Errorf("%d answers were stopped in the server", n)
	}
	p.ask("after")
	p.answered()
	if r := s.last(t); len(r.Messages) != 5 || !strings.HasPrefix(r.Messages[1].Text, "word word") {
		t.Errorf("the partial answer is not part of the conversation: %s", r.texts())
	}
}

func TestRegenerateEditClear(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.ask("first")
	p.answered()
	p.ask("second")
	p.answered()
	p.click("button", "Regenerate")
	p.answered()
	if r := s.last(t); r.texts() != "first|first|second" || len(s.requests()) != 3 {
		t.Errorf("regenerating asked %s", r.texts())
	}

	// What is shown stays in its place, with the focus, when something is added.
	p.run(`window.first = document.querySelector(".turn"); window.moved = 0;
		new MutationObserver(() => window.moved++).observe(document.querySelector("[role=log]"), { childList: true });
		document.querySelector(".turn:last-child [aria-label=Upvote]").focus()`)
	p.press("Enter", 0)
	p.wait(`document.activeElement.ariaPressed === "true"`)
	if n := p.text(`window.first === document.querySelector(".turn") && window.moved`); n != "0" {
		t.Errorf("a vote moved %s elements", n)
	}

	// The first question is edited: what came after it is gone, and Undo brings it back.
	p.run(`document.querySelectorAll("[aria-label=Edit]")[0].click()`)
	p.waitText("Editing a question")
	p.wait(`document.getElementById("message").value === "first"`)
	p.write(" of all")
	p.press("Enter", 0)
	p.answered()
	p.wait(`document.querySelectorAll(".turn").length === 1`)
	if answer := p.answer(); answer != "first of all" || s.last(t).texts() != answer {
		t.Errorf("the edited question is answered %q", answer)
	}
	p.click("button", "Undo")
	p.wait(`document.querySelectorAll(".turn").length === 2`)

	// The up arrow in an empty box edits the last question; Escape leaves it alone.
	p.press("ArrowUp", 0)
	p.wait(`document.getElementById("message").value === "second"`)
	p.press("Escape", 0)
	p.wait(`document.getElementById("message").value === "" && document.getElementById("editing").hidden`)

	p.click("button", "Clear")
	p.wait(`!document.querySelector(".turn")`)
	p.waitText("Ask about a picture")
	p.click("button", "Undo")
	p.wait(`document.querySelectorAll(".turn").length === 2 && document.querySelector("#history li")`)
	p.reload()
	p.wait(`document.querySelectorAll(".turn").length === 2`)
}

func TestKeys(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.run(`document.getElementById("message").focus()`)
	p.press("Enter", 0) // nothing to send
	p.write("  ")
	p.press("Enter", 0)
	p.run(`document.getElementById("message").value = ""`)
	p.write("a")
	p.press("Enter", 8)
	p.write("b")
	if text := p.text(`document.getElementById("message").value`); text != "a\nb" {
		t.Errorf("Shift+Enter made %q", text)
	}
	p.press("Enter", 0)
	p.answered()
	if text := s.last(t).texts(); text != "a\nb" || len(s.requests()) != 1 {
		t.Errorf("%q was sent, in %d requests", text, len(s.requests()))
	}

	// While a word is being composed, Enter ends the word and sends nothing.
	p.call("Input.imeSetComposition", dict{"text": "に", "selectionStart": 1, "selectionEnd": 1}, nil)
	p.call("Input.dispatchKeyEvent", dict{"type": "rawKeyDown", "key": "Process", "windowsVirtualKeyCode": 229},
		nil)
	p.run(`document.getElementById("message").dispatchEvent(new KeyboardEvent("keydown",
		{ key: "Enter", isComposing: true, bubbles: true, cancelable: true }))`)
	p.write("日本")
	if text := p.text(`document.getElementById("message").value`); text != "日本" || len(s.requests()) != 1 {
		t.Errorf("composing left %q and %d requests", text, len(s.requests()))
	}
	p.press("Enter", 0)
	p.answered()
	if text := s.last(t).texts(); text != "a\nb|a\nb|日本" {
		t.Errorf("%q was sent", text)
	}
}

func TestSettings(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/?model=toy-b")
	if len(p.find("combobox", "Model")) != 1 {
		t.Error("no combobox named Model")
	}
	for name, want := range map[string]string{"Temperature": "0 1 0.1 0.2", "Top P": "0 1 0.1 0.7",
		"Max output tokens": "0 1024 64 512"} {
		id := p.one("slider", name)
		var object struct{ Object struct{ ObjectID string } }
		p.call("DOM.resolveNode", dict{"backendNodeId": id}, &object)
		var got struct{ Result struct{ Value string } }
		p.call("Runtime.callFunctionOn", dict{"objectId": object.Object.ObjectID, "returnByValue": true,
			"functionDeclaration": `function() { return [this.min, this.max, this.step, this.value].join(" "); }`},
			&got)
		if got.Result.Value != want {
			t.Errorf("%s has %s, not %s", name, got.Result.Value, want)
		}
		p.call("DOM.focus", dict{"backendNodeId": id}, nil)
		p.press("ArrowRight", 0)
	}
	p.run(`document.getElementById("seed").focus()`)
	p.write("-42")
	p.ask("hello")
	p.answered()
	r := s.last(t)
	if p := r.Sampling; p.Temperature != 0.3 || p.TopP != 0.8 || p.MaxTokens != 576 || p.Seed == nil ||
		*p.Seed != -42 || r.model != "toy-b" {
		t.Errorf("the request to %s has %+v", r.model, p)
	}
	p.reload()
	if text := p.text(`document.getElementById("temperature").value`); text != "0.3" {
		t.Errorf("after a reload, the temperature is %s", text)
	}
	p.run(`for (const [id, value] of [["seed", "x"], ["temperature", 0], ["top_p", 0], ["max_tokens", 0]]) {
		const input = document.getElementById(id);
		input.value = value;
		input.dispatchEvent(new Event("input"));
	}`)
	p.waitText("as many as fit")
	p.ask("nothing at all")
	p.answered()
	if p := s.last(t).Sampling; p.Temperature != 0 || p.TopP <= 0 || p.TopP > 0.001 || p.MaxTokens != 0 ||
		p.Seed != nil {
		t.Errorf("the request has %+v", p)
	}
	p.click("button", "Reset")
	if text := p.text(`document.getElementById("max_tokens").value`); text != "512" {
		t.Errorf("reset leaves %s tokens", text)
	}
}

func TestVotes(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.addPicture("a.png", picturePNG(8, 8))
	p.ask("what is this?")
	p.answered()
	for _, name := range []string{"Upvote", "Downvote", "Flag", "Copy", "Regenerate"} {
		if len(p.find("button", name)) != 1 {
			t.Errorf("no button %s", name)
		}
	}
	p.click("button", "Downvote")
	p.wait(`document.querySelector("[aria-label=Downvote]").ariaPressed === "true"`)
	p.click("button", "Upvote") // one is enough
	p.reload()
	if text := p.text(`document.querySelector("[aria-label=Downvote]").ariaPressed`); text != "true" {
		t.Error("after a reload, the vote is forgotten")
	}
	votes := s.votes(t)
	if len(votes) != 1 || votes[0].Type != "downvote" || votes[0].Model != "toy-a" {
		t.Fatalf("the log has %+v", votes)
	}
	text := fmt.Sprint(votes[0].State.Messages)
	if text != "[[USER <image>\nwhat is this?] [ASSISTANT what is this?]]" {
		t.Errorf("the log's conversation is %s", text)
	}
}

func TestCopy(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.grantClipboard()
	const text = "*so*:\n```go\na := 1\n\nb()\n```"
	p.ask(text)
	p.answered()
	for name, want := range map[string]string{"Copy": text, "Copy code": "a := 1\n\nb()"} {
		p.click("button", name)
		p.waitText("Copied.")
		if got := p.text(`navigator.clipboard.readText()`); got != want {
			t.Errorf("%s copied %q", name, got)
		}
	}
}

func TestCompare(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.ask("before")
	p.answered()
	p.click("button", "Compare")
	p.ask("both of you")
	p.answered()
	if text := p.text(`[...document.querySelectorAll(".turn:last-child .model")].map((m) => m.innerText)`); text !=
		"toy-a,toy-b" {
		t.Errorf("the answers are of %s", text)
	}
	if n := len(s.requests()); n != 3 {
		t.Errorf("%d requests", n)
	}
	p.ask("slow and once more, side by side")
	p.answered()
	p.click("button", "Regenerate")
	p.answered()
	if n := len(s.requests()); n != 7 || len(p.find("button", "Upvote")) != 2 {
		t.Errorf("%d requests, %d buttons", n, len(p.find("button", "Upvote")))
	}
	p.click("button", "Compare")
	p.ask("alone")
	p.answered()
	if r := s.last(t); r.model != "toy-a" || len(r.Messages) != 7 {
		t.Errorf("%s was asked %s", r.model, r.texts())
	}
}
