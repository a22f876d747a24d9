"""The web page as a person sees it in a real browser; fixtures for tests that import them:

    from web_page import PASSWORD, bao, browser, instance, page  # noqa: F401
"""
import json
import re

import pytest

from browser import chromium
from instance import Instance
from servers import Unavailable

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def browser():
    try:
        with chromium() as running:
            yield running
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bao(openbao):
    openbao.create_key("coffer")
    return openbao


@pytest.fixture
def instance(build_folder, folder):
    with Instance(build_folder, folder, ("--https", "127.0.0.1:0")) as running:
        for name, role in (("alice", "ClusterAdmin"), ("rose", "ReadOnly")):
            running.run("user", "add", name, "-", "--role", role, input=PASSWORD + "\n")
        yield running


class Page:
    """What a person sees and does: fields by their labels, buttons by their names."""

    def __init__(self, browser, instance, **options):
        address = instance.api("GET", "/api/v1/status")["https"]["address"]
        self.base = f"https://{address}"
        # The state folder's certificate is not one that a browser knows.
        self.context = browser.new_context(ignore_https_errors=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.faults, self.answers, self.bodies = [], [], []
        self.page.on("request", self._see_request)
        self.page.on("response", self._see_answer)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self._see_console)
        self.page.goto(self.base + "/")
        self.field("User").wait_for()

    def _see_request(self, request):
        if not request.url.startswith((self.base + "/", "blob:" + self.base)):
            self.faults.append(f"a request to {request.url}")

    def _see_answer(self, answer):
        self.answers.append(answer)

    def _see_console(self, message):
        # A refusal of the server is also a line on the console; the page shows it.
        if message.type == "error" and "the server responded with a status of 4" not in message.text:
            self.faults.append(f"console: {message.text}")

    def close(self):
        self.context.close()
        assert not self.faults, self.faults

    def field(self, label):
        exactly = re.compile(rf"^{re.escape(label)}( optional)?$")
        writable = self.page.locator("input:not([type=radio]), textarea, select")
        return self.page.get_by_label(exactly).and_(writable).filter(visible=True)

    def fill(self, **fields):
        for label, value in fields.items():
            self.field(label.replace("_", " ")).fill(str(value))

    def press(self, name, inside=None):
        (inside or self.page).get_by_role("button", name=name, exact=True).click()

    def choose(self, name):
        self.page.get_by_role("radio", name=name, exact=True).filter(visible=True).check()

    def open(self, name):
        self.page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        self.page.get_by_role("heading", name=name, level=1).wait_for()

    def row(self, text):
        return self.page.get_by_role("row").filter(has_text=text)

    def focused(self):
        """The name of what has the focus."""
        return self.page.evaluate("""() => {
            const at = document.activeElement;
            return at.getAttribute("aria-label") || at.labels?.[0]?.innerText || at.innerText;
        }""")

    def fits(self):
        """Nothing is wider than the screen."""
        return self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def dialog(self):
        return self.page.get_by_role("dialog")

    def refusal(self):
        alert = self.page.get_by_role("alert").filter(visible=True)
        alert.wait_for()
        return alert.inner_text()

    def sees(self, text):
        self.page.get_by_text(text).filter(visible=True).first.wait_for()

    def fact(self, term):
        term = self.page.locator("dl > div", has=self.page.locator("dt", has_text=re.compile(f"^{term}$")))
        return term.locator("dd").inner_text()

    def log_in(self, user="alice", password=PASSWORD):
        self.fill(User=user, Password=password)
        self.press("Log in")
        self.page.get_by_role("heading", name="Overview", level=1).wait_for()
        self.sees("Key server")
        return self

    def everything(self):
        """All that the page holds and was answered: what a secret must not be in."""
        held = self.page.evaluate("""() => JSON.stringify({
            dom: document.documentElement.outerHTML,
            fields: [...document.querySelectorAll("input, textarea")].map((field) => field.value),
            local: {...localStorage}, session: {...sessionStorage}, cookies: document.cookie,
        })""")
        self.keep_answers()
        return held + "".join(self.bodies)

    def keep_answers(self):
        """Before it is loaded anew, which forgets them."""
        for answer in self.answers:
            if "/api/" in answer.url:
                self.bodies.append(answer.text())
        self.answers.clear()


@pytest.fixture
def page(browser, instance):
    shown = Page(browser, instance)
    yield shown
    shown.close()


def must_be_nowhere(secrets, instance, page):
    held = page.everything() + instance.events()
    for secret in secrets:
        for form in (secret, json.dumps(secret)[1:-1]):
            assert form not in held
