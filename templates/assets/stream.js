// Parts that the server keeps up to date: <div data-stream="/campaigns/cmp_7/stream" data-part="/campaigns/cmp_7/progress">.
// Where no stream can be had, the part is fetched again every few seconds. While the tab is hidden nothing is asked for.
import { follow } from "./live.js";

function listen(part) {
  let source = null;
  let over = false;
  const show = (html) => {
    // Who reads or types in it must not lose their place.
    if (part.contains(document.activeElement)) return;
    part.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  };
  const open = () => {
    if (over || source || document.hidden) return;
    source = new EventSource(part.dataset.stream);
    source.addEventListener("part", (event) => show(event.data));
    source.addEventListener("done", () => {
      over = true;
      source.close();
      document.dispatchEvent(new CustomEvent("stream:done", { detail: part }));
    });
    source.addEventListener("error", () => {
      // CLOSED: the server said no, and the browser does not try again by itself.
      if (source.readyState !== EventSource.CLOSED || over) return;
      over = true;
      if (!part.dataset.part) return;
      part.dataset.live = part.dataset.part;
      follow(part);
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return open();
    source?.close();
    source = null;
  });
  open();
}

if ("EventSource" in window) {
  for (const part of document.querySelectorAll("[data-stream]")) listen(part);
}
