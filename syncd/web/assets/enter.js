// The link was followed by a browser that runs scripts, so by a person: press the button.
const token = document.querySelector("#enter [name=token]");
if (token.value) document.getElementById("enter").submit();
