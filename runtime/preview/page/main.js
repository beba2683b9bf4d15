// Wires the page together.

import { showFaces } from "./faces.js";
import { count, set, showFates, showState, toast } from "./panel.js";
import * as stage from "./stage.js";
import { Stream } from "./stream.js";

const at = (id) => document.getElementById(id);
const PHONE = matchMedia("(max-width: 900px)");
let trouble = null, complaint = null, seen = false, paused = false;

const stream = new Stream({
  picture(header, before, after, strip) {
    seen = true;
    count();
    stage.show(header, before, after);
    showFaces(header, strip);
    showFates(header);
    notice();
  },
  state(state) {
    paused = state.setting.paused;
    complaint = state.complaint;
    showState(state);
    status();
  },
  trouble(sentence) {
    [trouble, complaint] = [sentence, null];
    status();
  },
  fallback(address) {
    if (at("fallback").hidden) Object.assign(at("fallback"), { src: address, hidden: false });
    at("picture").hidden = true;
    trouble = null;
    seen = true;
    at("no-faces").textContent = "Faces and the slider need WebSockets, which something between here and fsr-run blocks.";
  },
});

function status() {
  const wrong = trouble ?? complaint;
  const [kind, text] = wrong ? ["trouble", trouble ? "disconnected" : "no frames"]
    : paused ? ["paused", "paused"] : seen ? ["live", "live"] : ["wait", "waiting"];
  Object.assign(at("status"), { textContent: text }).dataset.kind = kind;
  at("stage").classList.toggle("stale", Boolean(wrong) && seen);
  notice();
}

function notice() {
  const lost = stage.isLost() ? "The face left the picture" : "";
  at("notice").textContent = trouble ?? complaint ?? (seen ? lost : "Waiting for the first frame");
}

function togglePause() {
  const wanted = at("pause").getAttribute("aria-pressed") !== "true";
  at("pause").setAttribute("aria-pressed", wanted);
  set({ paused: wanted });
}

function toggleBoxes() {
  const on = at("show-boxes").getAttribute("aria-pressed") !== "true";
  at("show-boxes").setAttribute("aria-pressed", on);
  stage.showBoxes(on);
}

function toggleFullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else at("stage").requestFullscreen().catch(() => toast("This browser cannot fill the screen."));
}

addEventListener("hashchange", () => location.reload()); // the token of a run that was started anew, for the form
at("picture").addEventListener("look", notice);
at("pause").addEventListener("click", togglePause);
at("show-boxes").addEventListener("click", toggleBoxes);
at("fullscreen").addEventListener("click", toggleFullscreen);
at("fullscreen").hidden = !document.fullscreenEnabled;
at("quality").addEventListener("change", ({ target }) => (stream.quality = target.value));

const KEYS = { " ": togglePause, s: () => at("snapshot").click(), b: toggleBoxes, f: toggleFullscreen, Escape: () => stage.lookAt(null) };
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("button, a, select, input, summary");
  if ((typing && event.key !== "Escape") || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

if (location.hash) history.replaceState(null, "", location.pathname); // a token that was not needed
if (PHONE.matches) at("quality").value = "small";
stream.quality = at("quality").value;
stream.open();
