// Markdown becomes elements. The text comes from a model and is not trusted: it is never HTML, links lead only to the
// web or to mail, and a picture becomes a link, because to fetch it would tell a stranger that the answer is read.
// Time is linear in the text, and nothing nests deeper than deepest.

import { el } from "./dom.js";

const deepest = 12;
const longestLine = 2000; // of one that can be more than a paragraph's
const most = 20_000; // elements within lines; more is no text to be read
let budget = most;

const fence = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`]*)$/;
const heading = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const rule = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const quote = /^ {0,3}> ?/;
const item = /^( *)([-*+]|(\d{1,9})[.)])(?: +(?=(\S))| *$)/;
const dashes = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

const blank = (line) => line.trim() === "";
const match = (pattern, line) => (line.length > longestLine ? null : pattern.exec(line));

// Writer renders a text that grows. Blocks that can no longer change are kept.
export class Writer {
	#parent;
	#start = 0; // where the first block begins that may change
	#kept = 0; // blocks before it

	constructor(parent) {
		this.#parent = parent;
	}

	// write shows text, which begins as it did the last time.
	write(text) {
		budget = most;
		const lines = text.slice(this.#start).split("\n");
		const blocks = parse(lines, 0);
		while (this.#parent.childNodes.length > this.#kept) this.#parent.lastChild.remove();
		for (const block of blocks) this.#parent.append(block.make());
		// A first line that is not complete may still turn out to belong to the block before.
		const last = blocks.length - (blocks.at(-1)?.line === lines.length - 1 ? 2 : 1);
		if (last <= 0) return;
		this.#kept += last;
		for (const line of lines.slice(0, blocks[last].line)) this.#start += line.length + 1;
	}
}

// parse cuts lines into blocks {line, end, make}: their first line, the line after, and what makes their element.
function parse(lines, depth) {
	const blocks = [];
	for (let i = 0; i < lines.length;) {
		if (blank(lines[i])) i++;
		else {
			const block = { line: i, ...(special(lines, i, depth) ?? paragraph(lines, i)) };
			blocks.push(block);
			i = block.end;
		}
	}
	return blocks;
}

// special reads the block at line i; null if it is a paragraph.
function special(lines, i, depth) {
	const line = lines[i];
	let found;
	if ((found = match(fence, line))) return code(lines, i, found);
	if (match(rule, line)) return { end: i + 1, make: () => el("hr") };
	if ((found = match(heading, line))) {
		const [, marks, text = ""] = found;
		const level = `h${Math.min(6, marks.length + 2)}`;
		return { end: i + 1, make: () => written(text.replace(/(^|[ \t])#+$/, ""), level) };
	}
	if (depth < deepest && match(quote, line)) return quoted(lines, i, depth);
	if (depth < deepest && match(item, line)) return list(lines, i, depth);
	return isTable(lines, i) ? table(lines, i) : null;
}

// interrupts says whether line i ends a paragraph before it.
function interrupts(lines, i) {
	const line = lines[i];
	const [, , , number = "1", text] = match(item, line) ?? [];
	return [fence, rule, heading, quote].some((pattern) => match(pattern, line)) || (text && number === "1") ||
		isTable(lines, i);
}

function paragraph(lines, i) {
	let end = i + 1;
	while (end < lines.length && !blank(lines[end]) && !interrupts(lines, end)) end++;
	const text = lines.slice(i, end).map((line) => line.replace(/^[ \t]+/, "")).join("\n").trimEnd();
	return { end, text: true, make: () => written(text, "p") };
}

function code(lines, i, [, marks, info]) {
	let end = i + 1;
	const closes = (text) => text.length >= marks.length && text === marks[0].repeat(text.length);
	while (end < lines.length && !(lines[end].length <= longestLine && closes(lines[end].trim()))) end++;
	const language = info.trim().split(/\s/)[0].slice(0, 30);
	const make = () => el("div", { class: "code" },
		el("div", { class: "code-head" }, el("span", {}, language),
			el("button", { type: "button", class: "quiet" }, "Copy code")),
		el("pre", { tabindex: 0, role: "region", "aria-label": `Code ${language}` },
			el("code", {}, lines.slice(i + 1, end).join("\n"))));
	return { end: Math.min(end + 1, lines.length), make };
}

function quoted(lines, i, depth) {
	let end = i;
	while (end < lines.length && match(quote, lines[end])) end++;
	const inner = lines.slice(i, end).map((line) => line.replace(quote, ""));
	return { end, make: () => el("blockquote", {}, parse(inner, depth + 1).map((block) => block.make())) };
}

// list reads items of one kind. Models indent carelessly, so two columns are enough to be inside an item.
function list(lines, i, depth) {
	const [, margin, mark, start] = match(item, lines[i]);
	const items = [];
	let loose = false; // whether items are paragraphs
	let gap = false; // whether the line before is blank
	let end = i;
	for (let at = i; at < lines.length; at++) {
		const line = lines[at];
		const found = match(item, line);
		const indent = line.length - line.trimStart().length;
		const inside = indent >= margin.length + 2;
		if (blank(line)) {
			items.at(-1).push("");
			gap = true;
			continue;
		}
		if (found && !inside && found[2].at(-1) === mark.at(-1) && !match(rule, line)) {
			items.push([line.slice(found[1].length + found[2].length).replace(/^ /, "")]);
		} else if (inside || (!gap && !interrupts(lines, at))) {
			items.at(-1).push(line.slice(Math.min(indent, margin.length + mark.length + 1)));
		} else break;
		loose ||= gap;
		gap = false;
		end = at + 1;
	}
	const nodes = (block) => (block.text && !loose ? [...block.make().childNodes] : [block.make()]);
	const make = () => el(start === undefined ? "ul" : "ol", { start, dir: "auto" },
		items.map((inner) => el("li", { dir: "auto" }, parse(inner, depth + 1).flatMap(nodes))));
	return { end, make };
}

function cells(line) {
	const text = line.trim();
	const found = [""];
	for (let i = text[0] === "|" ? 1 : 0; i < text.length; i++) {
		if (text[i] === "\\" && text[i + 1] === "|") found.push(found.pop() + text[++i]);
		else if (text[i] === "|") found.push("");
		else found.push(found.pop() + text[i]);
	}
	if (text.endsWith("|")) found.pop();
	return found;
}

function isTable(lines, i) {
	return i + 1 < lines.length && lines[i].length <= longestLine && lines[i].includes("|") &&
		match(dashes, lines[i + 1]) && cells(lines[i]).length === cells(lines[i + 1]).length;
}

function table(lines, i) {
	const sides = cells(lines[i + 1]).map((cell) => {
		const [left, right] = [cell.trim().startsWith(":"), cell.trim().endsWith(":")];
		return left && right ? "center" : right && "right";
	});
	let end = i + 2;
	while (end < lines.length && !blank(lines[end]) && !/^ {0,3}(?:>|#{1,6} |```|~~~)/.test(lines[end])) end++;
	const row = (line, name) => {
		const texts = cells(line);
		return el("tr", {}, sides.map((side, column) =>
			written((texts[column] ?? "").trim(), name, side)));
	};
	const make = () => el("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Table" },
		el("table", {}, el("thead", {}, row(lines[i], "th")),
			el("tbody", {}, lines.slice(i + 2, end).map((line) => row(line, "td")))));
	return { end, make };
}

