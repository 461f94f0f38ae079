// Draws each sweep of the page, see reports/sweep_view.py. The colours are those of the data, to the
// bit: nothing is lit, blended or smoothed.
"use strict";

const HOME = { position: [-16, 0, 11], target: [8, 0, 0] }; // behind the sensor, above it, ahead
const BACKGROUND = 0x101418;

const VERTEX = `
  attribute vec3 tint;
  uniform float height;
  varying vec3 shown;
  void main() {
    shown = tint;
    vec4 seen = modelViewMatrix * vec4(position, 1.0);
    gl_Position = projectionMatrix * seen;
    gl_PointSize = clamp(0.1 * height / -seen.z, 2.0, 9.0); // of about 10 cm, never lost
  }`;
const FRAGMENT = `
  varying vec3 shown;
  void main() {
    if (length(gl_PointCoord - 0.5) > 0.5) discard;
    gl_FragColor = vec4(shown, 1.0);
  }`;

function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function show(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const canvas = figure.querySelector("canvas");
  const frame = canvas.parentElement;
  const legend = figure.querySelector(".legend");
  const buttons = [...figure.querySelectorAll("button[data-coloring]")];
  let renderer;
  try {
    renderer = new THREE.WebGLRenderer({ canvas, antialias: false });
  } catch {
    figure.classList.add("flat");
    return;
  }
  renderer.setClearColor(BACKGROUND);
  renderer.setPixelRatio(window.devicePixelRatio);

  const tints = new Uint8Array(3 * data.points);
  const tint = new THREE.BufferAttribute(tints, 3, true);
  const geometry = new THREE.BufferGeometry();
  const places = new Int16Array(bytes(data.positions).buffer);
  geometry.setAttribute("position", new THREE.BufferAttribute(places, 3));
  geometry.setAttribute("tint", tint);
  const material = new THREE.ShaderMaterial({
    vertexShader: VERTEX,
    fragmentShader: FRAGMENT,
    uniforms: { height: { value: 1 } },
    toneMapped: false,
  });
  const cloud = new THREE.Points(geometry, material);
  cloud.scale.setScalar(data.metres);
  cloud.frustumCulled = false;
  const scene = new THREE.Scene();
  scene.add(cloud);

  const camera = new THREE.PerspectiveCamera(50, 1, 0.5, 1000);
  camera.up.set(0, 0, 1);
  const controls = new THREE.OrbitControls(camera, canvas);
  controls.zoomToCursor = true;
  // The wheel scrolls the page, until the picture has been clicked.
  controls.enableZoom = false;
  canvas.addEventListener("focus", () => (controls.enableZoom = true));
  canvas.addEventListener("blur", () => (controls.enableZoom = false));
  canvas.addEventListener("pointerdown", () => canvas.focus({ preventScroll: true }));

  let due = false;
  function draw() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      renderer.render(scene, camera);
    });
  }
  function home() {
    camera.position.set(...HOME.position);
    controls.target.set(...HOME.target);
    controls.update();
    draw();
  }
  function resize() {
    // Whole pixels: a canvas of any other size is drawn blurred.
    const width = Math.floor(frame.getBoundingClientRect().width);
    const height = Math.min(Math.floor(0.7 * window.innerHeight), 560);
    if (!width || !height) return;
    renderer.setSize(width, height);
    material.uniforms.height.value = canvas.height;
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    draw();
  }
  function color(number) {
    const { palette, entries } = data.colorings[number];
    const entry = bytes(entries);
    for (let point = 0; point < data.points; point++) {
      tints.set(palette[entry[point]].color, 3 * point);
    }
    tint.needsUpdate = true;
    buttons.forEach((button, n) => button.setAttribute("aria-pressed", String(n === number)));
    legend.replaceChildren(
      ...palette.map(({ name, color: [red, green, blue] }) => {
        const item = document.createElement("li");
        const chip = document.createElement("span");
        chip.style.background = `rgb(${red} ${green} ${blue})`;
        item.append(chip, name);
        return item;
      }),
    );
    draw();
  }

  controls.addEventListener("change", draw);
  new ResizeObserver(resize).observe(frame);
  buttons.forEach((button, number) => button.addEventListener("click", () => color(number)));
  figure.querySelector("button[data-home]").addEventListener("click", home);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const number = Number.parseInt(event.key, 10) - 1;
    if (number in buttons) color(number);
    if (event.key === "r") home();
  });
  resize();
  home();
  color(0);
}

document.querySelectorAll("figure.sweep").forEach(show);
