package browsertest

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
)

const sample = "slow The picture shows **four shapes** on a light ground:\n\n" +
	"1. a red circle, top left\n2. a blue square, top right\n3. a yellow triangle, bottom left\n4. a green star\n\n" +
	"```python\nfor shape in shapes:\n    print(shape.name, shape.color)\n```\n\n" +
	"| shape | colour |\n| --- | --- |\n| circle | red |\n| square | blue |\n\nEach stands in its own quarter."

// TestLook takes pictures of the page in many states; a person looks at them.
func TestLook(t *testing.T) {
	if os.Getenv("SCREENSHOTS") == "" {
		t.Skip("SCREENSHOTS names no folder")
	}
	for _, theme := range []string{"light", "dark"} {
		for _, size := range []struct {
			name          string
			width, height int
		}{{"wide", 1280, 800}, {"phone", 360, 740}} {
			t.Run(theme+"-"+size.name, func(t *testing.T) {
				s := newSite(t)
				p := newPage(t, s.url, s.url+"/")
				p.expect("429")
				p.size(size.width, size.height)
				p.theme(theme)
				shot := func(name string) { p.screenshot(theme + "-" + size.name + "-" + name) }
				shot("1-empty")
				p.click("button", "How many shapes are there?")
				p.wait(`document.querySelector("#previews img")`)
				p.write(" And where?")
				shot("2-asking")
				p.press("Enter", 0)
				p.answered()
				shot("2-picture")
				p.click("button", "Clear")
				p.waitText("Ask about a picture")
				p.click("button", "What is unusual about this picture?")
				p.wait(`document.querySelector("#previews img")`)
				p.run(`document.getElementById("message").value = ` + quote(sample))
				p.press("Enter", 0)
				p.wait(`document.querySelector(".text li")`)
				shot("3-answering")
				p.answered()
				shot("4-answered")
				p.ask("refuse")
				p.answered()
				shot("5-refused")
				p.press("ArrowUp", 0)
				p.waitText("Editing a question")
				shot("5-editing")
				p.press("Escape", 0)
				p.click("button", "Regenerate")
				p.answered()
				shot("5-undo")
				p.click("button", "Compare")
				p.ask("slow Is the circle left of the square? Yes: it stands in the left column.")
				p.answered()
				shot("6-compared")
				p.ask("endless")
				p.wait(`[...document.querySelectorAll(".text")].at(-1).innerText.startsWith("word")`)
				shot("7-both")
				p.press("Escape", 0)
				p.answered()
				if size.width < 500 {
					p.click("button", "Menu")
					shot("8-menu")
				}
			})
		}
	}
}

func (p *page) size(width, height int) {
	p.t.Helper()
	p.call("Emulation.setDeviceMetricsOverride", dict{"width": width, "height": height, "deviceScaleFactor": 1,
		"mobile": false}, nil)
}

func (p *page) theme(name string) {
	p.t.Helper()
	p.call("Emulation.setEmulatedMedia", dict{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": name}}}, nil)
}

// screenshot keeps a picture of the tab.
func (p *page) screenshot(name string) {
	p.t.Helper()
	var shot struct{ Data string }
	p.call("Page.captureScreenshot", dict{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Getenv("SCREENSHOTS"), name+".png"), data, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
