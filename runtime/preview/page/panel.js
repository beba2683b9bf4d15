// Figures and controls.

const at = (id) => document.getElementById(id);
const MINUTE = 120; // states, two a second
const history = [];
let shown = 0, shownSince = performance.now(), shownRate = null;
let busy = false; // while a viewer drags, the server's setting does not move the knob

export function count() {
  shown += 1;
}

export function showState(state) {
  measureShown();
  at("source").textContent = state.source;
  number("fps", state.fps.toFixed(1));
  at("shown").textContent = shownRate === null ? "" : `${shownRate.toFixed(1)} shown here`;
  const [median, late] = state.latency_ms;
  number("latency", median === null ? "–" : Math.round(median), median === null ? "" : "ms");
  at("latency-95").textContent = latencyNote(late, state.screen_ms);
  if (at("picture").hidden) number("face-number", state.faces); // else the picture on the screen tells: showFates
  number("dropped", state.dropped);
  at("frames").textContent = `of ${(state.frames + state.dropped).toLocaleString("en")} frames`;
  at("effort").textContent = state.effort && `To keep up, ${state.effort}.`;
  at("link").textContent = [
    `${state.viewers} watching`,
    ...(state.reconnects ? [`source found again ${state.reconnects === 1 ? "once" : `${state.reconnects} times`}`] : []),
  ].join(" · ");
  showAbout(state.about);
  showSetting(state.setting, state.scales);
  remember(state.fps);
}

/** How many faces the picture on the screen has; of them the strip may show fewer. */
export function showFates({ count, restored }) {
  const left = count - restored;
  number("face-number", count);
  at("face-fates").textContent = count ? `${restored} restored${left ? `, ${left} left` : ""}` : "";
}

function number(id, text, unit = "") {
  at(id).textContent = text;
  if (unit) at(id).append(Object.assign(document.createElement("small"), { textContent: ` ${unit}` }));
}

function latencyNote(late, screen) {
  const parts = late === null ? [] : [`95% within ${Math.round(late)} ms`];
  if (screen !== undefined) parts.push(`${screen} ms to this screen`);
  return parts.join(", ");
}

function measureShown() {
  const now = performance.now(), seconds = (now - shownSince) / 1000;
  if (seconds < 0.9) return;
  shownRate = shown / seconds;
  [shown, shownSince] = [0, now];
}

function showAbout(about) {
  if (at("about").textContent === about) return;
  at("about").textContent = about;
  const short = about.replace(/\s*\([^)]*\)/g, "").split(/,\s*/).filter(Boolean);
  at("chips").replaceChildren(...short.map((part) => Object.assign(document.createElement("span"), { textContent: part })));
}

function showSetting({ paused, strength, scale }, scales) {
  at("pause").setAttribute("aria-pressed", paused);
  at("pause").lastElementChild.textContent = paused ? "Resume" : "Pause";
  if (!busy) showStrength(Math.round(100 * strength));
  const row = at("scale").querySelector("div");
  if (row.children.length !== scales.length) row.replaceChildren(...scales.map(scaleChoice));
  for (const input of row.querySelectorAll("input")) input.checked = Number(input.value) === scale;
  at("scale-hint").textContent = scales.length > 1 ? "" : "Fixed while a video is written or a window is open.";
}

function showStrength(percent) {
  at("strength").value = percent;
  at("strength-value").textContent = `${percent}%`;
}

function scaleChoice(scale) {
  const label = document.createElement("label"), input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "scale", value: scale });
  input.addEventListener("change", () => set({ scale }));
  label.append(input, `×${scale}`);
  return label;
}

function remember(fps) {
  history.push(fps);
  if (history.length > MINUTE) history.shift();
  const canvas = at("history"), context = canvas.getContext("2d"), { width, height } = canvas;
  const top = Math.max(10, ...history) * 1.15, step = width / (MINUTE - 1), first = MINUTE - history.length;
  context.clearRect(0, 0, width, height);
  context.beginPath();
  history.forEach((value, index) => context.lineTo((first + index) * step, height - 3 - (value / top) * (height - 6)));
  Object.assign(context, { strokeStyle: "#5eead4", lineWidth: 3, lineJoin: "round" });
  context.stroke();
  context.lineTo(width, height);
  context.lineTo(first * step, height);
  context.fillStyle = "#5eead422";
  context.fill();
}

let waiting = null, sending = false;

/** Change the setting; of many changes at once the last counts. */
export async function set(change) {
  waiting = { ...waiting, ...change };
  if (sending) return;
  sending = true;
  while (waiting) {
    const body = JSON.stringify(waiting);
    waiting = null;
    try {
      const answer = await fetch("controls", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (!answer.ok) toast((await answer.json()).error);
    } catch {
      toast("No answer: the change was not made.");
    }
  }
  sending = false;
}

let hide;
export function toast(sentence) {
  at("toast").textContent = sentence;
  at("toast").classList.add("visible");
  clearTimeout(hide);
  hide = setTimeout(() => at("toast").classList.remove("visible"), 4000);
}

at("strength").addEventListener("input", ({ target }) => {
  busy = true;
  showStrength(Number(target.value));
  set({ strength: Number(target.value) / 100 });
});
at("strength").addEventListener("change", () => setTimeout(() => (busy = false), 700));
