// Before anything is painted: light or dark as chosen here, else as the system is.
(function () {
  "use strict";
  var root = document.documentElement;
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  function chosen() {
    try { return localStorage.getItem("placo-theme") || "auto"; } catch (e) { return "auto"; }
  }
  function paint() {
    var theme = chosen();
    root.dataset.bsTheme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
    root.dataset.themeChoice = theme;
  }
  window.placoTheme = {
    chosen: chosen,
    choose: function (theme) {
      try { localStorage.setItem("placo-theme", theme); } catch (e) { root.dataset.bsTheme = theme; return; }
      paint();
    },
  };
  dark.addEventListener("change", paint);
  root.classList.add("js");
  paint();
})();
