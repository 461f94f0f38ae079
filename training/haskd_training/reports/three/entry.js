// What report.html uses of three.js; `make three` bundles it into three.min.js.
export {
  BufferAttribute,
  BufferGeometry,
  PerspectiveCamera,
  Points,
  REVISION,
  Scene,
  ShaderMaterial,
  WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
