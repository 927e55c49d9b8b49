// Shows a page's question in a native dialog. The page itself is the fallback.
export async function openInDialog(link) {
  let answer;
  try {
    answer = await fetch(link.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  } catch {
    answer = null;
  }
  const html = answer?.ok && !answer.redirected ? await answer.text() : "";
  const asked = new DOMParser().parseFromString(html, "text/html").querySelector(".confirm");
  if (!asked) {
    location.href = link.href;
    return;
  }
  const dialog = document.createElement("dialog");
  const heading = asked.querySelector("h1, h2");
  if (heading) {
    heading.id = "dialog-title";
    dialog.setAttribute("aria-labelledby", heading.id);
  }
  dialog.append(document.adoptNode(asked));
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) {
      event.preventDefault();
      dialog.close();
    }
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    link.focus();
  });
  dialog.showModal();
}
