// Three things only: Airflow's light or dark, links that leave Airflow's frame, and Replay.
"use strict";

(function () {
  const html = document.documentElement;

  function outside() {
    try {
      return window.parent !== window && window.parent.document ? window.parent : null;
    } catch {
      return null; // framed by another site: no access, no links out of the frame
    }
  }

  const airflow = outside();

  function chosenTheme() {
    const theirs = airflow ? airflow.document.documentElement.classList : null;
    if (theirs && theirs.contains("dark")) return "dark";
    if (theirs && theirs.contains("light")) return "light";
    const kept = window.localStorage.getItem("theme");
    if (kept === "dark" || kept === "light") return kept;
    return window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }

  function follow() {
    html.dataset.theme = chosenTheme();
  }

  follow();
  html.dataset.framed = airflow ? "yes" : "no";
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow);
  window.addEventListener("storage", follow);
  if (airflow) {
    new MutationObserver(follow).observe(airflow.document.documentElement, {
      attributes: true,
      attributeFilter: ["class"],
    });
  }

  // Airflow's frame forbids links to its own pages from within. Its document may follow them.
  function leave(href) {
    if (!airflow) {
      window.location.assign(href);
      return;
    }
    const link = airflow.document.createElement("a");
    link.href = new URL(href, window.location.href).href;
    airflow.document.body.append(link);
    link.click();
    link.remove();
  }

  async function send(form, result) {
    result.textContent = "Starting a run…";
    const answer = await fetch(form.dataset.post, {
      method: "POST",
      headers: { "X-Flagfall": "replay" },
      credentials: "same-origin",
    });
    const said = await answer.json().catch(() => ({}));
    result.textContent = "";
    if (!answer.ok) {
      result.textContent = said.detail || `Airflow answered ${answer.status}.`;
      return false;
    }
    const link = document.createElement("a");
    link.href = said.href;
    link.dataset.airflow = "";
    link.textContent = said.run_id;
    result.append("Started: ", link);
    return true;
  }

  document.addEventListener("click", (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const opens = event.target.closest("[data-opens]");
    if (opens) document.getElementById(opens.dataset.opens).showModal();
    const link = event.target.closest("a[data-airflow]");
    if (link) {
      event.preventDefault();
      leave(link.href);
    }
  });

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.post) return;
    const is_sure = event.submitter && event.submitter.value === "yes";
    if (!is_sure) return; // the dialog closes by itself
    event.preventDefault();
    const result = form.querySelector(".result");
    event.submitter.disabled = true;
    try {
      const has_started = await send(form, result);
      event.submitter.disabled = has_started;
      const no = form.querySelector("[value=no]");
      if (has_started && no) no.textContent = "Close";
    } catch {
      result.textContent = "Airflow did not answer. Try again.";
      event.submitter.disabled = false;
    }
  });
})();
