// Markdown becomes elements, block by block. The text comes from a model and is not trusted: it is never HTML, a link
// leads only to http, https or mailto, and a picture becomes a link to it, because fetching one would tell a stranger
// that the answer is read. Time is linear in the text, and nothing nests deeper than deepest.

import { el } from "./dom.js";

const deepest = 12;
const longestLine = 2000; // of a line that can be more than a paragraph's

const fence = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`]*)$/;
const heading = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const rule = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const quote = /^ {0,3}> ?/;
const item = /^( *)([-*+]|(\d{1,9})[.)])(?:( +)(?=\S)| *$)/;
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
		const rest = text.slice(this.#start);
		const lines = rest.split("\n");
		const blocks = parse(lines, 0);
		while (this.#parent.childNodes.length > this.#kept) this.#parent.lastChild.remove();
		this.#parent.append(...blocks.map((block) => block.make()));
		// A first line that is not complete may still turn out to belong to the block before.
		const last = blocks.length - (blocks.at(-1)?.line === lines.length - 1 ? 2 : 1);
		if (last <= 0) return;
		this.#kept += last;
		for (const line of lines.slice(0, blocks[last].line)) this.#start += line.length + 1;
	}
}

// parse cuts lines into blocks: the number of their first line, and what makes their element.
function parse(lines, depth) {
	const blocks = [];
	for (let i = 0; i < lines.length;) {
		if (blank(lines[i])) {
			i++;
			continue;
		}
		const block = begin(lines, i, depth) ?? paragraph(lines, i);
		blocks.push({ line: i, make: block.make, text: block.text });
		i = block.end;
	}
	return blocks;
}

// begin reads the block at line i; null if it is a paragraph.
function begin(lines, i, depth) {
	const line = lines[i];
	let found;
	if ((found = match(fence, line))) return code(lines, i, found);
	if (match(rule, line)) return { end: i + 1, make: () => el("hr") };
	if ((found = match(heading, line))) {
		const [, marks, text = ""] = found;
		const level = `h${Math.min(6, marks.length + 2)}`;
		return { end: i + 1, make: () => inline(text.replace(/(^|[ \t])#+$/, ""), el(level, { dir: "auto" })) };
	}
	if (depth < deepest && match(quote, line)) return quoted(lines, i, depth);
	if (depth < deepest && match(item, line)) return list(lines, i, depth);
	return table(lines, i);
}

function interrupts(lines, i) {
	const line = lines[i];
	const found = match(item, line);
	return match(fence, line) || match(rule, line) || match(heading, line) || match(quote, line) ||
		(found && found[4] && (found[3] === undefined || found[3] === "1")) || isTable(lines, i);
}

function paragraph(lines, i) {
	let end = i + 1;
	while (end < lines.length && !blank(lines[end]) && !interrupts(lines, end)) end++;
	const text = lines.slice(i, end).map((line) => line.replace(/^[ \t]+/, "")).join("\n");
	return { end, text, make: () => inline(text.trimEnd(), el("p", { dir: "auto" })) };
}

function code(lines, i, [, marks, info]) {
	let end = i + 1;
	const closes = (line) => {
		const text = line.length > longestLine ? "" : line.trim();
		return text.length >= marks.length && text === marks[0].repeat(text.length);
	};
	while (end < lines.length && !closes(lines[end])) end++;
	const text = lines.slice(i + 1, end).join("\n");
	const language = info.trim().split(/\s/)[0].slice(0, 30);
	const make = () => el("div", { class: "code" },
		el("div", { class: "code-head" }, el("span", {}, language),
			el("button", { type: "button", class: "quiet", "data-copies": "code" }, "Copy code")),
		el("pre", { tabindex: 0, role: "region", "aria-label": language ? `Code, ${language}` : "Code" },
			el("code", {}, text)));
	return { end: Math.min(end + 1, lines.length), make };
}

function quoted(lines, i, depth) {
	let end = i;
	const inner = [];
	for (; end < lines.length && match(quote, lines[end]); end++) inner.push(lines[end].replace(quote, ""));
	return { end, make: () => el("blockquote", { dir: "auto" }, ...parse(inner, depth + 1).map((b) => b.make())) };
}

// list reads items of one kind. Models indent carelessly, so two columns are enough to be inside an item.
function list(lines, i, depth) {
	const [, margin, mark, start] = match(item, lines[i]);
	const kind = mark.at(-1);
	const items = [];
	let loose = false;
	let gap = false; // whether the line before is blank
	let end = i;
	for (let at = i; at < lines.length; at++) {
		const line = lines[at];
		const found = match(item, line);
		const indent = line.length - line.trimStart().length;
		if (blank(line)) {
			gap = true;
			items.at(-1).push("");
			continue;
		}
		if (found && found[2].at(-1) === kind && indent < margin.length + 2 && !match(rule, line)) {
			loose ||= gap;
			items.push([line.slice(found[1].length + found[2].length).replace(/^ /, "")]);
		} else if (indent >= margin.length + 2 || (!gap && !interrupts(lines, at))) {
			loose ||= gap;
			items.at(-1).push(line.slice(Math.min(indent, margin.length + mark.length + 1)));
		} else break;
		gap = false;
		end = at + 1;
	}
	const make = () => el(start === undefined ? "ul" : "ol", { start: start > 1 && start, dir: "auto" },
		...items.map((inner) => el("li", { dir: "auto" }, ...parse(inner, depth + 1).flatMap((block) => {
			const made = block.make();
			return block.text !== undefined && !loose ? [...made.childNodes] : [made];
		}))));
	return { end, make };
}

function cells(line) {
	const text = line.trim();
	const found = [];
	let cell = "";
	for (let i = text[0] === "|" ? 1 : 0; i < text.length; i++) {
		if (text[i] === "\\" && text[i + 1] === "|") cell += text[++i];
		else if (text[i] === "|") {
			found.push(cell.trim());
			cell = "";
		} else cell += text[i];
	}
	return cell.trim() === "" && text.endsWith("|") ? found : [...found, cell.trim()];
}

function isTable(lines, i) {
	return i + 1 < lines.length && lines[i].includes("|") && lines[i].length <= longestLine &&
		match(dashes, lines[i + 1]) && cells(lines[i]).length === cells(lines[i + 1]).length;
}

function table(lines, i) {
	if (!isTable(lines, i)) return null;
	const sides = cells(lines[i + 1]).map((cell) => /^:?/.exec(cell)[0] + (cell.endsWith(":") ? ">" : ""));
	const side = { ">": "right", ":>": "center", ":": "left" };
	const head = cells(lines[i]);
	let end = i + 2;
	while (end < lines.length && !blank(lines[end]) && !/^ {0,3}(?:>|#{1,6} |```|~~~)/.test(lines[end])) end++;
	const body = lines.slice(i + 2, end).map(cells);
	const row = (texts, name) => el("tr", {}, ...head.map((_, column) =>
		inline(texts[column] ?? "", el(name, { class: side[sides[column]], dir: "auto" }))));
	const make = () => el("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Table" },
		el("table", {}, el("thead", {}, row(head, "th")), el("tbody", {}, ...body.map((texts) => row(texts, "td")))));
	return { end, make };
}

