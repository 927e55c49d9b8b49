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

if (form && summary) {
  // What only looks (a preview's width, whose sample) changes no plan.
  const looks = new Set(["look", "person", "variant", "test_to"]);
  form.addEventListener("input", (event) => {
    if (looks.has(event.target.name)) return;
    dirty = true;
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
