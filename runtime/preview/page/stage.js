// The picture: before and after above each other, cut where the slider stands; boxes over both; closer on one face.

const picture = document.querySelector("#picture"), slider = document.querySelector("#slider");
const before = document.querySelector("#before").getContext("bitmaprenderer");
const after = document.querySelector("#after").getContext("bitmaprenderer");
const boxes = document.querySelector("#boxes");
const SVG = "http://www.w3.org/2000/svg";

let cut = 50;

export function moveTo(percent) {
  cut = Math.min(100, Math.max(0, percent));
  picture.style.setProperty("--cut", `${cut}%`);
  slider.setAttribute("aria-valuenow", Math.round(cut));
  slider.setAttribute("aria-valuetext", `${Math.round(100 - cut)}% restored`);
  document.querySelector("#tag-before").hidden = cut < 12;
  document.querySelector("#tag-after").hidden = cut > 88;
}

export function show(header, beforeBitmap, afterBitmap) {
  const [width, height] = header.size;
  picture.style.setProperty("--ratio", width / height);
  for (const [context, bitmap] of [[before, beforeBitmap], [after, afterBitmap]]) {
    if (context.canvas.width !== bitmap.width || context.canvas.height !== bitmap.height)
      Object.assign(context.canvas, { width: bitmap.width, height: bitmap.height });
    context.transferFromImageBitmap(bitmap);
  }
  last = header;
  follow(header);
  drawBoxes(header);
}

let last = null;
let zoom = 1;
let followed = null; // the id of a face, or its place in the strip where there are no ids
let lost = null; // the timer that ends it, while the followed face is not in the picture

const RETURN_AFTER = 2000; // ms: a face that was lost for a moment keeps its id, one behind a cut does not

/** Fill the picture with a face and stay with it; null: the whole picture. */
export function lookAt(key) {
  followed = key;
  found();
  document.querySelector("#whole").hidden = key === null;
  picture.classList.toggle("zoomed", key !== null);
  zoom = 1;
  picture.style.removeProperty("--zoom");
  if (last) {
    follow(last);
    drawBoxes(last);
  }
  picture.dispatchEvent(new Event("look"));
}

export const isFollowed = (key) => key === followed;
export const isLost = () => lost !== null;
export const keyOf = (face, index) => face.id ?? `place ${index}`;

function follow({ faces, size: [width, height] }) {
  if (followed === null) return;
  const face = faces.find((one, index) => isFollowed(keyOf(one, index)));
  if (!face) {
    lost ??= setTimeout(() => lookAt(null), RETURN_AFTER); // until then the view stays where it was
    return;
  }
  found();
  const [left, top, right, bottom] = face.box;
  zoom = Math.max(1, Math.min((0.6 * width) / (right - left), (0.6 * height) / (bottom - top)));
  const [x, y] = [shift((left + right) / 2, width, picture.clientWidth), shift((top + bottom) / 2, height, picture.clientHeight)];
  picture.style.setProperty("--zoom", `translate(${x}%, ${y}%) scale(${zoom})`);
}

// In percent of the picture. Browsers paint a canvas in whole pixels of the screen, up to one less than its place asks
// for, which the zoom enlarges to a dark strip: the view stays that far from the picture's edge.
function shift(middle, side, pixels) {
  const margin = (zoom - 1) / pixels;
  return Math.min(-margin, Math.max(1 - zoom + margin, 0.5 - (zoom * (middle + 0.5)) / side)) * 100;
}

function found() {
  clearTimeout(lost);
  lost = null;
}

/** Draw the boxes of the last picture, or take them away. */
export function showBoxes(on) {
  boxes.dataset.on = on ? "yes" : "";
  if (last) drawBoxes(last);
}

function drawBoxes({ faces, size: [width, height] }) {
  boxes.setAttribute("viewBox", `-0.5 -0.5 ${width} ${height}`); // pixel centres are at integers
  boxes.replaceChildren(...(boxes.dataset.on ? faces.flatMap((face) => boxOf(face, width / zoom)) : []));
}

// Lines and letters are as thick on the screen whatever the zoom: `width` is that of the part of the source in view.
function boxOf({ id, size, restored, box: [left, top, right, bottom] }, width) {
  const rect = document.createElementNS(SVG, "rect"), text = document.createElementNS(SVG, "text");
  const place = { x: left, y: top, width: right - left, height: bottom - top, rx: width / 200, "stroke-width": width / 450 };
  for (const [name, value] of Object.entries(place)) rect.setAttribute(name, value);
  if (!restored) rect.setAttribute("class", "left");
  const words = { x: left, y: top - width / 120, "font-size": width / 60, "stroke-width": width / 300 };
  for (const [name, value] of Object.entries(words)) text.setAttribute(name, value);
  text.textContent = id === null ? `${size} px` : `#${id} · ${size} px`;
  return [rect, text];
}

function drag(event) {
  const { left, width } = picture.getBoundingClientRect();
  moveTo((100 * (event.clientX - left)) / width);
}

picture.addEventListener("pointerdown", (event) => {
  if (event.target.closest("button")) return;
  picture.setPointerCapture(event.pointerId);
  drag(event);
});
picture.addEventListener("pointermove", (event) => picture.hasPointerCapture(event.pointerId) && drag(event));

const KEYS = { ArrowLeft: -2, ArrowDown: -2, PageDown: -10, ArrowRight: 2, ArrowUp: 2, PageUp: 10, Home: -100, End: 100 };
slider.addEventListener("keydown", (event) => {
  if (!(event.key in KEYS)) return;
  event.preventDefault();
  moveTo(cut + KEYS[event.key]);
});

document.querySelector("#whole").addEventListener("click", () => lookAt(null));
moveTo(50);