const marks = /[\\`*_~[!\n]|https?:\/\//g;
const label = /!?\[((?:[^[\]\\]|\\.){0,500})\]/;
const target = /\(\s?<?([^\s<>()]{0,1000}(?:\([^\s<>()]{0,1000}\)[^\s<>()]{0,1000})?)>?/;
const title = /(?:\s["'][^"'\n]{0,300}["'])?\s?\)/;
const link = new RegExp(label.source + target.source + title.source, "y");
const bare = /https?:\/\/[^\s<>"`|]{1,500}/y;

// inline fills parent with text and its emphasis, code and links. Below deepest there is only code.
function inline(text, parent, depth = 0) {
	const closing = ends(text);
	let at = 0; // what is before is in parent, and the end of it in said
	let said = "";
	const take = (pattern, from) => {
		pattern.lastIndex = from;
		return pattern.exec(text);
	};
	const put = (from, to, node = "") => {
		said += text.slice(at, from);
		if (typeof node === "string") said += node;
		else {
			parent.append(...said ? [said] : [], node);
			said = "";
			budget--;
		}
		marks.lastIndex = at = to;
	};
	marks.lastIndex = 0;
	for (let found; budget > 0 && (found = marks.exec(text));) {
		const [mark] = found;
		const i = found.index;
		const next = text[i + 1] ?? "";
		if (mark === "\n" || (mark === "\\" && next === "\n")) put(i, i + (mark === "\n" ? 1 : 2), el("br"));
		else if (mark === "\\") {
			if (/[!-/:-@[-`{-~]/.test(next)) put(i, i + 2, next);
		} else if ("`*_~".includes(mark)) {
			const [run] = take(/([`*_~])\1*/y, i);
			const start = i + run.length;
			const make = made[run] ?? made[mark];
			const can = mark === "`" || (make && depth < deepest && flanks(mark, text[start], text[i - 1]));
			const end = can ? closing(run, start) : -1;
			if (end < 0) marks.lastIndex = start;
			else put(i, end + run.length, make(text.slice(start, end), depth + 1));
		} else if (depth > deepest) continue;
		else if (mark === "[" || next === "[") {
			const part = take(link, i);
			if (part && address(part[2])) put(i, i + part[0].length, anchor(part[2], part[1], mark === "!"));
		} else if (mark.length > 1 && !/[\p{L}\p{N}]/u.test(text[i - 1] ?? "")) {
			const url = trimmed(take(bare, i)?.[0] ?? "");
			if (url) put(i, i + url.length, anchor(url));
		}
	}
	put(text.length);
	if (said) parent.append(said);
	return parent;
}

// written is an element with text. Its direction comes last, as in el.
const written = (text, name, style) => Object.assign(inline(text, el(name, { class: style })), { dir: "auto" });

const within = (name) => (inner, depth) => inline(inner, el(name), depth);

// made has what makes the element of what stands between two equal runs of marks.
const made = {
	"`": (inner) => el("code", {}, inner.trim() && /^ [^]* $/.test(inner) ? inner.slice(1, -1) : inner),
	"*": within("em"), _: within("em"), "**": within("strong"), __: within("strong"), "~~": within("del"),
	"***": (inner, depth) => el("em", {}, inline(inner, el("strong"), depth)),
};

// flanks says whether a run of marks can begin or end emphasis, by the characters at its inner and outer side.
function flanks(mark, inner = " ", outer = " ") {
	const punctuation = /[\p{P}\p{S}]/u;
	return !/\s/.test(inner) &&
		((mark !== "_" && !punctuation.test(inner)) || /\s/.test(outer) || punctuation.test(outer));
}

// ends returns a function that finds the next run that ends one, in linear time if it is asked from left to right.
function ends(text) {
	let found;
	return (run, from) => {
		if (!found) {
			found = {};
			for (const { 0: all, 1: mark, index } of text.matchAll(/\\[^]|([`*_~])\1*/g)) {
				const can = mark === "`" || (mark && flanks(mark, text[index - 1], text[index + all.length]));
				if (can) (found[all] ??= []).push(index);
			}
			for (const list of Object.values(found)) list.reverse();
		}
		const list = found[run] ?? [];
		while (list.at(-1) <= from) list.pop();
		return list.at(-1) ?? -1;
	};
}

// address is a link's target; null if it leads anywhere but to the web or to mail.
function address(url) {
	const found = URL.canParse(url) && new URL(url);
	return found && ["http:", "https:", "mailto:"].includes(found.protocol) ? found.href : null;
}

// anchor is a link, whose text has no links.
function anchor(url, text, picture) {
	const href = address(url);
	if (!href) return url;
	const a = el("a", { href, title: href, rel: "noopener noreferrer nofollow", target: "_blank" },
		picture && "Picture: ");
	return inline(text || url, a, deepest + 1);
}

// trimmed is an address without the punctuation of the sentence around it.
function trimmed(url) {
	const last = url.at(-1);
	const closing = last === ")" && url.split(")").length > url.split("(").length;
	return closing || /[.,;:!?'*_~\]]/.test(last) ? trimmed(url.slice(0, -1)) : url;
}
