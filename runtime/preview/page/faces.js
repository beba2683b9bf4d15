// The strip: each face as the camera saw it and as it came out, with its id and its size there.

import { isFollowed, keyOf, lookAt } from "./stage.js";

const list = document.querySelector("#faces");
const WHY_LEFT = {
  "left: large enough already": "large enough",
  "left: too small for any model": "too small",
  "left: unreliable landmarks": "seen badly",
  "left: not chosen": "not chosen",
};

export function showFaces({ faces, count, tile }, strip) {
  document.querySelector("#face-count").textContent = count > faces.length ? `the first ${faces.length} of ${count}` : "";
  while (list.children.length > faces.length) list.lastChild.remove();
  while (list.children.length < faces.length) list.append(newCard(tile));
  faces.forEach((face, index) => fill(list.children[index].firstChild, face, index, tile, strip));
}

document.querySelector("#picture").addEventListener("look", () => {
  for (const { firstChild: card } of list.children) card.setAttribute("aria-pressed", isFollowed(card.face));
});

function newCard(tile) {
  const item = document.createElement("li"), card = document.createElement("button");
  const canvas = document.createElement("canvas"), line = document.createElement("p");
  Object.assign(canvas, { width: 2 * tile, height: tile });
  line.append(document.createElement("b"), document.createElement("span"));
  card.append(canvas, line);
  card.addEventListener("click", () => lookAt(isFollowed(card.face) ? null : card.face));
  item.append(card);
  return item;
}

function fill(card, face, index, tile, strip) {
  const { id, size, restored, note } = face;
  const context = card.firstChild.getContext("2d"), [name, pixels] = card.lastChild.children;
  for (const row of [0, 1])
    context.drawImage(strip, index * tile, row * tile, tile, tile, row * tile, 0, tile, tile);
  name.textContent = id === null ? `Face ${index + 1}` : `#${id}`;
  pixels.textContent = [...(size ? [`${size} px`] : []), ...(restored ? [] : [WHY_LEFT[note] ?? note])].join(" · ");
  card.face = keyOf(face, index);
  card.className = restored ? "" : "left";
  card.setAttribute("aria-pressed", isFollowed(card.face));
  card.title = `${note}; click to look closer`;
}
