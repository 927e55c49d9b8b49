// Creatives: choose all, guardrails while typing, the brand's preview. Everything works without it.
const all = document.querySelector("input[data-all]");
if (all) {
  const boxes = [...document.querySelectorAll('[data-gallery] input[name="id"]')];
  all.hidden = boxes.length === 0;
  all.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
}
// A form is asked about while somebody types; the answer's parts go beside their fields.
const form = document.querySelector("form[data-check]");
if (form) {
  let timer, asked = 0;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, 350);
  });
  async function ask() {
    const mine = ++asked;
    try {
      const answer = await fetch(form.dataset.check, {
        method: "POST",
        headers: { Accept: "text/html", "X-Requested-By": "check", "Content-Type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams(new FormData(form)),
        credentials: "same-origin",
      });
      if (!answer.ok || answer.redirected || mine !== asked) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of fresh.querySelectorAll("[data-for]")) {
        const name = part.dataset.for;
        const place = form.querySelector(`[data-found="${name}"]`) ?? document.querySelector(`[data-found-outside="${name}"]`);
        if (name !== "previews" || part.childElementCount > 0) place?.replaceChildren(...part.childNodes);
      }
    } catch {
      // The form says it when it is saved.
    }
  }
}
// Colour fields and their text stay the same; previews of the brand are asked for anew.
for (const picker of document.querySelectorAll("input[data-colour]")) {
  const text = document.getElementById(picker.dataset.colour);
  picker.hidden = false;
  picker.addEventListener("input", () => {
    text.value = picker.value;
    text.dispatchEvent(new Event("input", { bubbles: true }));
  });
  text.addEventListener("input", () => {
    if (/^#[0-9a-f]{6}$/i.test(text.value)) picker.value = text.value;
  });
}
