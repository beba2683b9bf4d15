// Trades the token, from behind the address's # or from the form, for a cookie.

const form = document.querySelector("form"), field = form.querySelector("#token"), problem = form.querySelector(".problem");

async function logIn(token) {
  problem.textContent = "";
  history.replaceState(null, "", location.pathname); // out of the address bar, and of the bookmarks made from it
  try {
    const answer = await fetch("login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.ok) return location.reload();
    problem.textContent = (await answer.json()).error;
  } catch {
    problem.textContent = "No answer: is fsr-run still running?";
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  logIn(field.value.trim());
});
form.querySelector("button").disabled = false; // before, the browser itself would send the form, and load the page anew

function takeGiven() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) logIn(given);
}

addEventListener("hashchange", takeGiven); // an address that differs from this one behind its # alone loads nothing
takeGiven();
