// A part of a page that is fetched again while something runs: <div data-live="/jobs/parts/runs" data-every="2">.
// An answer without data-live (X-Live: done) ends it. Nothing is fetched while the tab is hidden.
export function follow(part) {
  const every = Math.max(1, Number(part.dataset.every || 3)) * 1000;
  let failures = 0;
  const again = () => setTimeout(step, Math.min(every * 2 ** failures, 60000));
  async function step() {
    if (!part.isConnected) return;
    if (document.hidden) return again();
    try {
      const answer = await fetch(part.dataset.live, { headers: { Accept: "text/html", "X-Requested-By": "live" }, credentials: "same-origin" });
      if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
      const html = await answer.text();
      // Who reads or types in it must not lose their place.
      if (!part.contains(document.activeElement) || document.activeElement === document.body) {
        const fresh = new DOMParser().parseFromString(html, "text/html");
        part.replaceChildren(...fresh.body.childNodes);
      }
      failures = 0;
      if (answer.headers.get("X-Live") === "done") return;
    } catch {
      failures = Math.min(failures + 1, 5);
    }
    again();
  }
  again();
}
