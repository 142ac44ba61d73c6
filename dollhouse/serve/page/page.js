import { View3D, hue } from "./view3d.js";

const $ = (id) => document.getElementById(id);
const make = (tag, fields = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
};
let scene, view, asked = 0, named = [];

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
  request.onerror = () => fail("the server cannot be reached");
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
  $("scene").hidden = $("another").hidden = false;
  $("about").hidden = true;
  $("chat").replaceChildren();
  $("scale").textContent = scale(scene.scale) + `. ${scene.views.length === 1 ? "1 photo is" : `${scene.views.length} photos are`} used.`;
  $("notices").hidden = !scene.notices.length;
  $("notices").firstChild.textContent = scene.notices.length === 1 ? "1 note on these photos" : `${scene.notices.length} notes on these photos`;
  $("notices").lastChild.replaceChildren(...scene.notices.map((text) => make("li", { textContent: text })));
  $("objects").replaceChildren(...scene.boxes.map((box) => {
    const button = make("button", { onclick: () => choose(box.id) }, box.label, " ", make("small", { textContent: percent(box.score) }));
    button.dataset.box = box.id;
    return make("li", {}, button);
  }));
  if (!scene.boxes.length) $("objects").append(make("p", { textContent: "No object was found with enough certainty." }));
  suggest();
  select($("tab-points"));
  $("plan").replaceChildren();
  $("views").replaceChildren();
  try {
    const raw = await (await call(`v1/scenes/${scene.id}/points`)).arrayBuffer();
    const count = raw.byteLength / 15;
    view ??= new View3D(document.querySelector("#points canvas"), $("labels"), choose);
    view.show(new Float32Array(raw, 0, 3 * count), new Uint8Array(raw, 12 * count), scene.boxes, scene.cameras);
    work();
    document.body.dataset.shown = scene.id;
  } catch (error) { fail(error); }
  $("question").focus({ preventScroll: true });
}

const percent = (value) => `${Math.round(100 * value)}\u00a0%`;
const scale = ({ kind, source }) => (kind === "metric" ? `Lengths are in metres, by ${source}` : `Lengths are estimates: ${source}`);
const metres = (value) => `${value.toFixed(2)} m`;

function highlight(ids = named) {
  named = ids;
  view?.highlight(ids);
  for (const element of document.querySelectorAll("[data-box]")) element.classList.toggle("named", ids.includes(Number(element.dataset.box)));
}

function choose(id) {
  const box = scene.boxes.find((other) => other.id === id);
  highlight([id]);
  const [title, text, questions] = $("about").children;
  title.textContent = [box.colour, box.label].filter(Boolean).join(" ");
  text.textContent = `${box.size.map(metres).join(" × ")} (length, width, height); score ${percent(box.score)}`;
  const labels = new Set(scene.boxes.map((other) => other.label));
  const near = [...scene.boxes].filter((other) => other.label !== box.label).sort((a, b) => distance(a, box) - distance(b, box))[0];
  const wanted = [`What does the ${box.label} stand on?`, `How many ${plural(box.label)} are there?`, `What colour is the ${box.label}?`];
  if (near) wanted.push(`Is the ${box.label} near the ${near.label}?`, `How far is the ${box.label} from the ${near.label}?`);
  questions.replaceChildren(...wanted.map(asking));
  $("about").hidden = !labels.size;
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
  $("chat").append(make("li", { className: "q", textContent: question }), answer);
  const bottom = () => ($("chat").scrollTop = $("chat").scrollHeight);
  bottom();
  try {
    const { data: [found] } = await (await call(`v1/scenes/${scene.id}/ask`, { method: "POST", body: JSON.stringify({ question }) })).json();
    const notes = make("small", {}, make("meter", { value: found.confidence, low: 0.5, high: 0.75, optimum: 1, title: "confidence" }), ` ${percent(found.confidence)} confident`);
    if (found.scale) notes.append(found.scale.kind === "metric" ? `; metric by ${found.scale.source}` : "; length estimated, not measured");
    if (found.boxes.length) notes.append(`; ${found.boxes.length === 1 ? "1 box" : `${found.boxes.length} boxes`} highlighted`);
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
    if (tab.id === "tab-plan" && !$("plan").firstChild) await plan();
    if (tab.id === "tab-views" && !$("views").firstChild) await views();
  } catch (error) { fail(error); }
}

async function plan() {
  const text = await (await call(`v1/scenes/${scene.id}/plan`)).text();
  $("plan").replaceChildren(new DOMParser().parseFromString(text, "image/svg+xml").documentElement);
  for (const box of document.querySelectorAll("#plan .box")) box.onclick = () => choose(Number(box.dataset.box));
  highlight();
}

const RAMP = [[253, 231, 37], [94, 201, 98], [33, 145, 140], [59, 82, 139], [68, 1, 84]];

async function views() {
  const [width, height] = scene.view_size;
  const raw = new Uint16Array(await (await call(`v1/scenes/${scene.id}/depth?format=raw`)).arrayBuffer());
  const depth = Float32Array.from(raw, half);
  const sorted = Float32Array.from({ length: 5000 }, (_, n) => depth[Math.floor((n * depth.length) / 5000)]).sort();
  const near = sorted[100], far = sorted[4900];
  const figures = await Promise.all(scene.views.map(async (name, number) => {
    const photo = await (await call(`v1/scenes/${scene.id}/photo?view=${number + 1}`)).blob();
    const canvas = make("canvas", { width, height, role: "img", ariaLabel: `depth of photo ${number + 1}` });
    const map = depth.subarray(number * width * height, (number + 1) * width * height);
    paint(canvas, map, near, far);
    const caption = make("figcaption", { textContent: `${number + 1}: ${name}` });
    canvas.onpointermove = (event) => {
      const column = Math.floor((event.offsetX / canvas.clientWidth) * width), row = Math.floor((event.offsetY / canvas.clientHeight) * height);
      caption.textContent = `${number + 1}: ${name}; ${metres(map[row * width + column] ?? 0)} here`;
    };
    return make("figure", {}, make("img", { src: URL.createObjectURL(photo), alt: `photo ${number + 1}: ${name}` }), canvas, caption);
  }));
  $("views").replaceChildren(...figures, make("div", { className: "ramp" }, metres(near), make("i"), `${metres(far)}, predicted depth`));
}

function paint(canvas, map, near, far) {
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  map.forEach((value, place) => {
    const share = Math.min(0.9999, Math.max(0, (value - near) / (far - near || 1))) * 4, low = Math.floor(share);
    for (let channel = 0; channel < 3; channel++)
      image.data[4 * place + channel] = RAMP[low][channel] + (share - low) * (RAMP[low + 1][channel] - RAMP[low][channel]);
    image.data[4 * place + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

function half(bits) { // a 16-bit float; depth is positive
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
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
  $("scene").hidden = $("another").hidden = true;
  $("start").hidden = false;
  $("photos").value = location.hash = "";
  $("chosen").replaceChildren();
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
    const { data: [model] } = await (await call("v1/models")).json();
    $("model").textContent = model.id;
    const id = location.hash.slice(1);
    if (id.startsWith("scene-")) show(await (await call(`v1/scenes/${id}`)).json());
  } catch (error) { fail(error); }
}
start();
