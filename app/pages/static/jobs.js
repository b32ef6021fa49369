// The form of a recipe: another preset changes what empty fields stand for, which the service knows.

document.addEventListener("change", (event) => {
  if (event.target.id !== "preset") return;
  event.target.form.requestSubmit(document.getElementById("see-plan"));
});
