// Small helps for the pages; everything but live progress works without them.
(function () {
  "use strict";
  const say = (text) => { document.getElementById("placo-said").textContent = text; };
  const typing = (el) => el.matches("input, textarea, select, [contenteditable]");

  // --- light and dark
  function markTheme() {
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      const now = button.dataset.themeChoice === window.placoTheme.chosen();
      button.classList.toggle("btn-primary", now);
      button.setAttribute("aria-pressed", now);
    }
  }
  markTheme();

  // --- clicks: theme, copy, keys
  document.addEventListener("click", async (event) => {
    const toggle = event.target.closest("[data-theme-toggle]");
    const choice = event.target.closest("[data-theme-choice]");
    const copy = event.target.closest("[data-copy]");
    if (toggle) window.placoTheme.choose(document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark");
    if (choice) window.placoTheme.choose(choice.dataset.themeChoice);
    if (toggle || choice) markTheme();
    if (event.target.closest("[data-keys]")) document.getElementById("keys").showModal();
    if (copy) {
      try {
        await navigator.clipboard.writeText(copy.dataset.copy);
        copy.classList.add("is-copied");
        say(document.body.dataset.copied);
        setTimeout(() => copy.classList.remove("is-copied"), 2000);
      } catch (error) {
        say(document.body.dataset.copyFailed);
        window.getSelection().selectAllChildren(copy.previousElementSibling);
      }
    }
  });

  // --- buttons that cannot be pressed twice
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-once]")) return;
    if (form.dataset.sent) { event.preventDefault(); event.stopImmediatePropagation(); return; }
    form.dataset.sent = "1";
    const button = event.submitter;
    if (button) { button.classList.add("is-busy"); button.setAttribute("aria-busy", "true"); button.prepend(spinner()); }
  }, true);
  function spinner() {
    const dot = document.createElement("span");
    dot.className = "spinner-border spinner-border-sm me-2";
    dot.setAttribute("aria-hidden", "true");
    return dot;
  }
  function free(form) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll(".is-busy")) {
      button.classList.remove("is-busy");
      button.removeAttribute("aria-busy");
      button.querySelector(".spinner-border")?.remove();
    }
  }
  window.addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach(free));
  document.addEventListener("htmx:afterRequest", (event) => {
    const form = event.target.closest?.("form");
    if (!form) return;
    free(form);
    if (event.detail.successful && form.matches("[data-vanish]")) form.closest("li")?.remove();
    if (event.detail.successful) document.getElementById("alerts").replaceChildren();
  });

  // --- filters that show at once
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });

  // --- the short name follows the name until it is touched
  const slug = document.querySelector("[data-slug]");
  const source = document.querySelector("[data-slug-source]");
  if (slug && source) {
    let own = slug.value !== "";
    slug.addEventListener("input", () => { own = slug.value !== ""; });
    source.addEventListener("input", () => {
      if (own) return;
      slug.value = source.value.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase()
        .replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 32).replace(/-+$/, "");
      slug.dispatchEvent(new Event("placo:slug", { bubbles: true }));
    });
  }

  // --- the clock of a run
  function tick() {
    for (const clock of document.querySelectorAll("[data-since]")) {
      const s = Math.max(0, Math.floor((Date.now() - Date.parse(clock.dataset.since)) / 1000));
      clock.textContent = `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
    }
  }
  if (document.querySelector("[data-run]")) { tick(); setInterval(tick, 1000); }
  document.addEventListener("htmx:sseMessage", () => {
    tick();
    const title = document.querySelector("#headline h1");
    if (title) document.title = title.textContent + " · " + document.title.split(" · ").pop();
  });

  // --- the wires of the picture
  const picture = document.querySelector("[data-picture]");
  if (picture) {
    const ns = "http://www.w3.org/2000/svg";
    const wires = document.createElementNS(ns, "svg");
    wires.setAttribute("class", "placo-wires");
    wires.setAttribute("aria-hidden", "true");
    picture.append(wires);
    const draw = () => {
      const base = picture.getBoundingClientRect();
      wires.replaceChildren();
      for (const box of picture.querySelectorAll("[data-from]")) {
        for (const id of box.dataset.from.trim().split(/\s+/)) {
          const other = document.getElementById(id);
          if (!other) continue;
          const a = box.getBoundingClientRect(), b = other.getBoundingClientRect();
          const x1 = a.right - base.left, y1 = a.top + a.height / 2 - base.top;
          const x2 = b.left - base.left, y2 = b.top + b.height / 2 - base.top, bend = (x2 - x1) / 2;
          const wire = document.createElementNS(ns, "path");
          wire.setAttribute("d", `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`);
          wires.append(wire);
        }
      }
    };
    draw();
    new ResizeObserver(draw).observe(picture);
  }

  // --- keys
  let before = "";
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
    const go = document.getElementById("placo-go");
    const own = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    const search = document.querySelector("[data-search]");
    if (event.key === "?") document.getElementById("keys")?.showModal();
    else if (event.key === "/" && search) search.focus();
    else if (before === "g" && event.key === "h" && go) location.href = go.dataset.goH;
    else if (before === "g" && event.key === "r" && go) location.href = go.dataset.goR;
    else if (own) own.focus();
    else if (event.key === "n" && go) location.href = go.dataset.goN;
    else { before = event.key; return; }
    before = "";
    event.preventDefault();
  });
})();
