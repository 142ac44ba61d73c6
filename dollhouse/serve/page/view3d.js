// The point cloud with boxes. World: z up, as the server's level frame.
import * as three from "./three.min.js";

const EDGES = [0, 1, 1, 2, 2, 3, 3, 0, 4, 5, 5, 6, 6, 7, 7, 4, 0, 4, 1, 5, 2, 6, 3, 7];

const hues = new Map();
export function hue(label) { // one colour a label, on the page and in 3D; neighbours in the list differ most
  if (!hues.has(label)) hues.set(label, Math.round(20 + 137.5 * hues.size) % 360);
  return `hsl(${hues.get(label)} 75% 50%)`;
}

export class View3D {
  constructor(canvas, labels, choose) {
    Object.assign(this, { canvas, labels, choose, boxes: [], named: new Set(), shown: new Set() });
    this.renderer = new three.WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.camera = new three.PerspectiveCamera(55, 1, 0.02, 200);
    this.camera.up.set(0, 0, 1);
    this.controls = new three.OrbitControls(this.camera, canvas);
    this.controls.addEventListener("change", () => this.draw());
    this.controls.addEventListener("start", () => (this.turning = false)); // touched
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    canvas.addEventListener("keydown", (event) => this.key(event));
    let pressed;
    canvas.addEventListener("pointerdown", (event) => (pressed = [event.clientX, event.clientY]));
    canvas.addEventListener("pointerup", (event) => {
      if (Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 5) this.pick(event);
    });
  }

  show(positions, colours, boxes, cameras) {
    this.scene?.traverse((part) => (part.geometry?.dispose(), part.material?.dispose()));
    this.scene = new three.Scene();
    this.measure(positions);
    const kept = []; // without the ceiling, as a doll's house
    for (let point = 0; point < positions.length / 3; point++) if (positions[3 * point + 2] < this.ceiling) kept.push(point);
    const places = new Float32Array(3 * kept.length), hues = new Uint8Array(3 * kept.length);
    kept.forEach((point, place) => {
      for (let axis = 0; axis < 3; axis++) [places[3 * place + axis], hues[3 * place + axis]] = [positions[3 * point + axis], colours[3 * point + axis]];
    });
    const geometry = new three.BufferGeometry();
    geometry.setAttribute("position", new three.BufferAttribute(places, 3));
    geometry.setAttribute("color", new three.BufferAttribute(hues, 3, true));
    const material = new three.PointsMaterial({ size: this.extent / 80, vertexColors: true });
    material.onBeforeCompile = (shader) => { // colours are sRGB and shown as they are; points are round
      shader.fragmentShader = shader.fragmentShader.replace("#include <colorspace_fragment>", "")
        .replace("void main() {", "void main() {\nif (length(gl_PointCoord - 0.5) > 0.5) discard;");
    };
    this.scene.add(new three.Points(geometry, material));
    this.boxes = boxes.map((box) => this.box(box));
    for (const camera of cameras) this.scene.add(this.frustum(camera));
    this.labels.replaceChildren(...this.boxes.map((entry) => entry.tag));
    this.highlight([...this.named], this.shown);
    this.home();
    this.resize();
    this.turning = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.began = performance.now();
    this.turn();
  }

  turn() { // to and fro, slowly, until it is touched
    if (!this.turning || this.moving || !this.canvas.offsetParent) return;
    this.moving = true;
    requestAnimationFrame((now) => {
      this.moving = false;
      if (!this.turning) return;
      const angle = 0.55 * Math.sin((now - this.began) / 7000), offset = this.start.clone().applyAxisAngle(this.camera.up, angle);
      this.camera.position.copy(this.controls.target).add(offset);
      this.camera.lookAt(this.controls.target);
      this.render();
      this.turn();
    });
  }

