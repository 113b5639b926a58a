package browsertest

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHistory(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.addPicture("a.png", picturePNG(8, 8))
	p.ask("the first conversation")
	p.answered()
	p.click("button", "New conversation")
	p.ask("the second conversation")
	p.answered()
	p.reload()
	p.wait(`document.querySelector(".asked").innerText === "the second conversation"`)
	p.click("button", "the first conversation")
	p.wait(`document.querySelector(".asked").innerText === "the first conversation"`)
	p.wait(`document.querySelector(".question img").naturalWidth === 8`)
	p.ask("goes on")
	p.answered()
	if r := s.last(t); r.texts() != "the first conversation|the first conversation|goes on" || r.sizes() != "8x8" {
		t.Errorf("it goes on with %s and pictures %s", r.texts(), r.sizes())
	}

	p.click("button", "Rename the first conversation")
	p.press("SelectAll", 2)
	p.write("shapes")
	p.press("Enter", 0)
	p.wait(`document.querySelector("#history .title").innerText === "shapes"`)
	p.click("button", "Delete shapes")
	p.wait(`document.querySelectorAll("#history li").length === 1`)
	p.wait(`!document.querySelector(".turn")`)
	p.click("button", "Undo")
	p.wait(`document.querySelectorAll("#history li").length === 2`)
	p.wait(`document.querySelectorAll(".turn").length === 2`)
	p.wait(`document.querySelector(".question img").naturalWidth === 8`)
	p.reload()
	p.wait(`document.querySelectorAll(".turn").length === 2`)
	p.wait(`document.querySelector(".question img").naturalWidth === 8`)

	// One that is not shown comes back with its pictures, too.
	p.click("button", "the second conversation")
	p.reload()
	p.click("button", "Delete shapes")
	p.wait(`document.querySelectorAll("#history li").length === 1`)
	p.click("button", "Undo")
	p.wait(`document.querySelectorAll(".turn").length === 2`)
	p.wait(`document.querySelector(".question img").naturalWidth === 8`)
}

// TestReloadInMidAnswer closes the page in mid-answer: what had come is kept.
func TestReloadInMidAnswer(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.ask("endless")
	p.wait(`new Promise((done) => { const r = indexedDB.open("llavatrain"); r.onsuccess = () => {
		const all = r.result.transaction("conversations").objectStore("conversations").getAll();
		all.onsuccess = () => { r.result.close(); done(all.result[0]?.turns[0].answers[0].text.length > 10); };
	}; })`)
	p.reload()
	p.waitText("Not finished")
	if answer := p.answer(); len(answer) < 10 {
		t.Errorf("%q is left", answer)
	}
	p.click("button", "Regenerate")
	p.wait(`document.querySelector(".text").innerText.startsWith("word")`)
	p.press("Escape", 0)
	p.answered()
	if n := s.cancelled(t); n != 2 {
		t.Errorf("%d answers were stopped in the server", n)
	}
}

func TestTwoTabs(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.ask("question of one tab")
	p.answered()
	other := p.tab(s.url + "/")
	other.click("button", "question of one tab")
	other.wait(`document.querySelectorAll(".turn").length === 1`)

	// What one asks, the other shows.
	other.ask("question of the other")
	other.answered()
	p.wait(`document.querySelectorAll(".turn").length === 2 && !document.body.innerText.includes("Not finished")`)

	// Both write at once: neither loses anything, and one goes on in a copy.
	p.ask("endless one")
	p.wait(`[...document.querySelectorAll(".text")].at(-1).innerText.startsWith("word")`)
	other.wait(`document.querySelectorAll(".turn").length === 3`)
	other.ask("meanwhile")
	other.answered()
	p.waitText("It goes on here as a copy")
	p.press("Escape", 0)
	p.answered()
	p.wait(`document.querySelectorAll("#history li").length === 2`)
	p.wait(`[...document.querySelectorAll(".asked")].at(-1).innerText === "endless one"`)
	other.wait(`[...document.querySelectorAll(".asked")].at(-1).innerText === "meanwhile"`)
}

func TestExportImport(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.addPicture("a.png", picturePNG(8, 8))
	p.ask("to be exported")
	p.answered()
	dir := t.TempDir()
	if err := p.browser.call("", "Browser.setDownloadBehavior", dict{"behavior": "allow",
		"browserContextId": p.context, "downloadPath": dir, "eventsEnabled": true}, nil); err != nil {
		t.Fatal(err)
	}
	done := p.downloaded()
	p.click("button", "Export")
	if _, _, err := await(done); err != nil {
		t.Fatalf("the download: %v", err)
	}
	exported := filepath.Join(dir, "llavatrain-conversations.json")

	p.importFile(exported)
	p.waitText("Conversations added: 0.") // they are all here
	fresh := newPage(t, s.url, s.url+"/")
	fresh.importFile(exported)
	fresh.waitText("Conversations added: 1.")
	fresh.click("button", "to be exported")
	fresh.wait(`document.querySelector(".question img").naturalWidth === 8`)
	if answer := fresh.answer(); answer != "to be exported" {
		t.Errorf("the answer is %q", answer)
	}

	for name, content := range map[string]string{
		"bad.json":  `{"kind": "something else"}`,
		"cut.json":  `{"kind": "llavatrain conv`,
		"null.json": `null`,
	} {
		fresh.importFile(file(t, name, []byte(content)))
		fresh.waitText(name + " is not a file that Export has written.")
	}
	odd := `{"kind": "llavatrain conversations", "conversations": [null, 7, {"turns": "x"}, {"turns": [null,
		{"text": 5, "pictures": [{"id": "p"}, null], "answers": [{"text": {}, "state": "<b>"}, null]}],
		"files": {"p": "javascript:alert(1)"}}]}`
	fresh.importFile(file(t, "odd.json", []byte(odd)))
	fresh.waitText("Conversations added: 1.")
	fresh.reload()
	if _, err := os.Stat(exported); err != nil {
		t.Error(err)
	}
}

// importFile answers the dialog of the button Import.
func (p *page) importFile(path string) {
	p.t.Helper()
	p.fileDialog(func() { p.click("button", "Import") }, path)
}
