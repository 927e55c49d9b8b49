// Import: a file may be dropped, the columns look again by themselves, and a finished job leads to its result.
const drop = document.querySelector("[data-drop]");
if (drop) {
  const input = drop.querySelector("input");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (e) => (e.preventDefault(), (drop.dataset.over = "1")));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => delete drop.dataset.over);
  drop.addEventListener("drop", (e) => {
    e.preventDefault();
    if (e.dataTransfer.files.length) input.files = e.dataTransfer.files;
  });
  input.form.addEventListener("submit", () => {
    input.form.querySelector("[data-sending]").hidden = false;
  });
}
document.querySelector("[data-look]")?.addEventListener("change", (e) => e.target.form.requestSubmit());
// The fragment that says it is done carries a link: it is followed at once.
const live = document.querySelector("[data-live]");
if (live) {
  new MutationObserver(() => {
    const link = live.querySelector("a[data-follow]");
    if (link) location.replace(link.href);
  }).observe(live, { childList: true, subtree: true });
}
