// Marquee's tag. Fills elements with data-marquee="PLACEMENT": keeps their space, asks when they come near the window, and tells once when
// enough was in view (MRC: half, or 30 % of a large one, for a second in a visible tab). Under Global Privacy Control it stores and sends
// nothing that tells browsers apart.
const base = new URL("..", import.meta.url);
const script = document.querySelector('script[src*="/ads/tag.js"]');
const options = script ? script.dataset : {};
const gpc = navigator.globalPrivacyControl === true;
const shown = new Set();
let waiting = [];
let timer = 0;

function browserId() {
  if (gpc || options.anonymous === "off") return undefined;
  if (options.anonymousId) return options.anonymousId;
  try {
    let id = localStorage.getItem("marquee_id");
    if (!id) {
      id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
      localStorage.setItem("marquee_id", id);
    }
    return id;
  } catch {
    return undefined;
  }
}

function reserve(slot) {
  const size = /^(\d{2,4})x(\d{2,4})$/.exec(slot.dataset.size || "");
  if (!size) return;
  slot.style.display = "block";
  slot.style.maxWidth = "100%";
  slot.style.width = `${size[1]}px`;
  slot.style.aspectRatio = `${size[1]} / ${size[2]}`;
}

function tell(slot, filled, reason) {
  slot.dispatchEvent(new CustomEvent(filled ? "marquee:filled" : "marquee:empty", { bubbles: true, detail: { reason } }));
}

// Calls the address once the element was viewable.
export function measure(element, address) {
  let clock = 0;
  let inView = false;
  const stop = () => {
    clearTimeout(clock);
    clock = 0;
  };
  const check = () => {
    if (!inView || document.visibilityState !== "visible") return stop();
    if (clock) return;
    clock = setTimeout(() => {
      watcher.disconnect();
      document.removeEventListener("visibilitychange", check);
      if (!(navigator.sendBeacon && navigator.sendBeacon(address))) fetch(address, { method: "POST", mode: "no-cors", keepalive: true });
    }, 1000);
  };
  const watcher = new IntersectionObserver(
    (entries) => {
      const last = entries[entries.length - 1];
      const box = last.boundingClientRect;
      inView = last.intersectionRatio >= (box.width * box.height >= 242500 ? 0.3 : 0.5);
      check();
    },
    { threshold: [0, 0.3, 0.5, 1] },
  );
  watcher.observe(element);
  document.addEventListener("visibilitychange", check);
}

function isWeb(address) {
  return /^https?:\/\//.test(address || "");
}

function show(slot, banner) {
  if (!banner || !banner.filled || !isWeb(banner.click_url) || !isWeb(banner.image_url)) {
    if ("collapse" in slot.dataset) slot.hidden = true;
    return tell(slot, false, banner && banner.reason);
  }
  shown.add(banner.product_id);
  const link = document.createElement("a");
  link.href = banner.click_url;
  link.target = "_blank";
  link.rel = "noopener sponsored";
  const image = document.createElement("img");
  image.src = banner.image_url;
  image.width = banner.width;
  image.height = banner.height;
  image.alt = banner.title || "";
  image.style.cssText = "border:0;max-width:100%;height:auto;display:block";
  link.append(image);
  slot.replaceChildren(link);
  image.addEventListener("load", () => measure(image, banner.viewable_url), { once: true });
  tell(slot, true);
}

async function ask() {
  timer = 0;
  const slots = waiting.splice(0, 16);
  if (waiting.length) timer = setTimeout(ask, 0);
  const body = { placements: slots.map((s) => s.dataset.marquee), exclude: [...shown].slice(-50), gpc };
  if (!gpc && options.personToken) body.person_token = options.personToken;
  else {
    const id = browserId();
    if (id) body.anonymous_id = id;
  }
  const words = options.keywords || document.querySelector('meta[name="keywords"]')?.content || "";
  body.context = { keywords: words.split(",").map((w) => w.trim()).filter(Boolean).slice(0, 50) };
  try {
    // text/plain: no preflight.
    const answer = await fetch(new URL("v1/decisions", base), { method: "POST", credentials: "omit", headers: { "content-type": "text/plain" }, body: JSON.stringify(body) });
    const { decisions = [] } = await answer.json();
    slots.forEach((slot, i) => show(slot, decisions[i]));
  } catch {
    slots.forEach((slot) => show(slot));
  }
}

const near = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      near.unobserve(entry.target);
      waiting.push(entry.target);
    }
    if (waiting.length && !timer) timer = setTimeout(ask, 30);
  },
  { rootMargin: "300px" },
);

// Finds places that are new on the page: call it again after adding some.
export function scan(root = document) {
  for (const slot of root.querySelectorAll("[data-marquee]:not([data-marquee-known])")) {
    slot.dataset.marqueeKnown = "";
    reserve(slot);
    near.observe(slot);
  }
  for (const frame of root.querySelectorAll("[data-marquee-view]")) measure(frame, frame.dataset.marqueeView);
}

scan();
