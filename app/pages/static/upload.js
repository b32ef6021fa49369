// <form data-uploads="/address">: a zip is sent as soon as it is picked or dropped, piece by piece; how
// far it is, and what the service says against it, stands beside. A field named "name" goes along.

for (const form of document.querySelectorAll("form[data-uploads]")) {
  const input = form.querySelector("input[type=file]");
  const said = form.querySelector(".upload-said");
  const bar = form.querySelector(".upload-bar");

  const tell = (text, wrong = false) => {
    said.textContent = text;
    said.classList.toggle("is-wrong", wrong);
  };

  const send = (file) => {
    const name = form.elements.name;
    if (name && !name.reportValidity()) return;
    const address = name ? `${form.dataset.uploads}?name=${encodeURIComponent(name.value.trim())}` : form.dataset.uploads;
    const request = new XMLHttpRequest(); // fetch does not tell how much was sent
    request.open("POST", address);
    request.setRequestHeader("X-Fragment", "1");
    request.setRequestHeader("Content-Type", "application/zip");
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      bar.value = event.loaded / event.total;
      tell(event.loaded < event.total ? `${file.name}: ${Math.round(100 * bar.value)}% sent` : `${file.name} is sent, and looked through now…`);
    });
    request.addEventListener("load", () => {
      bar.hidden = true;
      input.value = "";
      if (request.status < 300) return location.assign(request.responseURL);
      const problem = new DOMParser().parseFromString(request.responseText, "text/html").body;
      const lines = [...problem.querySelectorAll("p")].map((line) => line.textContent.trim());
      tell(lines.filter(Boolean).join(". ") || `It was refused (${request.status}).`, true);
    });
    request.addEventListener("error", () => {
      bar.hidden = true;
      input.value = "";
      tell("The connection was lost, or the file was refused. Try again.", true);
    });
    bar.value = 0;
    bar.hidden = false;
    tell(`Sending ${file.name}…`);
    request.send(file);
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("change", () => input.files[0] && send(input.files[0]));
  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  });
}
