import { make, metres, plan, views } from "./pictures.js";
import { View3D, hue } from "./view3d.js";

const $ = (id) => document.getElementById(id);
let scene, view, asked = 0, named = [], limits = {};

// requests ------------------------------------------------------------------------------------------------------

async function call(path, options = {}) {
  const key = sessionStorage.getItem("key");
  const headers = { ...(options.body && !(options.body instanceof FormData) ? { "Content-Type": "application/json" } : {}), ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try { response = await fetch(path, { ...options, headers }); } catch { throw new Error("the server cannot be reached"); }
  if (!response.ok) throw new Error(await reason(response.status, await response.text()));
  return response;
}

async function reason(status, text) {
  if (status === 401) $("key-form").hidden = $("start").hidden = false;
  try { return JSON.parse(text).error.message; } catch { return `the server answered ${status}`; }
}

function fail(error) {
  $("progress").hidden = true;
  $("start").classList.remove("busy");
  $("chosen").replaceChildren();
  $("error").hidden = !error;
  $("error").textContent = error ? (error.message ?? error) : "";
}

function work(text, share) {
  $("progress").hidden = !text;
  $("progress").firstChild.textContent = text;
  const bar = $("progress").lastChild;
  if (share === undefined) bar.removeAttribute("value"); else bar.value = share;
}

function upload(files) {
  if (!files.length) return;
  fail();
  const bytes = [...files].reduce((sum, file) => sum + file.size, 0), megabytes = (count) => `${(count / 2 ** 20).toFixed(0)} MB`;
  if (bytes > limits.body) return fail(`These files have ${megabytes(bytes)}; this server takes ${megabytes(limits.body)}. Choose fewer or smaller ones.`);
  $("scene").hidden = true;
  $("start").hidden = false;
  $("start").classList.add("busy");
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  for (const name of ["camera_height", "known_length"]) form.append(name, $(name).value);
  $("chosen").replaceChildren(...[...files].filter((file) => file.type.startsWith("image/")).slice(0, 8).map((file) => make("img", { src: URL.createObjectURL(file), alt: "" })));
  const request = new XMLHttpRequest(); // fetch has no progress of uploads
  request.open("POST", "v1/scenes");
  request.setRequestHeader("Accept", "text/event-stream");
  if (sessionStorage.getItem("key")) request.setRequestHeader("Authorization", `Bearer ${sessionStorage.getItem("key")}`);
  request.upload.onprogress = (event) => work(`Sending ${files.length === 1 ? "1 file" : `${files.length} files`}`, event.loaded / event.total);
  request.upload.onload = () => work("Reading the photos");
  let read = 0;
  const events = () => {
    const end = request.responseText.lastIndexOf("\n\n");
    if (request.status !== 200 || end <= read) return;
    for (const line of request.responseText.slice(read, end).split("\n\n")) {
      const event = JSON.parse(line.trim().slice(6));
      if (event.state === "queued" && event.before) work(`Waiting: ${event.before} before you`);
      if (event.state === "encoding") work("Encoding the room");
      if (event.state === "failed") fail(event.error);
      if (event.state === "done") show(event.scene);
    }
    read = end + 2;
  };
  request.onprogress = events;
  request.onload = async () => (request.status === 200 ? events() : fail(await reason(request.status, request.responseText)));
  request.onerror = () => call("health").then(() => fail("The connection to the server was lost while it worked. Try again."), fail);
  work("Sending", 0);
  request.send(form);
}

// the room ------------------------------------------------------------------------------------------------------

async function show(found) {
  scene = found;
  named = [];
  location.hash = scene.id;
  work("Drawing");
  $("start").hidden = true;
  $("start").classList.remove("busy");
  $("scene").hidden = $("another").hidden = $("skip").hidden = false;
  $("about").hidden = true;
  $("chat").replaceChildren(make("li", { className: "hello", textContent: "Ask in your own words, or press a question. Each answer says how certain the model is, and marks the objects that it names." }));
  $("scale").textContent = scale(scene.scale) + `. ${scene.views.length === 1 ? "1 photo is" : `${scene.views.length} photos are`} used.`;
  $("notices").hidden = !scene.notices.length;
  $("notices").firstChild.textContent = scene.notices.length === 1 ? "1 note on these photos" : `${scene.notices.length} notes on these photos`;
  $("notices").lastChild.replaceChildren(...scene.notices.map((text) => make("li", { textContent: text })));
  $("objects").replaceChildren(...scene.boxes.map((box) => {
    const button = make("button", { onclick: () => choose(box.id), onfocus: () => highlight([box.id]), tabIndex: -1 }, box.label, " ", make("small", { textContent: percent(box.score) }));
    button.dataset.box = box.id;
    button.style.setProperty("--hue", hue(box.label));
    return make("li", {}, button);
  }));
  if (!scene.boxes.length) $("objects").append(make("p", { textContent: "No object was found with enough certainty." }));
  $("least").value = scene.boxes.length > 12 ? Math.ceil(20 * scene.boxes[11].score) / 20 : 0.3; // a dozen is readable
  suggest();
  select($("tab-points"));
  $("plan").replaceChildren();
  $("views").replaceChildren();
  try {
    const raw = await (await call(`v1/scenes/${scene.id}/points`)).arrayBuffer();
    const count = raw.byteLength / 15;
    view ??= new View3D(document.querySelector("#points canvas"), $("labels"), choose);
    highlight([]);
    view.show(new Float32Array(raw, 0, 3 * count), new Uint8Array(raw, 12 * count), scene.boxes, scene.cameras);
    work();
    document.body.dataset.shown = scene.id;
  } catch (error) {
    if (view) fail(error);
    else $("points").replaceChildren(make("p", { className: "missing", textContent: "This browser draws no 3D (WebGL is off). The plan, and photos with depth, show the same room." }));
    work();
    highlight([]);
  }
  $("question").focus({ preventScroll: true });
}

const percent = (value) => `${Math.round(100 * value)}\u00a0%`;
const scale = ({ kind, source }) => (kind === "metric" ? `Lengths are in metres, by ${source}` : `Lengths are estimates: ${source}`);

function highlight(ids = named) { // named boxes are shown, whatever their score
  named = ids;
  const least = Number($("least").value), shown = new Set(scene.boxes.filter((box) => box.score >= least || ids.includes(box.id)).map((box) => box.id));
  view?.highlight(ids, shown);
  for (const element of document.querySelectorAll("[data-box]")) {
    element.classList.toggle("named", ids.includes(Number(element.dataset.box)));
    element.classList.toggle("doubtful", !shown.has(Number(element.dataset.box)));
  }
  document.querySelector("output[for=least]").textContent = percent(least);
  $("found-title").textContent = shown.size < scene.boxes.length ? `Objects: ${shown.size} of ${scene.boxes.length}` : "Objects";
  const buttons = chips();
  if (!buttons.some((button) => button.tabIndex === 0) && buttons[0]) buttons[0].tabIndex = 0;
}

const chips = () => [...document.querySelectorAll("#objects button:not(.doubtful)")];

function choose(id) {
  const box = scene.boxes.find((other) => other.id === id);
  highlight([id]);
  const [title, text, questions] = $("about").children;
  title.textContent = [box.colour, box.label].filter(Boolean).join(" ");
  text.textContent = `${box.size.map(metres).join(" × ")} (length, width, height); score ${percent(box.score)}`;
  const near = [...scene.boxes].filter((other) => other.label !== box.label).sort((a, b) => distance(a, box) - distance(b, box))[0];
  const wanted = [`What does the ${box.label} stand on?`, `How many ${plural(box.label)} are there?`, `What colour is the ${box.label}?`];
  if (near) wanted.push(`Is the ${box.label} near the ${near.label}?`, `How far is the ${box.label} from the ${near.label}?`);
  questions.replaceChildren(...wanted.map(asking));
  $("about").hidden = false;
}

const distance = (a, b) => Math.hypot(...a.center.map((value, axis) => value - b.center[axis]));
const plural = (label) => label + (/(s|x|ch|sh)$/.test(label) ? "es" : "s");
const asking = (text) => make("button", { type: "button", textContent: text, onclick: () => ask(text) });

function suggest() {
  const labels = [...new Set(scene.boxes.map((box) => box.label))];
  const wanted = ["Describe the room."];
  if (labels[0]) wanted.push(`How many ${plural(labels[0])} are there?`);
  if (labels[1]) wanted.push(`Is the ${labels[0]} near the ${labels[1]}?`);
  wanted.push("Is there a window?");
  $("suggested").replaceChildren(...wanted.map(asking));
}

async function ask(question) {
  const number = ++asked;
  const answer = make("li", { className: "a", textContent: "…" });
  document.querySelector("#chat .hello")?.remove();
  $("chat").append(make("li", { className: "q", textContent: question }), answer);
  const bottom = () => ($("chat").scrollHeight > $("chat").clientHeight ? ($("chat").scrollTop = $("chat").scrollHeight) : answer.scrollIntoView({ block: "nearest" }));
  bottom();
  try {
    const { data: [found] } = await (await call(`v1/scenes/${scene.id}/ask`, { method: "POST", body: JSON.stringify({ question }) })).json();
    const notes = make("small", {}, make("meter", { value: found.confidence, low: 0.5, high: 0.75, optimum: 1, title: "confidence" }), ` ${percent(found.confidence)} certain`);
    if (found.scale) notes.append(found.scale.kind === "metric" ? `; metric by ${found.scale.source}` : "; length estimated, not measured");
    if (found.boxes.length) notes.append("; ", make("button", { type: "button", textContent: found.boxes.length === 1 ? "1 object marked" : `${found.boxes.length} objects marked`, onclick: () => highlight(found.boxes) }));
    answer.replaceChildren(...(found.unsure ? [make("span", { className: "doubt", textContent: "Not sure. Perhaps: " })] : []), make("b", { textContent: found.text }), notes);
    if (number === asked) highlight(found.boxes);
    answer.dataset.done = "yes";
  } catch (error) { answer.replaceChildren(make("span", { className: "doubt", textContent: `No answer: ${error.message}` })); }
  bottom();
}

// tabs ----------------------------------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll("[role=tab]")];

async function select(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  try {
    if (tab.id === "tab-plan" && !$("plan").firstChild) await plan(scene, call, choose);
    if (tab.id === "tab-views" && !$("views").firstChild) await views(scene, call, choose);
    highlight();
  } catch (error) { fail(error); }
}

// events --------------------------------------------------------------------------------------------------------

for (const tab of tabs) {
  tab.onclick = () => select(tab);
  tab.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    next.focus();
    select(next);
  };
}
$("photos").onchange = () => upload($("photos").files);
for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => (event.preventDefault(), $("drop").classList.add("over")));
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => (event.preventDefault(), upload(event.dataTransfer.files)));
for (const kind of ["focus", "blur"]) window.addEventListener(kind, () => $("drop").classList.remove("over"));
$("example").onclick = async () => {
  try {
    const photos = [1, 2, 3, 4].map(async (number) => new File([await (await call(`example/${number}.jpg`)).blob()], `${number}.jpg`, { type: "image/jpeg" }));
    upload(await Promise.all(photos));
  } catch (error) { fail(error); }
};
$("least").oninput = () => highlight();
$("objects").onkeydown = (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], buttons = chips();
  if (!step || !buttons.length) return;
  event.preventDefault();
  const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
  for (const button of document.querySelectorAll("#objects button")) button.tabIndex = button === next ? 0 : -1;
  next.focus();
};
$("ask").onsubmit = (event) => {
  event.preventDefault();
  if ($("question").value.trim()) ask($("question").value.trim());
  $("question").value = "";
};
$("key-form").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value);
  $("key-form").hidden = true;
  fail();
  start();
};
$("another").onclick = () => {
  $("scene").hidden = $("another").hidden = $("skip").hidden = true;
  fail();
  $("start").hidden = false;
  $("photos").value = location.hash = "";
  $("photos").focus();
};
$("delete").onclick = async () => {
  if (!confirm("Delete these photos from the server?")) return;
  try { await call(`v1/scenes/${scene.id}`, { method: "DELETE" }); $("another").click(); } catch (error) { fail(error); }
};
for (const button of document.querySelectorAll("[data-format]"))
  button.onclick = async () => {
    try {
      const blob = await (await call(`v1/scenes/${scene.id}/file?format=${button.dataset.format}`)).blob();
      make("a", { href: URL.createObjectURL(blob), download: `room.${button.dataset.format}` }).click();
    } catch (error) { fail(error); }
  };

async function start() {
  try {
    const found = await (await call("v1/models")).json();
    limits = found.limits;
    $("model").textContent = found.data[0].id;
    $("views-used").textContent = limits.views === 1 ? "one" : `up to ${limits.views}`;
    const id = location.hash.slice(1);
    if (id.startsWith("scene-")) show(await (await call(`v1/scenes/${id}`)).json());
  } catch (error) { fail(error); }
}
start();
