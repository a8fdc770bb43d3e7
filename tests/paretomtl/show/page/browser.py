"""A Chromium to look at pages with; skipped where there is none, unless PARETOMTL_BROWSER_TESTS says there must be."""

import os
import shutil
from contextlib import contextmanager

import pytest

from tests.limits import limit

PATIENCE = limit(60_000)  # milliseconds
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def chromium():
    """A browser, from the system's packages."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("PARETOMTL_BROWSER_TESTS"):
            pytest.fail("PARETOMTL_BROWSER_TESTS is set, but there is no chromium; apt-get install chromium")
        pytest.skip("no chromium; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=PATIENCE)
        yield browser
        browser.close()


class Opened:
    """A page, with its requests and complaints."""

    def __init__(self, browser, path, **settings):
        self.path = path
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.goto(path.as_uri())
        self.settle()

    def settle(self):
        """Wait until everything is drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def chosen(self):
        """The id shown as chosen, or None."""
        found = self.page.locator("#choice .id")
        return found.inner_text() if found.count() else None

    def choose(self, kind):
        self.page.select_option("#kind", kind)
        self.settle()

    def close(self):
        """Close the page; it may have requested nothing but itself, and complained of nothing."""
        self.context.close()
        assert self.requests == [self.path.as_uri()]
        assert self.complaints == []
