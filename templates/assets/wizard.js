// The wizard's summary follows what is typed, and nothing typed is lost by mistake. Without scripts, saving brings it up to date.
const form = document.getElementById("wizard");
const summary = document.getElementById("summary");
let timer = 0;
let asking = null;
let dirty = false;

async function ask() {
  asking?.abort();
  asking = new AbortController();
  summary.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.dataset.summary, {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      headers: { "X-CSRF-Token": document.querySelector('meta[name="csrf"]').content, "X-Requested-By": "wizard", Accept: "text/html" },
      credentials: "same-origin",
      signal: asking.signal,
    });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    summary.replaceChildren(...fresh.body.childNodes);
  } catch {
    // The next change asks again.
  } finally {
    summary.removeAttribute("aria-busy");
  }
}

// A text that is edited is held against the guardrails while somebody types; the answer's parts go beside its fields.
const waiting = new WeakMap();
function later(words) {
  clearTimeout(waiting.get(words)?.timer);
  waiting.set(words, { timer: setTimeout(() => check(words), 350) });
}
async function check(words) {
  const mine = waiting.get(words);
  const body = new URLSearchParams();
  for (const field of words.querySelectorAll("[name^='copy.']")) body.set(field.name.split(".").pop(), field.value);
  try {
    const answer = await fetch(words.dataset.copy, {
      method: "POST",
      body,
      headers: { "X-CSRF-Token": document.querySelector('meta[name="csrf"]').content, "X-Requested-By": "wizard", Accept: "text/html" },
      credentials: "same-origin",
    });
    if (!answer.ok || answer.redirected || waiting.get(words) !== mine) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of fresh.querySelectorAll("[data-for]")) {
      words.querySelector(`[data-found="${part.dataset.for}"]`)?.replaceChildren(...part.childNodes);
    }
  } catch {
    // Saving says it.
  }
}

if (form && summary) {
  // What only looks (a preview's width, whose sample) changes no plan.
  const looks = new Set(["look", "person", "variant", "test_to"]);
  form.addEventListener("input", (event) => {
    if (looks.has(event.target.name)) return;
    dirty = true;
    const words = event.target.closest("[data-copy]");
    if (words) {
      later(words);
      return;
    }
    clearTimeout(timer);
    timer = setTimeout(ask, 500);
  });
  form.addEventListener("submit", () => {
    dirty = false;
  });
  window.addEventListener("beforeunload", (event) => {
    if (dirty) event.preventDefault();
  });
  document.getElementById("mistakes")?.scrollIntoView({ block: "nearest" });
}
