// Pictures of a room beside the 3D view: the plan, and photos with boxes and depth.
import { hue } from "./view3d.js";

const RAMP = [[253, 231, 37], [94, 201, 98], [33, 145, 140], [59, 82, 139], [68, 1, 84]];
const EDGES = [0, 1, 1, 2, 2, 3, 3, 0, 4, 5, 5, 6, 6, 7, 7, 4, 0, 4, 1, 5, 2, 6, 3, 7];

export const metres = (value) => `${value.toFixed(2)} m`;
export const make = (tag, fields = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
};

export async function plan(scene, call, choose) {
  const text = await (await call(`v1/scenes/${scene.id}/plan`)).text();
  const picture = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  for (const box of picture.querySelectorAll("g.box")) {
    box.style.setProperty("--hue", hue(box.dataset.label));
    box.onclick = () => choose(Number(box.dataset.box));
  }
  document.getElementById("plan").replaceChildren(picture);
}

export async function views(scene, call, choose) {
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
    const image = make("img", { src: URL.createObjectURL(photo), alt: `photo ${number + 1}: ${name}` });
    return make("figure", {}, make("div", {}, image, boxesOn(scene, number, map, choose)), canvas, caption);
  }));
  document.getElementById("views").replaceChildren(make("div", { className: "ramp" }, metres(near), make("i"), `${metres(far)}, predicted depth`), ...figures);
}

function boxesOn(scene, number, map, choose) { // the boxes whose middle is on a surface that this photo shows
  const [width, height] = scene.view_size, camera = scene.cameras[number], pose = camera.level_from_camera;
  const pixel = (point) => {
    const offset = point.map((value, axis) => value - pose[axis][3]);
    const [x, y, z] = [0, 1, 2].map((column) => offset.reduce((sum, value, axis) => sum + value * pose[axis][column], 0));
    return [(camera.focal_over_width * x / z) * width + width / 2, (camera.focal_over_width * y / z) * width + height / 2, z];
  };
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}` }), taken = [];
  for (const box of scene.boxes) {
    const ends = corners(box).map((corner) => pixel(corner.map((value, axis) => value + box.center[axis])));
    const [x, y, z] = pixel(box.center);
    const depth = map[Math.floor(y) * width + Math.floor(x)];
    if (!(x > 0 && x < width && y > 0 && y < height) || ends.some((end) => end[2] < 0.1) || !(Math.abs(depth - z) < 0.4 + Math.max(...box.size) / 2)) continue;
    const place = (end) => ends[end].slice(0, 2).map((value) => value.toFixed(1)).join(" ");
    const lines = EDGES.map((end, step) => (step % 2 ? "L" : "M") + place(end)).join("");
    const half = 2 * box.label.length + 3, top = Math.max(7, Math.min(...ends.map((end) => end[1])) - 2), middle = Math.min(Math.max(x, half), width - half);
    const free = taken.every(([otherX, otherY, other]) => Math.abs(middle - otherX) > half + other || Math.abs(top - otherY) > 8); // the best labels that do not overlap
    if (free) taken.push([middle, top, half]);
    const group = drawn("g", { "data-box": box.id }, drawn("path", { d: lines }), ...(free ? [drawn("text", { x: middle, y: top }, box.label)] : []));
    group.style.setProperty("--hue", hue(box.label));
    group.onclick = () => choose(box.id);
    picture.prepend(group);
  }
  return picture;
}

function drawn(tag, fields, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(fields)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function corners(box) {
  const [length, width, height] = box.size.map((side) => side / 2), cos = Math.cos(box.yaw), sin = Math.sin(box.yaw), found = [];
  for (const z of [-height, height])
    for (const [x, y] of [[-length, -width], [length, -width], [length, width], [-length, width]]) found.push([cos * x - sin * y, sin * x + cos * y, z]);
  return found;
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
