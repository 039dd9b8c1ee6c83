for (const range of document.querySelectorAll(".stack input[type=range]")) {
  const show = () => range.parentElement.style.setProperty("--cut", range.value + "%");
  range.addEventListener("input", show);
  show();
}
