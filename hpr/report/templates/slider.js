for (const range of document.querySelectorAll(".stack input[type=range]")) {
  const show = () => range.parentElement.style.setProperty("--cut", range.value + "%");
  range.addEventListener("input", show);
  show();
}
for (const box of document.querySelectorAll(".enlarge input")) {
  box.closest("figure").querySelector(".stack").addEventListener("dblclick", () => box.click());
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") box.checked = false; });
}
