package browsertest

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

// click clicks in the middle of an element.
func (p *page) click(role, name string) {
	p.t.Helper()
	var box struct{ Model struct{ Content []float64 } }
	for try := 0; ; try++ {
		node := dict{"backendNodeId": p.one(role, name)}
		err := p.browser.call(p.session, "DOM.scrollIntoViewIfNeeded", node, nil)
		if err == nil {
			err = p.browser.call(p.session, "DOM.getBoxModel", node, &box)
		}
		if err == nil {
			break
		}
		if try == 5 { // before that, the element may just have been replaced
			p.t.Fatalf("%s %q: %v", role, name, err)
		}
	}
	c := box.Model.Content
	x, y := (c[0]+c[4])/2, (c[1]+c[5])/2
	for _, kind := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		p.call("Input.dispatchMouseEvent", dict{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1},
			nil)
	}
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
