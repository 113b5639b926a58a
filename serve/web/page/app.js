// The page: its parts, and how they hang together.

import * as api from "./api.js";
import * as store from "./store.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { History, Settings } from "./side.js";
import { Models, none } from "./models.js";
import { View } from "./view.js";
import { $, el, icon, recall, remember } from "./dom.js";

for (const place of document.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));

const settings = new Settings();
const models = new Models(refused);
const view = new View($("conversation"), {
	live: (answer) => chat.live(answer),
	regenerate() {
		composer.focus();
		chat.regenerate();
	},
	edit,
	vote(turn, answer, kind) {
		if (!models.server.votes) tell("Kept in this browser only: the server has no log.");
		chat.vote(turn, answer, kind);
	},
	tell,
});
const chat = new Chat(view, {
	settings: () => settings.request(),
	chosen: () => models.chosen(),
	busy(whether) {
		composer.busy(whether);
		for (const id of ["model", "second", "compare"]) $(id).disabled = whether;
	},
	changed() {
		$("welcome").hidden = chat.turns.length > 0;
		document.body.classList.toggle("wide", chat.turns.some((turn) => turn.answers.length > 1));
		remember("sessionStorage", "conversation", chat.conversation.id);
		history.refresh();
	},
	tell,
	refused,
});
const composer = new Composer({
	room: (edited) => models.server.pictures - chat.before(edited).flatMap((turn) => turn.pictures).length,
	send(text, pictures, edited) {
		const blind = pictures.length > 0 && models.blind();
		if (models.chosen().length === 0) return none;
		if (blind) return `${blind} does not look at pictures. Remove them, or choose another model.`;
		if (chat.busy) return "An answer is still coming. Wait for it, or stop it.";
		tell("");
		chat.send(text, pictures, edited);
		return "";
	},
	stop: () => chat.stop(),
	editLast: () => edit(chat.turns.at(-1)),
});
const history = new History(chat, closeSide);

function edit(turn) {
	if (!turn || chat.busy) return false;
	chat.pictures(turn).then((pictures) => composer.fill(turn.text, pictures, turn.id));
	return true;
}

// tell says something in the line above the message box, with a way back if there is one. It stays until the next: who
// reads slowly, or looks at another tab, misses nothing.
function tell(text, undo) {
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
	}
}

// refused deals with faults that have a way out on the page.
function refused(fault) {
	if (fault.status === 401 && !$("ask-token").open) $("ask-token").showModal();
	if (fault.status === 404) models.load();
}

$("ask-token").addEventListener("close", () => {
	const { value } = $("token");
	if (!value) return;
	$("token").value = "";
	api.setToken(value);
	models.load();
});

// On a narrow screen the side lies over the rest.
function side(open) {
	document.body.classList.toggle("side-open", open);
	$("main").inert = open;
	$("menu").setAttribute("aria-expanded", open);
	$(open ? "close-side" : "menu").focus();
}

function closeSide() {
	if ($("main").inert) side(false);
}

$("menu").addEventListener("click", () => side(true));
for (const id of ["close-side", "shade"]) $(id).addEventListener("click", closeSide);
matchMedia("(min-width: 60rem)").addEventListener("change", closeSide);

$("new").addEventListener("click", () => {
	chat.open(store.newConversation());
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
	const href = URL.createObjectURL(await store.exported());
	el("a", { href, download: "llavatrain-conversations.json" }).click();
	setTimeout(() => URL.revokeObjectURL(href), 60_000);
});
$("import").addEventListener("click", () => $("import-file").click());
$("import-file").addEventListener("change", async () => {
	const [file] = $("import-file").files;
	if (!file) return;
	tell(await store.imported(file).then((n) => `Conversations added: ${n}.`, (error) => error.message));
	$("import-file").value = "";
	history.refresh();
});

for (const example of document.querySelectorAll("[data-example]")) {
	example.addEventListener("click", async () => {
		const name = example.dataset.example;
		const file = await (await fetch(name)).blob();
		await composer.add([new File([file], name.replace("svg", "png"), { type: file.type })]);
		composer.fill(example.dataset.question);
	});
}

// Another tab may have changed what this one shows.
store.onChange(async (id) => {
	if (id !== chat.conversation.id || chat.busy) return;
	const found = await store.load(id);
	if (!found) chat.conversation.version = 0;
	else if (found.version !== chat.conversation.version) chat.open(found);
});

const last = recall("sessionStorage", "conversation");
chat.open((last && await store.load(last)) || store.newConversation());
if (!await store.works()) tell("This browser keeps no conversations: they end with the tab.");
await models.load();
document.body.dataset.ready = "yes";
