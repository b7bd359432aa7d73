// Asks once a second whether anything changed, and replaces the page's parts when it did.
"use strict";

const workspace = document.getElementById("workspace");
const panes = ["main", "thread"];

function scrolledTo(pane) {
  const scroll = document.querySelector(`#${pane} .scroll`);
  if (!scroll) return null;
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
  return atEnd ? Infinity : scroll.scrollTop;
}

function scrollTo(pane, position) {
  const scroll = document.querySelector(`#${pane} .scroll`);
  if (scroll && position !== null) scroll.scrollTop = Math.min(position, scroll.scrollHeight);
}

function replace(view) {
  const positions = panes.map(scrolledTo);
  for (const part of ["strip", "sidebar", "main", "thread", "phone"]) {
    const element = document.getElementById(part);
    if (element.innerHTML !== view[part]) element.innerHTML = view[part];
  }
  panes.forEach((pane, index) => scrollTo(pane, positions[index]));
  workspace.dataset.version = view.version;
  workspace.classList.remove("lost");
}

async function look() {
  const query = new URLSearchParams(location.search);
  query.set("since", workspace.dataset.version);
  try {
    const answer = await fetch(`/_sandbox/view?${query}`);
    if (answer.status === 200) replace(await answer.json());
  } catch {
    workspace.classList.add("lost"); // the sandbox has ended, or is being started again
  }
  setTimeout(look, 1000);
}

scrollTo("main", Infinity);
setTimeout(look, 1000);
