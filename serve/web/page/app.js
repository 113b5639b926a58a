// The page: its parts, and how keys, buttons, drops and the server's list of models come to them.

import * as api from "./api.js";
import * as store from "./store.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { History, Settings } from "./side.js";
import { Models } from "./models.js";
import { View } from "./view.js";
import { el, icon } from "./dom.js";

const $ = (id) => document.getElementById(id);
for (const place of document.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));

const settings = new Settings();
const models = new Models(refused);
const view = new View($("conversation"), {
	live: (answer) => chat.live(answer),
	regenerate() {
		composer.focus();
		chat.regenerate();
	},
	edit: (turn, text) => chat.edit(turn, text),
	async takeBack() {
		const had = await chat.takeBack();
		if (had) composer.fill(had.text, had.pictures);
	},
	vote(turn, answer, kind) {
		if (!answer.vote && !models.server.votes) tell("Kept in this browser only: the server has no log.");
		chat.vote(turn, answer, kind);
	},
	tell,
});
const chat = new Chat(view, { settings: () => settings.request(), chosen: () => models.chosen(), tell, refused, changed,
	busy(whether) {
		composer.busy(whether);
		for (const id of ["model", "second", "compare"]) $(id).disabled = whether;
	} });
const composer = new Composer({
	limits: () => ({ most: models.server.pictures ?? 8, held: chat.turns.flatMap((turn) => turn.pictures).length }),
	send(text, pictures) {
		const blind = pictures.length > 0 && models.blind();
		if (models.chosen().length === 0) return "No model is served. Start a worker, then reload the models.";
		if (blind) return `${blind} does not look at pictures. Remove them, or choose another model.`;
		if (chat.busy) return "An answer is still coming.";
		tell("");
		chat.send(text, pictures);
		return "";
	},
	stop: () => chat.stop(),
	editLast: () => view.editLast(),
});
const history = new History($("history"), {
	current: () => chat.conversation.id,
	async open(id) {
		const found = await store.load(id);
		if (found) chat.open(found);
		closeSide();
	},
	changed(conversation) {
		if (conversation.id !== chat.conversation.id) return;
		chat.conversation.title = conversation.title;
		chat.conversation.version = conversation.version;
	},
	removed(conversation) {
		if (conversation.id === chat.conversation.id) begin();
	},
	tell,
});

// changed brings what depends on the conversation up to date.
function changed() {
	$("welcome").hidden = chat.turns.length > 0;
	document.body.classList.toggle("wide", chat.conversation.compare);
	try {
		sessionStorage.setItem("llavatrain.conversation", chat.conversation.id);
	} catch { /* then a reload begins a new one */ }
	history.refresh();
}

function begin() {
	chat.open(store.newConversation());
}

// tell says something in the line above the message box, with a way back if there is one.
let hiding;
function tell(text, undo) {
	clearTimeout(hiding);
	const close = () => $("told").replaceChildren();
	close();
	if (!text) return;
	$("told").append(el("span", {}, text));
	if (undo) {
		const back = () => {
			close();
			composer.focus();
			undo();
		};
		$("told").append(el("button", { type: "button", class: "quiet", onclick: back }, "Undo"));
	} else hiding = setTimeout(close, 6000);
}

// refused deals with faults that have a way out on the page.
function refused(fault) {
	if (fault.status === 401 && !$("ask-token").open) $("ask-token").showModal();
	if (fault.status === 404) models.load();
}

$("ask-token").addEventListener("close", () => {
	if (!$("token").value) return;
	api.setToken($("token").value);
	$("token").value = "";
	models.load();
});

function closeSide() {
	if (!document.body.classList.contains("side-open")) return;
	document.body.classList.remove("side-open");
	$("main").inert = false;
	$("menu").setAttribute("aria-expanded", "false");
	$("menu").focus();
}

$("menu").addEventListener("click", () => {
	document.body.classList.add("side-open");
	$("main").inert = true;
	$("menu").setAttribute("aria-expanded", "true");
	$("close-side").focus();
});
$("close-side").addEventListener("click", closeSide);
$("shade").addEventListener("click", closeSide);
matchMedia("(min-width: 60rem)").addEventListener("change", closeSide);

$("new").addEventListener("click", () => {
	begin();
	closeSide();
	composer.focus();
});
$("clear").addEventListener("click", () => {
	chat.clear();
	composer.focus();
});
document.addEventListener("keydown", (event) => {
	if (event.key !== "Escape" || event.isComposing) return;
	if (chat.busy) chat.stop();
	else closeSide();
});

$("export").addEventListener("click", async () => {
	const url = URL.createObjectURL(await store.exported());
	const day = new Date().toISOString().slice(0, 10);
	el("a", { href: url, download: `llavatrain-conversations-${day}.json` }).click();
	setTimeout(() => URL.revokeObjectURL(url), 60_000);
});
$("import").addEventListener("click", () => $("import-file").click());
$("import-file").addEventListener("change", async () => {
	const [file] = $("import-file").files;
	$("import-file").value = "";
	if (!file) return;
	try {
		const added = await store.imported(file);
		tell(added === 1 ? "One conversation was added." : `${added} conversations were added.`);
		history.refresh();
	} catch (error) {
		tell(error.message);
	}
});

for (const example of document.querySelectorAll("[data-example]")) {
	example.addEventListener("click", async () => {
		const name = example.dataset.example;
		const file = await (await fetch(name)).blob();
		await composer.add([new File([file], name.replace("svg", "png"), { type: file.type })]);
		composer.fill(example.dataset.question);
	});
}

// Another tab has changed the conversation that this one shows.
store.onChange(async (id) => {
	if (id !== chat.conversation.id || chat.busy || $("conversation").querySelector("textarea")) return;
	const found = await store.load(id);
	if (found && found.version !== chat.conversation.version) chat.open(found);
	else if (!found) chat.conversation.version = 0;
});

async function start() {
	let found;
	try {
		const id = sessionStorage.getItem("llavatrain.conversation");
		found = id && await store.load(id);
	} catch { /* a new one */ }
	chat.open(found || store.newConversation());
	if (!await store.works()) tell("This browser keeps no conversations: they end with the tab.");
	await models.load();
	document.body.dataset.ready = "yes";
}

start();