const special = /[\\`*_~[!<\n]|https?:\/\//g;
const label = /!?\[((?:[^[\]\\]|\\.){0,500})\]/;
const target = /\(\s?<?([^\s<>()]{0,1000}(?:\([^\s<>()]{0,1000}\)[^\s<>()]{0,1000})?)>?(?:\s["'][^"'\n]{0,300}["'])?\s?\)/;
const link = new RegExp(label.source + target.source, "y");
const angle = /<((?:https?:\/\/|mailto:)[^\s<>]{1,1000})>/y;
const bare = /https?:\/\/[^\s<>"`|]{1,500}/y;

// inline fills parent with text and its emphasis, code and links, and returns it.
function inline(text, parent, within) {
	const nodes = []; // done: strings and elements, and marks of emphasis that wait for their end
	const open = { "*": [], _: [], "~": [] };
	const ticks = runs(text);
	let at = 0;
	const say = (to, ...more) => {
		if (to > at) nodes.push(text.slice(at, to));
		nodes.push(...more);
	};
	const take = (pattern, from) => {
		pattern.lastIndex = from;
		return pattern.exec(text);
	};
	const put = (from, end, ...more) => {
		say(from, ...more);
		special.lastIndex = at = end;
	};
	special.lastIndex = 0;
	for (let found; (found = special.exec(text));) {
		const i = found.index;
		const mark = found[0];
		let part;
		if (mark === "\\") {
			if (text[i + 1] === "\n") put(i, i + 2, el("br"));
			else if (/[!-/:-@[-`{-~]/.test(text[i + 1] ?? "")) put(i, i + 2, text[i + 1]);
		} else if (mark === "\n") {
			put(i, i + 1, el("br"));
		} else if (mark === "`") {
			const length = take(/`+/y, i)[0].length;
			const end = ticks.close(length, i);
			if (end < 0) special.lastIndex = i + length;
			else {
				const inner = text.slice(i + length, end).replaceAll("\n", " ");
				put(i, end + length, el("code", {}, /^ .*[^ ].* $/.test(inner) ? inner.slice(1, -1) : inner));
			}
		} else if (mark in open) {
			const length = take(/([*_~])\1*/y, i)[0].length;
			put(i, i + length);
			emphasis(nodes, open, mark, length, text[i - 1] ?? " ", text[i + length] ?? " ");
		} else if (mark === "[" || (mark === "!" && text[i + 1] === "[")) {
			if (within || !(part = take(link, i)) || !address(part[2])) continue;
			put(i, i + part[0].length, anchor(part[2], part[1], mark === "!"));
		} else if (mark === "<") {
			if (!within && (part = take(angle, i))) put(i, i + part[0].length, anchor(part[1]));
		} else if (mark !== "!" && !within && !/[\p{L}\p{N}]/u.test(text[i - 1] ?? "") && (part = take(bare, i))) {
			const url = trimmed(part[0]);
			put(i, i + url.length, anchor(url));
		}
	}
	say(text.length);
	for (const node of nodes) parent.append(shown(node));
	return parent;
}

// shown is a node as it stands in the page: marks that nothing ended are text.
const shown = (node) => (node.mark ? node.mark.repeat(node.length) : node);

// runs finds the backticks that close a code span, in linear time: no run is looked at twice.
function runs(text) {
	let ends; // by length
	return {
		close(length, from) {
			if (!ends) {
				ends = {};
				for (const run of text.matchAll(/`+/g)) (ends[run[0].length] ??= []).unshift(run.index);
			}
			const list = ends[length] ?? [];
			while (list.length && list.at(-1) <= from) list.pop();
			return list.at(-1) ?? -1;
		},
	};
}

// emphasis ends what a run of marks can end, and remembers the rest of the run if it can begin something.
function emphasis(nodes, open, mark, length, before, after) {
	const space = /\s/;
	const punctuation = /[\p{P}\p{S}]/u;
	const left = !space.test(after) && (!punctuation.test(after) || space.test(before) || punctuation.test(before));
	const right = !space.test(before) && (!punctuation.test(before) || space.test(after) || punctuation.test(after));
	const begins = left && (mark !== "_" || !right || punctuation.test(before));
	const ends = right && (mark !== "_" || !left || punctuation.test(after));
	const stack = open[mark];
	while (ends && length > 0 && stack.length) {
		const start = stack.at(-1);
		const used = start.length > 1 && length > 1 ? 2 : 1;
		if (mark === "~" && used < 2) break;
		const depth = 1 + nodes.slice(start.place + 1).reduce((most, node) => Math.max(most, node.depth ?? 0), 0);
		if (depth > deepest) {
			stack.length = 0;
			break;
		}
		const inner = nodes.splice(start.place + 1).map(shown);
		for (const others of Object.values(open)) while (others.length && others.at(-1).place > start.place) others.pop();
		const made = el(mark === "~" ? "del" : used > 1 ? "strong" : "em", {}, ...inner);
		made.depth = depth;
		if ((start.length -= used) === 0) {
			stack.pop();
			nodes.pop();
		}
		nodes.push(made);
		length -= used;
	}
	if (length === 0) return;
	const rest = { mark, length, place: nodes.length };
	nodes.push(rest);
	if (begins) stack.push(rest);
}

// address is a link's target, or null if it leads anywhere but to the web or to mail.
function address(url) {
	try {
		const { protocol, href } = new URL(url);
		return ["http:", "https:", "mailto:"].includes(protocol) ? href : null;
	} catch {
		return null;
	}
}

function anchor(url, text, picture) {
	const href = address(url);
	if (!href) return url;
	const a = el("a", { href, title: href, rel: "noopener noreferrer nofollow", target: "_blank" });
	return inline(text || url, a, true) && (picture && a.prepend("Picture: "), a);
}

// trimmed is an address without the punctuation of the sentence around it.
function trimmed(url) {
	for (;;) {
		const last = url.at(-1);
		const closing = last === ")" && url.split(")").length > url.split("(").length;
		if (!closing && !/[.,;:!?'*_~\]]/.test(last)) return url;
		url = url.slice(0, -1);
	}
}
