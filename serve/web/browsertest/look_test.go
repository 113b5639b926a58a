package browsertest

import (
	"testing"
)

const sample = "slow The picture shows **four shapes** on a light ground:\n\n" +
	"1. a red circle, top left\n2. a blue square, top right\n3. a yellow triangle, bottom left\n4. a green star\n\n" +
	"```python\nfor shape in shapes:\n    print(shape.name, shape.color)\n```\n\n" +
	"| shape | colour |\n| --- | --- |\n| circle | red |\n| square | blue |\n\nEach stands in its own quarter."

// TestLook takes pictures of the page in many states; a person looks at them.
func TestLook(t *testing.T) {
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
				p.run(`document.getElementById("message").value = ` + quote(sample))
				p.press("Enter", 0)
				p.wait(`document.querySelector(".text li")`)
				shot("3-answering")
				p.answered()
				shot("4-answered")
				p.ask("refuse")
				p.answered()
				shot("5-refused")
				p.click("button", "Compare")
				p.ask("slow Is the circle left of the square? Yes: it stands in the left column, and the square in the right one.")
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
