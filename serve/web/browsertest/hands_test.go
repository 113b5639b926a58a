package browsertest

import "time"

// find returns the elements with a role and an accessible name, as a screen reader sees them; "" is any name.
func (p *page) find(role, name string) []int {
	p.t.Helper()
	var root struct{ Root struct{ BackendNodeID int } }
	p.call("DOM.getDocument", dict{"depth": 0}, &root)
	params := dict{"backendNodeId": root.Root.BackendNodeID, "role": role}
	if name != "" {
		params["accessibleName"] = name
	}
	var found struct {
		Nodes []struct {
			Ignored          bool
			BackendDOMNodeID int
		}
	}
	p.call("Accessibility.queryAXTree", params, &found)
	var ids []int
	for _, node := range found.Nodes {
		if !node.Ignored {
			ids = append(ids, node.BackendDOMNodeID)
		}
	}
	return ids
}

// one is the only element with a role and a name, or the last of several.
func (p *page) one(role, name string) int {
	p.t.Helper()
	ids := p.find(role, name)
	if len(ids) == 0 {
		p.t.Fatalf("no %s %q; the page says: %s", role, name, p.text(`document.body.innerText.slice(0, 2000)`))
	}
	return ids[len(ids)-1]
}

// click clicks in the middle of an element, the last of several, when it is there, lies still and is not covered.
func (p *page) click(role, name string) {
	p.t.Helper()
	for range patience * 20 {
		if ids := p.find(role, name); len(ids) > 0 {
			if x, y, ok := p.reach(ids[len(ids)-1]); ok {
				p.clickAt(x, y)
				return
			}
		}
		time.Sleep(tick / 20)
	}
	p.t.Fatalf("no %s %q to click; the page says: %s", role, name, p.text(`document.body.innerText.slice(0, 2000)`))
}

func (p *page) clickAt(x, y float64) {
	p.t.Helper()
	for _, kind := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		p.call("Input.dispatchMouseEvent", dict{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1},
			nil)
	}
}

// reach scrolls to an element, and is where a click hits it.
func (p *page) reach(id int) (x, y float64, ok bool) {
	var element struct{ Object struct{ ObjectID string } }
	if p.browser.call(p.session, "DOM.resolveNode", dict{"backendNodeId": id}, &element) != nil {
		return 0, 0, false // it was replaced meanwhile
	}
	var got struct {
		Result struct{ Value []float64 }
	}
	err := p.browser.call(p.session, "Runtime.callFunctionOn", dict{"objectId": element.Object.ObjectID,
		"awaitPromise": true, "returnByValue": true, "functionDeclaration": `async function() {
			this.scrollIntoView({ block: "nearest", behavior: "instant" });
			const middle = () => {
				const box = this.getBoundingClientRect();
				return [box.x + box.width / 2, box.y + box.height / 2];
			};
			const before = middle();
			await new Promise((done) => setTimeout(done, 20));
			const [x, y] = middle();
			const still = x === before[0] && y === before[1];
			return still && this.contains(document.elementFromPoint(x, y)) ? [x, y] : [];
		}`}, &got)
	if err != nil || len(got.Result.Value) != 2 {
		return 0, 0, false
	}
	return got.Result.Value[0], got.Result.Value[1], true
}

// keys are those that tests press, with their codes.
var keys = map[string]struct {
	code    int
	text    string
	command string
}{
	"Enter": {13, "\r", ""}, "Escape": {27, "", ""}, "Tab": {9, "", ""}, "ArrowUp": {38, "", ""},
	"ArrowRight": {39, "", ""}, "Space": {32, " ", ""}, "Paste": {86, "", "paste"}, "SelectAll": {65, "", "selectAll"},
}

// press presses a key; modifiers are 1 for Alt, 2 for Control, 8 for Shift.
func (p *page) press(name string, modifiers int) {
	p.t.Helper()
	k := keys[name]
	key := map[string]string{"Space": " ", "Paste": "v", "SelectAll": "a"}[name]
	if key == "" {
		key = name
	}
	down := dict{"type": "keyDown", "key": key, "code": name, "windowsVirtualKeyCode": k.code,
		"modifiers": modifiers}
	if k.text != "" {
		down["text"] = k.text
	}
	if k.command != "" {
		down["commands"] = []string{k.command}
	}
	p.call("Input.dispatchKeyEvent", down, nil)
	p.call("Input.dispatchKeyEvent", dict{"type": "keyUp", "key": key, "code": name,
		"windowsVirtualKeyCode": k.code, "modifiers": modifiers}, nil)
}

// write types into what has the focus.
func (p *page) write(text string) {
	p.t.Helper()
	p.call("Input.insertText", dict{"text": text}, nil)
}

// ask writes a message and sends it.
func (p *page) ask(text string) {
	p.t.Helper()
	p.run(`document.getElementById("message").focus()`)
	p.write(text)
	p.press("Enter", 0)
	p.wait(`document.getElementById("message").value === ""`)
}

// answered waits until no answer is coming.
func (p *page) answered() {
	p.t.Helper()
	p.wait(`document.querySelectorAll(".answer").length && !document.querySelector("[aria-busy=true]")`)
}

// answer is the text of the last answer.
func (p *page) answer() string {
	p.t.Helper()
	return p.text(`[...document.querySelectorAll(".answer .text")].at(-1).innerText`)
}
