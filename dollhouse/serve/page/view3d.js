// The point cloud with boxes. World: z up, as the server's level frame.
import * as three from "./three.min.js";

const EDGES = [0, 1, 1, 2, 2, 3, 3, 0, 4, 5, 5, 6, 6, 7, 7, 4, 0, 4, 1, 5, 2, 6, 3, 7];

export function hue(label) { // one colour a label, on the page and in 3D
  let code = 7;
  for (const letter of label) code = (code * 31 + letter.codePointAt(0)) % 360;
  return `hsl(${code} 75% 50%)`;
}

export class View3D {
  constructor(canvas, labels, choose) {
    Object.assign(this, { canvas, labels, choose, boxes: [], named: new Set() });
    this.renderer = new three.WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.camera = new three.PerspectiveCamera(55, 1, 0.02, 200);
    this.camera.up.set(0, 0, 1);
    this.controls = new three.OrbitControls(this.camera, canvas);
    this.controls.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    canvas.addEventListener("keydown", (event) => this.key(event));
    let pressed;
    canvas.addEventListener("pointerdown", (event) => (pressed = [event.clientX, event.clientY]));
    canvas.addEventListener("pointerup", (event) => {
      if (Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 5) this.pick(event);
    });
  }

  show(positions, colours, boxes, cameras) {
    this.scene = new three.Scene();
    const geometry = new three.BufferGeometry();
    geometry.setAttribute("position", new three.BufferAttribute(positions, 3));
    geometry.setAttribute("color", new three.BufferAttribute(colours, 3, true));
    this.material = new three.PointsMaterial({ size: 0.03, vertexColors: true });
    this.material.onBeforeCompile = (shader) => { // colours are sRGB and shown as they are
      shader.fragmentShader = shader.fragmentShader.replace("#include <colorspace_fragment>", "");
    };
    this.scene.add(new three.Points(geometry, this.material));
    this.boxes = boxes.map((box) => this.box(box));
    this.cameras = cameras.map((camera) => camera.level_from_camera);
    this.labels.replaceChildren(...this.boxes.map((entry) => entry.tag));
    this.highlight([]);
    this.home(positions);
    this.resize();
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
    tag.tabIndex = -1; // the list of objects has the same buttons for the keyboard
    tag.style.setProperty("--hue", hue(box.label));
    tag.onclick = () => this.choose(box.id);
    return { id: box.id, score: box.score, lines, solid, tag, top: new three.Vector3(box.center[0], box.center[1], box.center[2] + height) };
  }

  home(positions) {
    if (positions) {
      const depths = [0, 1, 2].map((axis) => Float32Array.from({ length: 4000 }, (_, n) => positions[3 * Math.floor((n * positions.length) / 12000) + axis]).sort());
      this.middle = depths.map((values) => values[2000]);
      this.extent = Math.max(...depths.map((values) => values[3800] - values[200]), 0.5);
    }
    this.controls.target.set(this.middle[0], this.middle[1], this.middle[2] - 0.08 * this.extent);
    this.material.size = this.extent / 75;
    const back = this.extent * (this.canvas.clientWidth < 500 ? 0.62 : 0.5);
    this.camera.position.set(-0.35 * back, -0.45 * back, 0.6 * back); // above and behind the first camera
    this.controls.update();
    this.draw();
  }

  highlight(ids) {
    this.named = new Set(ids);
    for (const { id, score, lines, solid, tag } of this.boxes) {
      lines.material.opacity = this.named.has(id) ? 1 : ids.length ? 0.15 : score;
      solid.material.opacity = this.named.has(id) ? 0.35 : 0;
      tag.classList.toggle("named", this.named.has(id));
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
  }

  draw() {
    if (!this.scene || this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      this.renderer.render(this.scene, this.camera);
      this.place();
    });
  }

  place() { // the best labels that do not overlap; named ones first
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const taken = [];
    const order = [...this.boxes].sort((a, b) => this.named.has(b.id) - this.named.has(a.id) || b.score - a.score);
    for (const { tag, top } of order) {
      const at = top.clone().project(this.camera);
      const x = ((at.x + 1) / 2) * width, y = ((1 - at.y) / 2) * height, half = 4 * tag.textContent.length + 8;
      const free = Math.abs(at.z) < 1 && x > half && x < width - half && y > 10 && y < height - 26 &&
        taken.every(([otherX, otherY, other]) => Math.abs(x - otherX) > half + other || Math.abs(y - otherY) > 22);
      tag.hidden = !free;
      if (!free) continue;
      taken.push([x, y, half]);
      tag.style.left = `${x}px`;
      tag.style.top = `${y}px`;
    }
  }

  pick(event) {
    const frame = this.canvas.getBoundingClientRect();
    const point = new three.Vector2(((event.clientX - frame.left) / frame.width) * 2 - 1, 1 - ((event.clientY - frame.top) / frame.height) * 2);
    const ray = new three.Raycaster();
    ray.setFromCamera(point, this.camera);
    const hits = ray.intersectObjects(this.boxes.map((entry) => entry.solid));
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
