package browsertest

import (
	"testing"
)

// markdowns are texts with their elements.
var markdowns = []struct{ text, html string }{
	{"plain", "<p>plain</p>"},
	{"one\ntwo  \nthree\\\nfour\n\nfive", "<p>one<br>two  <br>three<br>four</p><p>five</p>"},
	{"# a\n## b ##\n####### c\n#d", "<h3>a</h3><h4>b</h4><p>####### c<br>#d</p>"},
	{"*a* _b_ **c** __d__ ***e*** ~~f~~", "<p><em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> " +
		"<em><strong>e</strong></em> <del>f</del></p>"},
	{"2 * 3 * 4, snake_case_name, a * b, ~1~", "<p>2 * 3 * 4, snake_case_name, a * b, ~1~</p>"},
	{"**bold *in* bold** and*in*word", "<p><strong>bold <em>in</em> bold</strong> and<em>in</em>word</p>"},
	{"`a *b*` ``c`d`` `open", "<p><code>a *b*</code> <code>c`d</code> `open</p>"},
	{`\*a\* \\ \n`, `<p>*a* \ \n</p>`},
	{"- a\n- b\n  - c\n  - d\n- e", "<ul><li>a</li><li>b<ul><li>c</li><li>d</li></ul></li><li>e</li></ul>"},
	{"3. a\n4. b\n   more\n\n   - c",
		"<ol start=\"3\"><li><p>a</p></li><li><p>b<br>more</p><ul><li>c</li></ul></li></ol>"},
	{"text\n- a\n\ntext", "<p>text</p><ul><li>a</li></ul><p>text</p>"},
	{"in 1999\n2000. was", "<p>in 1999<br>2000. was</p>"},
	{"> a\n> > b\n\nc", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>"},
	{"---\n***", "<hr><hr>"},
	{"| a | b |\n|:-:|--:|\n| c \\| d | e |\n| f |\n\ng",
		"TABLE<tr><th class=\"center\">a</th><th class=\"right\">b</th></tr></thead><tbody>" +
			"<tr><td class=\"center\">c | d</td><td class=\"right\">e</td></tr>" +
			"<tr><td class=\"center\">f</td><td class=\"right\"></td></tr></tbody></table></div><p>g</p>"},
	{"a | b\nno table", "<p>a | b<br>no table</p>"},
	{"```go\na\n\n*b*\n```\nc", "CODE:go:a\n\n*b*:<p>c</p>"},
	{"~~~\nopen", "CODE::open:"},
	{"[a](https://b.example/c_d?e=f&g) https://h.example/i_j. (https://k.example/l)",
		`<p>LINK:https://b.example/c_d?e=f&amp;g:a: LINK:https://h.example/i_j:https://h.example/i_j:. ` +
			`(LINK:https://k.example/l:https://k.example/l:)</p>`},
	{"[a](/relative) [b](mailto:c@d.example) ![e](https://f.example/)",
		`<p>[a](/relative) LINK:mailto:c@d.example:b: LINK:https://f.example/:Picture: e:</p>`},
	{"&lt; <b> &amp;", "<p>&amp;lt; &lt;b&gt; &amp;amp;</p>"},
	{"", ""},
}

// rendered is what makes comparable markup of an answer's elements.
const rendered = `const rendered = (div) => {
	const copy = div.cloneNode(true);
	for (const e of copy.querySelectorAll("[dir]")) e.removeAttribute("dir");
	for (const e of copy.querySelectorAll(".code")) {
		e.replaceWith("CODE:" + e.querySelector("span").textContent + ":" + e.querySelector("code").textContent + ":");
	}
	for (const a of copy.querySelectorAll("a")) a.replaceWith("LINK:" + a.href + ":" + a.textContent + ":");
	return copy.innerHTML.replaceAll(/<div class="table"[^>]*><table><thead>/g, "TABLE");
};
const { Writer } = await import("./markdown.js");`

func TestMarkdown(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	all := ""
	for _, test := range markdowns {
		got := p.text(`(async () => { ` + rendered + `
			const div = document.createElement("div");
			new Writer(div).write(` + quote(test.text) + `);
			return rendered(div);
		})()`)
		if got != test.html {
			t.Errorf("%q\nbecomes %s\nand not %s", test.text, got, test.html)
		}
		all += test.text + "\n\n"
	}

	// A text that comes in pieces looks as if it had come at once, however it is cut.
	if fault := p.text(`(async () => { ` + rendered + `
		const texts = ` + quote(all) + `.repeat(2).split("\n\n");
		let seed = 1;
		const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
		for (let round = 0; round < 400; round++) {
			let text = "";
			for (let i = 0; i < 1 + random(6); i++) text += texts[random(texts.length)] + ["\n\n", "\n", ""][random(3)];
			const grown = document.createElement("div");
			const writer = new Writer(grown);
			for (let at = 0; at < text.length;) writer.write(text.slice(0, at += 1 + random(4)));
			const whole = document.createElement("div");
			new Writer(whole).write(text);
			if (rendered(grown) !== rendered(whole)) return JSON.stringify([text, rendered(grown), rendered(whole)]);
		}
		return "";
	})()`); fault != "" {
		t.Errorf("in pieces, a text differs: %s", fault)
	}
}

// TestManyBlocks renders 256 kB of short lines of each kind: a test that takes minutes is a fault.
func TestManyBlocks(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	for _, unit := range []string{"- a\n", "> ", "> a\n", "# a\n", "|a|b|\n|-|-|\n", "1. a\n\n", "  - a\n", "```\n",
		"a\n", "[a](b)\n", " ", "-", "`a\n", "\t- a\n - b\n", "|"} {
		p.run(`(async () => {
			const { Writer } = await import("./markdown.js");
			const unit = ` + quote(unit) + `;
			new Writer(document.createElement("div")).write(unit.repeat((1 << 18) / unit.length));
		})()`)
	}
}
