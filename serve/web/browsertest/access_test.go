package browsertest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// axe is the script of axe-core that scripts/axe.sh has fetched. It is in the cache and not in the repository.
func axe(t *testing.T) string {
	t.Helper()
	fetch, err := os.ReadFile("../../../scripts/axe.sh")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^version=(\S+)`).FindSubmatch(fetch)
	sum := regexp.MustCompile(`(?m)^script=([0-9a-f]{64})`).FindSubmatch(fetch)
	if version == nil || sum == nil {
		t.Fatal("scripts/axe.sh names no version or no sum")
	}
	cache := os.Getenv("LLAVATRAIN_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		cache = filepath.Join(base, "llavatrain")
	}
	script, err := os.ReadFile(filepath.Join(cache, "axe-"+string(version[1])+".js"))
	if err != nil {
		t.Skip("axe-core is not in the cache: scripts/axe.sh fetches it")
	}
	if got := sha256.Sum256(script); hex.EncodeToString(got[:]) != string(sum[1]) {
		t.Fatal("axe-core in the cache is not what scripts/axe.sh names")
	}
	return string(script)
}

// axeFaults are what axe-core finds by the rules of WCAG 2.2 AA and its own good practices.
func (p *page) axeFaults(script string) (faults []string) {
	p.t.Helper()
	p.run(script + `;true`)
	var found []struct {
		ID, Help string
		Nodes    []struct {
			Target         []any
			FailureSummary string
		}
	}
	if err := p.eval(`axe.run(document, { resultTypes: ["violations"],
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
	}).then((r) => r.violations)`, &found); err != nil {
		p.t.Fatal(err)
	}
	for _, f := range found {
		for _, n := range f.Nodes {
			faults = append(faults, fmt.Sprintf("%s at %v: %s", f.ID, n.Target, n.FailureSummary))
		}
	}
	return faults
}

func TestAxe(t *testing.T) {
	script := axe(t)
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int{1280, 360} {
			t.Run(fmt.Sprint(theme, width), func(t *testing.T) {
				s := newSite(t)
				p := newPage(t, s.url, s.url+"/")
				p.expect("429")
				p.theme(theme)
				p.size(width, 740)
				look := func(state string) {
					t.Helper()
					for _, f := range p.axeFaults(script) {
						t.Errorf("%s: %s", state, f)
					}
				}
				look("empty")
				p.addPicture("a.png", picturePNG(2000, 20))
				look("with a picture")
				p.ask(sample)
				p.wait(`document.querySelector(".text li")`)
				look("in mid-answer")
				p.answered()
				look("answered")
				p.click("button", "Upvote")
				p.wait(`document.querySelector("[aria-label=Upvote]").ariaPressed === "true"`)
				p.click("button", "Compare")
				p.ask("two answers [with](https://a.example/) `code`")
				p.answered()
				look("compared")
				p.ask("refuse")
				p.answered()
				look("refused")
				p.press("ArrowUp", 0)
				p.waitText("Editing a question")
				look("editing")
				p.press("Escape", 0)
				p.click("button", "Clear")
				p.waitText("The conversation is cleared")
				look("cleared")
				if width < 500 {
					p.click("button", "Menu")
					look("menu")
				}
			})
		}
	}
}

// focused describes what has the focus, as a screen reader says it.
func (p *page) focused() string {
	p.t.Helper()
	var object struct{ Result struct{ ObjectID string } }
	p.call("Runtime.evaluate", dict{"expression": "document.activeElement"}, &object)
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name struct{ Value any }
		}
	}
	p.call("Accessibility.getPartialAXTree", dict{"objectId": object.Result.ObjectID, "fetchRelatives": false},
		&tree)
	if len(tree.Nodes) == 0 {
		return ""
	}
	return fmt.Sprintf("%v %v", tree.Nodes[0].Role.Value, tree.Nodes[0].Name.Value)
}

// tabTo presses Tab until something is focused, whose focus must be seen.
func (p *page) tabTo(want string) (passed []string) {
	p.t.Helper()
	for range 60 {
		p.press("Tab", 0)
		now := p.focused()
		passed = append(passed, now)
		seen := p.text(`document.activeElement === document.body || document.activeElement.matches(":focus-visible")`)
		if seen != "true" {
			p.t.Errorf("the focus on %s is not seen", now)
		}
		if now == want {
			return passed
		}
	}
	p.t.Fatalf("Tab never comes to %s, only to %s", want, strings.Join(passed, ", "))
	return nil
}

// TestKeyboard does all by keyboard alone: a question about a picture, votes, copying, settings, conversations.
func TestKeyboard(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	passed := p.tabTo("textbox Message")
	want := []string{"link Skip to the message", "button New conversation", "button Export", "button Import",
		"button Reset", "slider Temperature", "slider Top P", "slider Max output tokens", "textbox Seed",
		"combobox Model", "button Reload models", "button Compare", "button Clear", "button How many shapes are there?",
		"button What is unusual about this picture?", "textbox Message"}
	if strings.Join(passed, ", ") != strings.Join(want, ", ") {
		t.Errorf("the order is %s", strings.Join(passed, ", "))
	}
	p.goTo(s.url + "/")
	p.press("Tab", 0)
	p.press("Enter", 0) // the link to the message
	p.wait(`document.activeElement.id === "message"`)
	p.tabTo("button Add picture")
	p.fileDialog(func() { p.press("Enter", 0) }, file(t, "a.png", picturePNG(9, 9)))
	p.wait(`document.querySelector("#previews img")`)
	p.tabTo("button Send")
	p.run(`document.getElementById("message").focus()`)
	p.write("by keyboard")
	p.tabTo("button Send")
	p.press("Space", 0)
	p.answered()
	p.wait(`document.activeElement.id === "message"`)
	p.tabTo("textbox Message") // once around, through the answer
	p.goBackTo("button Flag")
	p.press("Enter", 0)
	p.wait(`document.querySelector("[aria-label=Flag]").ariaPressed === "true"`)
	if now := p.focused(); now != "button Flag" {
		t.Errorf("after a vote, the focus is on %s", now)
	}
	p.goBackTo("button Copy")
	p.press("Enter", 0)
	p.waitText("Copied.")
	p.goBackTo("slider Temperature")
	p.press("ArrowRight", 0)
	p.tabTo("button Regenerate")
	p.press("Enter", 0)
	p.wait(`document.activeElement.id === "message"`)
	p.answered()
	if r := s.last(t); r.Sampling.Temperature != 0.3 || r.texts() != "by keyboard" || r.sizes() != "9x9" {
		t.Errorf("%+v", r)
	}
	p.goBackTo("button Edit")
	p.press("Enter", 0)
	p.wait(`document.activeElement.id === "message" && document.activeElement.value === "by keyboard"`)
	p.press("Escape", 0)
	p.goBackTo("button Delete by keyboard")
	p.press("Enter", 0)
	p.waitText("The conversation is deleted")
	p.tabTo("button Undo")
	p.press("Enter", 0)
	p.wait(`document.querySelector(".turn")`)

	// On a phone, the menu keeps the focus until it is closed.
	p.size(360, 740)
	p.goBackTo("button Menu")
	p.press("Enter", 0)
	p.wait(`document.activeElement.id === "close-side"`)
	for _, now := range p.tabTo("textbox Seed") {
		if strings.Contains(now, "Message") || strings.Contains(now, "Model") {
			t.Errorf("with the menu open, the focus is on %s", now)
		}
	}
	p.press("Escape", 0)
	p.wait(`document.activeElement.id === "menu"`)
}

// goBackTo presses Shift+Tab until something is focused.
func (p *page) goBackTo(want string) {
	p.t.Helper()
	var passed []string
	for range 60 {
		p.press("Tab", 8)
		passed = append(passed, p.focused())
		if passed[len(passed)-1] == want {
			return
		}
	}
	p.t.Fatalf("Shift+Tab never comes to %s, only to %s", want, strings.Join(passed, ", "))
}

// TestNarrow looks for what is wider than the page, at the width of a phone and at 400 % zoom of 1280 by 1024.
func TestNarrow(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	for _, size := range [][2]int{{360, 740}, {320, 256}} {
		p.size(size[0], size[1])
		wide := func(state string) {
			t.Helper()
			if n := p.text(`document.documentElement.scrollWidth`); n != fmt.Sprint(size[0]) &&
				p.text(`document.documentElement.scrollWidth <= innerWidth`) != "true" {
				t.Errorf("%v, %s: the page is %s wide", size, state, n)
			}
		}
		wide("empty")
		p.addPicture(strings.Repeat("long", 20)+".png", picturePNG(3000, 30))
		wide("with a picture")
		p.ask(sample + "\n\n" + strings.Repeat("x", 500) + "\n\n|" + strings.Repeat("a|", 40) + "\n|" +
			strings.Repeat("-|", 40))
		p.answered()
		wide("answered")
		p.click("button", "Compare")
		p.ask("both")
		p.answered()
		wide("compared")
		p.click("button", "Compare")
		p.click("button", "Clear")
		p.waitText("Ask about a picture")
	}
	// What can be clicked has at least 24 pixels, and nothing that is focused lies below the box.
	p.size(360, 740)
	p.ask("slow a question with actions")
	p.answered()
	var small []string
	if err := p.eval(`[...document.querySelectorAll("button, select, input, a[href]:not(.skip)")].filter((e) => {
		const box = e.getBoundingClientRect();
		return box.width && (box.width < 24 || box.height < 24);
	}).map((e) => e.outerHTML.slice(0, 80))`, &small); err != nil || len(small) > 0 {
		t.Errorf("%v: smaller than 24 pixels: %s", err, small)
	}
}

// TestReducedMotion: nothing moves for whoever wants that.
func TestReducedMotion(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.call("Emulation.setEmulatedMedia", dict{"features": []map[string]string{
		{"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
	p.ask("endless")
	p.wait(`document.querySelector(".answer .text").innerText`)
	if n := p.text(`document.getAnimations().length`); n != "0" {
		t.Errorf("%s animations", n)
	}
	p.press("Escape", 0)
	p.answered()
}

func TestSize(t *testing.T) {
	total := 0
	scripts, err := filepath.Glob("../page/*.js")
	for _, path := range scripts {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		total += int(info.Size())
	}
	if err != nil || len(scripts) == 0 || total > 60_000 {
		t.Errorf("%v: %d bytes of script in %d files; at most 60,000", err, total, len(scripts))
	}
	markup := regexp.MustCompile(
		`innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|eval\(`)
	for _, path := range scripts {
		if text, err := os.ReadFile(path); err != nil || markup.Match(text) {
			t.Errorf("%s reads text as markup: %s", path, markup.Find(text))
		}
	}
}
