// The stream: packets and states over a WebSocket, opened again when it is lost; MJPEG where WebSockets cannot pass.

const LONGEST_PAUSE = 5000;
const GIVE_UP_AFTER = 3; // attempts that never opened

/** Calls picture(header, before, after, strip) with ImageBitmaps, state(object), and trouble(sentence or null). */
export class Stream {
  #on; #socket = null; #pause = 300; #failed = 0; #opened = false; #last = 0; #held = null; #quality = "medium";

  constructor(on) {
    this.#on = on;
    document.addEventListener("visibilitychange", () => this.#showHeld());
  }

  open() {
    const address = new URL("stream", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.#socket = new WebSocket(address);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#open();
    this.#socket.onmessage = ({ data }) =>
      typeof data === "string" ? this.#on.state(JSON.parse(data)) : this.#decode(data);
    this.#socket.onclose = (event) => this.#closed(event);
  }

  set quality(name) {
    this.#quality = name;
    this.#tell({ quality: name });
  }

  #open() {
    this.#opened = true;
    this.#failed = 0;
    this.#last = 0; // a server that was started anew counts from 1
    this.#pause = 300;
    this.#on.trouble(null);
    this.quality = this.#quality;
  }

  #tell(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  async #decode(data) {
    const socket = this.#socket, length = new DataView(data).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    let from = 4 + length;
    const bitmaps = await Promise.all(header.lengths.map((size) => {
      const bytes = new Uint8Array(data, from, size);
      from += size;
      return size ? createImageBitmap(new Blob([bytes], { type: "image/jpeg" })) : null;
    }));
    if (socket !== this.#socket) return;
    this.#held = { header, bitmaps };
    this.#showHeld();
  }

  // A hidden page shows nothing and says so by its silence: the server then sends it nothing more.
  #showHeld() {
    if (document.hidden || !this.#held) return;
    const { header, bitmaps } = this.#held;
    this.#held = null;
    if (header.number >= this.#last) {
      this.#last = header.number;
      this.#on.picture(header, ...bitmaps);
    }
    this.#tell({ shown: header.number });
  }

  #closed({ code }) {
    this.#failed += !this.#opened;
    this.#opened = false;
    if (this.#failed >= GIVE_UP_AFTER) return this.#fallBack();
    this.#on.trouble(code === 1013 ? "Too many viewers; waiting for a place" : "Connection lost, trying again");
    setTimeout(() => this.open(), this.#pause);
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
  }

  async #fallBack() {
    try {
      const answer = await fetch("state");
      if (answer.status === 401) return location.reload(); // to the token's form
      this.#on.state(await answer.json());
      this.#on.fallback(`stream.mjpg?quality=${this.#quality}`);
      setTimeout(() => this.#fallBack(), 1000);
    } catch {
      this.#on.trouble("fsr-run does not answer, trying again");
      this.#failed = 0;
      setTimeout(() => this.open(), LONGEST_PAUSE);
    }
  }
}
