// The rule builder: redraws itself and counts while somebody edits. Without it, its buttons load the page anew.
const form = document.querySelector("form.builder");
const live = form?.querySelector(".live");
let waiting, counting, drawing;

const body = (extra) => {
  const data = new URLSearchParams(new FormData(form));
  for (const [name, value] of Object.entries(extra ?? {})) data.set(name, value);
  return data;
};
const ask = (path, data, signal) =>
  fetch(path, { method: "POST", body: data, signal, headers: { Accept: "text/html", "X-Requested-By": "builder" }, credentials: "same-origin" });

async function count() {
  counting?.abort();
  counting = new AbortController();
  live.dataset.busy = "1";
  try {
    const answer = await ask(form.dataset.count, body(), counting.signal);
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    live.querySelector("[data-part=live]").replaceChildren(...fresh.body.childNodes);
    delete live.dataset.busy;
  } catch (error) {
    if (error.name !== "AbortError") delete live.dataset.busy;
  }
}

// What the form looks like after a button or a choice, with the caret where it was.
async function redraw(action, focus) {
  clearTimeout(waiting);
  counting?.abort();
  drawing?.abort();
  drawing = new AbortController();
  try {
    const answer = await ask("/segments/build", body({ do: action }), drawing.signal);
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of ["main", "live"]) {
      const [old, now] = [form, fresh].map((root) => root.querySelector(`[data-part=${part}]`));
      old.replaceChildren(...document.adoptNode(now).childNodes);
    }
    form.querySelector("button.no-script")?.setAttribute("hidden", "");
    delete live.dataset.busy;
    (document.getElementById(focus) ?? added(action))?.focus();
  } catch (error) {
    if (error.name === "AbortError") return;
    // Without an answer for scripts, the page itself is loaded anew.
    drawing.failed = true;
    form.requestSubmit(form.querySelector("button[name=do]"));
  }
}
// The condition that a button made.
function added(action) {
  const [verb, path] = action.split(":");
  const kinds = [...form.querySelectorAll(`[name^="${CSS.escape(path ?? "")}."][name$=":kind"]`)];
  return verb === "add" || verb === "group" ? kinds.at(-1) : form.querySelector("[data-part=main] select");
}

form?.addEventListener("input", (event) => {
  if (event.target.name === "name" || event.target.name === "key" || event.target.dataset.redraw !== undefined) return;
  clearTimeout(waiting);
  waiting = setTimeout(count, 450);
});
form?.addEventListener("change", (event) => {
  if (event.target.dataset.redraw !== undefined) redraw("redraw", event.target.id);
});
form?.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (button?.dataset.save !== undefined) {
    if (form.dataset.saving) event.preventDefault();
    form.dataset.saving = "1";
    return;
  }
  if (drawing?.failed) return;
  event.preventDefault();
  redraw(button?.value ?? "redraw", document.activeElement?.id);
});
window.addEventListener("pageshow", () => delete form?.dataset.saving);
form?.querySelector("button.no-script")?.setAttribute("hidden", "");