  frustum({ level_from_camera: pose, focal_over_width: focal }) { // where a photo was taken
    const corners = [[0, 0, 0], ...[[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([x, y]) => [0.5 * x / focal, 0.375 * y / focal, 1])];
    const at = corners.flatMap((corner) => [0, 1, 2].map((axis) => pose[axis][3] + 0.06 * this.extent * corner.reduce((sum, value, column) => sum + value * pose[axis][column], 0)));
    const geometry = new three.BufferGeometry();
    geometry.setAttribute("position", new three.BufferAttribute(new Float32Array(at), 3));
    geometry.setIndex([0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 2, 3, 3, 4, 4, 1]);
    return new three.LineSegments(geometry, new three.LineBasicMaterial({ color: 0xd9480f }));
  }

  box(box) {
    const [length, width, height] = box.size.map((side) => side / 2);
    const corners = [];
    for (const z of [-height, height])
      for (const [x, y] of [[-length, -width], [length, -width], [length, width], [-length, width]]) corners.push(x, y, z);
    const geometry = new three.BufferGeometry();
    geometry.setAttribute("position", new three.BufferAttribute(new Float32Array(corners), 3));
    geometry.setIndex(EDGES);
    const lines = new three.LineSegments(geometry, new three.LineBasicMaterial({ color: hue(box.label).replaceAll(" ", ","), transparent: true }));
    const solid = new three.Mesh(new three.BoxGeometry(...box.size), new three.MeshBasicMaterial({ color: 0xe8702a, transparent: true, opacity: 0, depthWrite: false }));
    const group = new three.Group();
    group.add(lines, solid);
    group.position.set(...box.center);
    group.rotation.z = box.yaw;
    solid.userData.id = box.id;
    this.scene.add(group);
    const tag = document.createElement("button");
    tag.textContent = box.label;
    tag.className = "off";
    tag.tabIndex = -1; // the list of objects has the same buttons for the keyboard
    tag.style.setProperty("--hue", hue(box.label));
    tag.onclick = () => this.choose(box.id);
    return { id: box.id, score: box.score, lines, solid, tag, top: new three.Vector3(box.center[0], box.center[1], box.center[2] + height) };
  }

  measure(positions) {
    const count = Math.min(4000, positions.length / 3);
    const sides = [0, 1, 2].map((axis) => Float32Array.from({ length: count }, (_, n) => positions[3 * Math.floor((n * positions.length) / 3 / count) + axis]).sort());
    const at = (share) => sides.map((values) => values[Math.floor(share * (count - 1))] ?? 0);
    const low = at(0.03), high = at(0.97);
    this.ceiling = Math.max(0.8, 0.75 * high[2]);
    this.middle = low.map((value, axis) => (value + Math.min(high[axis], axis === 2 ? this.ceiling : Infinity)) / 2);
    this.extent = Math.max(...low.map((value, axis) => high[axis] - value), 0.5);
  }

  home() { // from above and behind the first camera, which looks along y
    this.controls.target.set(...this.middle);
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    this.start = new three.Vector3(-0.3, -0.85, 0.75).multiplyScalar(this.extent * Math.max(1.12, 0.85 * height / (width || 1)));
    this.camera.position.copy(this.controls.target).add(this.start);
    this.controls.update();
    this.draw();
  }

  highlight(ids, shown) {
    [this.named, this.shown] = [new Set(ids), shown];
    for (const { id, score, lines, solid, tag } of this.boxes) {
      const named = this.named.has(id);
      lines.visible = shown.has(id);
      lines.material.opacity = named ? 1 : ids.length ? 0.2 : 0.35 + 0.65 * score;
      solid.material.opacity = named ? 0.4 : 0;
      tag.classList.toggle("named", named);
    }
    this.draw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.draw();
    this.turn();
  }

  draw() {
    if (!this.scene || this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      this.render();
    });
  }

  render() {
    this.renderer.render(this.scene, this.camera);
    this.place();
  }

  place() { // the best labels that do not overlap; named ones first
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const taken = [];
    const order = [...this.boxes].sort((a, b) => this.named.has(b.id) - this.named.has(a.id) || b.score - a.score);
    for (const { id, tag, top } of order) {
      const at = top.clone().project(this.camera);
      const half = 4 * tag.textContent.length + 10, named = this.named.has(id);
      let x = ((at.x + 1) / 2) * width, y = ((1 - at.y) / 2) * height;
      if (named) [x, y] = [Math.min(Math.max(x, half + 1), width - half - 1), Math.min(Math.max(y, 13), height - 29)];
      const free = this.shown.has(id) && Math.abs(at.z) < 1 && x > half && x < width - half && y > 12 && y < height - 28 &&
        taken.every(([otherX, otherY, other]) => Math.abs(x - otherX) > half + other || Math.abs(y - otherY) > 24);
      tag.classList.toggle("off", !free);
      if (!free) continue;
      taken.push([x, y, half]);
      tag.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px) translate(-50%, -50%)`;
    }
  }

  pick(event) {
    const frame = this.canvas.getBoundingClientRect();
    const point = new three.Vector2(((event.clientX - frame.left) / frame.width) * 2 - 1, 1 - ((event.clientY - frame.top) / frame.height) * 2);
    const ray = new three.Raycaster();
    ray.setFromCamera(point, this.camera);
    const hits = ray.intersectObjects(this.boxes.filter((entry) => this.shown.has(entry.id)).map((entry) => entry.solid));
    const smallest = hits.map((hit) => hit.object).sort((a, b) => volume(a) - volume(b))[0];
    if (smallest) this.choose(smallest.userData.id);
  }

  key(event) {
    const offset = this.camera.position.clone().sub(this.controls.target);
    const turn = { ArrowLeft: 0.12, ArrowRight: -0.12 }[event.key], lift = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
    const zoom = { "+": 0.88, "=": 0.88, "-": 1.14 }[event.key];
    if (event.key === "0") this.home();
    else if (turn) offset.applyAxisAngle(this.camera.up, turn);
    else if (lift) offset.setZ(offset.z + lift * offset.length());
    else if (zoom) offset.multiplyScalar(zoom);
    else return;
    event.preventDefault();
    this.turning = false;
    if (event.key === "0") return;
    this.camera.position.copy(this.controls.target).add(offset);
    this.controls.update();
    this.draw();
  }
}

function volume(mesh) {
  const { width, height, depth } = mesh.geometry.parameters;
  return width * height * depth;
}
