// The part of the address behind # opens the link, and no browser sends it by itself. Put it into the form's field, so
// that nobody has to copy it; the person presses the button. It stays in the address, in case the password was wrong.
const form = document.getElementById("open");
const secret = location.hash.slice(1);
if (form && secret) {
  form.elements.secret.value = secret;
  document.getElementById("paste").hidden = true;
  form.action += location.hash;
}
