"use strict";
// The page works without this script, but for what opens, sorts, filters and is copied. Its state is in the fragment.
(() => {
  const root = document.documentElement;
  const KEYS = ["find", "task", "data", "budget", "licence", "every", "sort", "number", "theme"];
  const state = Object.fromEntries(KEYS.map((key) => [key, ""]));

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const key of KEYS) state[key] = given.get(key) || "";
    if (["light", "dark"].includes(state.theme)) root.dataset.theme = state.theme;
    else delete root.dataset.theme;
  }

  function write() {
    const kept = new URLSearchParams(KEYS.filter((key) => state[key]).map((key) => [key, state[key]]));
    history.replaceState(null, "", `#${kept}`);
  }

  read(); // before anything is painted
  document.addEventListener("DOMContentLoaded", () => {
    const $ = (id) => document.getElementById(id);
    const { words, numbers } = JSON.parse($("origins").textContent);
    const places = new Map(numbers.map((number, place) => [number.id, place]));
    const make = (tag, text = "", kind = "") => {
      const made = document.createElement(tag);
      made.textContent = text;
      if (kind) made.className = kind;
      return made;
    };

    // --- the number that is open -------------------------------------------------------------------------------------

    const dialog = $("number");
    const SIGNS = { ok: "✓ ok", warn: "△ warning", fail: "✕ failed", unchecked: "? unchecked" };

    function open(place) {
      const number = numbers[place];
      const [task, data, encoder, attack] = number.title.map((word) => words[word]);
      $("number-title").textContent = `${task}: ${attack}`;
      dialog.querySelector(".value").replaceChildren(make("b", words[number.value]), make("span", `${encoder} on ${data}`));
      const parts = number.groups.map(([name, facts]) => {
        const section = make("section");
        const list = make("dl");
        for (const [label, text] of facts) {
          const line = make("div");
          line.append(make("dt", words[label]), make("dd", words[text]));
          list.append(line);
        }
        section.append(make("h3", words[name]), list);
        return section;
      });
      if (number.findings.length) {
        const section = make("section");
        const list = make("ul", "", "checks");
        for (const [verdict, name, why, advice] of number.findings.map((each) => each.map((word) => words[word]))) {
          const line = make("li", "", verdict);
          line.append(make("span", SIGNS[verdict] || verdict, "verdict"), " ", make("b", name), `: ${why}. ${advice}`);
          list.append(line);
        }
        section.append(make("h3", "checks"), list);
        parts.splice(1, 0, section);
      }
      dialog.querySelector(".details").replaceChildren(...parts);
      state.number = number.id;
      write();
      if (!dialog.open) dialog.showModal();
      dialog.querySelector(".inside").scrollTop = 0;
    }

    document.addEventListener("click", (event) => {
      const asked = event.target.closest("[data-place], [data-number]");
      if (asked && asked.dataset.place) open(Number(asked.dataset.place));
      else if (asked && places.has(asked.dataset.number)) open(places.get(asked.dataset.number));
      else if (event.target === dialog) dialog.close(); // beside it
    });
    dialog.addEventListener("close", () => {
      state.number = "";
      write();
    });

    // --- the table ---------------------------------------------------------------------------------------------------

    const table = $("grid");
    const heads = table ? [...table.tHead.rows[0].cells] : [];
    const rows = table ? [...table.tBodies[0].rows] : [];
    const full = (cell) => {
      const name = cell.querySelector(".name");
      if (cell.dataset.name) return cell.dataset.name;
      return name ? name.title || name.textContent : cell.textContent.trim();
    };
    const words_of = (row) => [...row.cells].filter((cell) => !("value" in cell.dataset)).map(full).join(" ").toLowerCase();
    const texts = new Map(rows.map((row) => [row, words_of(row)]));
    const choices = ["task", "data", "budget", "licence"].filter((key) => $(key));

    function chosen(key) {
      const option = $(key) && [...$(key).options].find((each) => each.value && each.textContent === state[key]);
      return option ? option.value : "";
    }

    function key(row, column) {
      const cell = row.cells[column];
      if ("value" in cell.dataset) return cell.dataset.value === "" ? null : Number(cell.dataset.value);
      return cell.classList.contains("gap") ? null : full(cell);
    }

    function sorted() {
      const [column, way] = state.sort.split(".");
      const at = Number(column);
      heads.forEach((head, place) => {
        const mine = state.sort && place === at;
        head.setAttribute("aria-sort", mine ? (way === "down" ? "descending" : "ascending") : "none");
      });
      if (!state.sort || !heads[at]) return rows;
      const sign = way === "down" ? -1 : 1;
      const keys = new Map(rows.map((row) => [row, key(row, at)]));
      return [...rows].sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (x === null || y === null) return (x === null) - (y === null); // what was not measured stands last
        return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
      });
    }

    function show() {
      $("theme").value = root.dataset.theme || "";
      if (!table) return;
      $("find").value = state.find;
      if ($("every")) $("every").checked = Boolean(state.every);
      for (const each of choices) $(each).value = chosen(each);
      const wanted = choices.map((each) => [each, chosen(each)]).filter(([, value]) => value);
      const fits = (place) => wanted.every(([each, value]) => !place.dataset[each] || place.dataset[each] === value);
      const sought = state.find.toLowerCase().split(/\s+/).filter(Boolean);
      let seen = 0;
      for (const row of rows) {
        const whole = !$("every") || state.every || !row.dataset.lacks;
        row.hidden = !(whole && fits(row) && sought.every((word) => texts.get(row).includes(word)));
        seen += !row.hidden;
      }
      heads.forEach((head, place) => {
        const off = !fits(head);
        if (head.hidden !== off) for (const row of [table.tHead.rows[0], ...rows]) row.cells[place].hidden = off;
      });
      table.tBodies[0].append(...sorted());
      $("count").textContent = seen === rows.length ? `${seen} rows` : `${seen} of ${rows.length} rows`;
      $("reset").hidden = !["find", "sort", "every", ...choices].some((each) => state[each]);
    }

    function change(changes) {
      Object.assign(state, changes);
      write();
      show();
    }

    heads.forEach((head, place) => {
      head.querySelector("button").addEventListener("click", () => {
        const next = { [`${place}.up`]: `${place}.down`, [`${place}.down`]: "" };
        change({ sort: state.sort in next ? next[state.sort] : `${place}.up` });
      });
    });

    // --- copied as CSV -----------------------------------------------------------------------------------------------

    const harmless = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text); // a spreadsheet would run it
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

    function csv() {
      const seen = heads.map((_, place) => place).filter((place) => !heads[place].hidden);
      const parts = (cell, name) => {
        if (name) return cell.dataset.budget === undefined ? [name] : [name, `${name} low`, `${name} high`];
        if (!("value" in cell.dataset)) return cell.classList.contains("gap") ? ["", "", ""] : [harmless(full(cell))];
        return "low" in cell.dataset ? [cell.dataset.value, cell.dataset.low, cell.dataset.high] : [cell.dataset.value];
      };
      const lines = [seen.flatMap((place) => parts(heads[place], harmless(full(heads[place]))))];
      for (const row of table.tBodies[0].rows) {
        if (!row.hidden) lines.push(seen.flatMap((place) => parts(row.cells[place], "")));
      }
      return lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
    }

    async function copy() {
      try {
        await navigator.clipboard.writeText(csv());
      } catch {
        const area = make("textarea", csv()); // where a file may not write to the clipboard itself
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      $("copy").textContent = "Copied";
      setTimeout(() => ($("copy").textContent = "Copy as CSV"), 1500);
    }

    // --- the gallery -------------------------------------------------------------------------------------------------

    function slide(shot, value) {
      const slider = shot.querySelector("input");
      slider.value = value;
      slider.setAttribute("aria-valuetext", `${slider.value} % clean, ${100 - slider.value} % attacked`);
      shot.style.setProperty("--at", `${slider.value}%`);
    }

    for (const shot of document.querySelectorAll(".shot")) {
      const slider = shot.querySelector("input");
      slide(shot, slider.value);
      slider.addEventListener("input", () => slide(shot, slider.value));
      for (const pair of shot.querySelectorAll(".pair")) {
        const follow = (event) => {
          const { left, width } = pair.getBoundingClientRect();
          if (event.buttons) slide(shot, Math.round((100 * (event.clientX - left)) / width));
        };
        pair.addEventListener("pointerdown", follow);
        pair.addEventListener("pointermove", follow);
      }
    }

    // --- what is bound, and the first view ---------------------------------------------------------------------------

    if (table) {
      $("find").addEventListener("input", () => change({ find: $("find").value }));
      for (const each of choices) {
        $(each).addEventListener("change", () => {
          const option = $(each).selectedOptions[0];
          change({ [each]: option.value ? option.textContent : "" });
        });
      }
      $("reset").addEventListener("click", () => change({ find: "", task: "", data: "", budget: "", licence: "", every: "", sort: "" }));
      if ($("every")) $("every").addEventListener("change", () => change({ every: $("every").checked ? "1" : "" }));
      $("copy").addEventListener("click", copy);
    }
    $("theme").addEventListener("change", () => {
      state.theme = $("theme").value;
      write();
      read();
    });
    for (const link of document.querySelectorAll('a[href^="#"]')) {
      link.addEventListener("click", (event) => {
        event.preventDefault(); // the fragment is the state of the view
        const target = $(link.hash.slice(1));
        target.scrollIntoView();
        target.tabIndex = -1;
        target.focus({ preventScroll: true });
      });
    }
    const start = () => {
      read();
      show();
      if (places.has(state.number)) open(places.get(state.number));
      else if (dialog.open) dialog.close();
    };
    addEventListener("hashchange", start);
    let folded = [];
    addEventListener("beforeprint", () => {
      folded = [...document.querySelectorAll("details:not([open])")];
      for (const each of folded) each.open = true;
    });
    addEventListener("afterprint", () => folded.forEach((each) => (each.open = false)));
    start();
  });
})();
