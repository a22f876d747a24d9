"""The web page in a real browser, against real key servers: what people do there, what they are
told, and that no secret stays anywhere afterwards."""
import pytest

from servers import PykmipServer, Unavailable
from web_page import PASSWORD, Page, bao, browser, instance, must_be_nowhere, page  # noqa: F401


def test_a_vault_is_configured_viewed_updated_checked_and_reset(instance, page, bao):
    role_id, secret_id = bao.coffer_approle("coffer")
    token = bao.coffer_token("coffer")
    page.log_in()
    page.open("Security")
    page.sees("No key server is configured")
    page.press("Configure KMS")
    page.fill(Address=bao.address, Key_Identifier="no-such-key", Role_ID=role_id, Secret_ID=secret_id)
    page.press("Configure KMS")
    shown = page.refusal()
    # Word for word what the server says.
    told = instance.run("security", "kms", "set", "vault", bao.address, "no-such-key", "--role-id",
                        role_id, "-", input=secret_id, check=False).stderr
    assert shown in told and "no-such-key" in shown
    assert page.field("Secret ID").input_value() == ""  # it is given anew
    assert page.field("Role ID").input_value() == role_id
    page.fill(Key_Identifier="coffer", Secret_ID=secret_id)
    page.press("Configure KMS")
    page.sees("The KMS is configured")
    assert page.fact("Type") == "HashiCorp Vault" and page.fact("Address") == bao.address
    assert page.fact("Key Identifier") == "coffer" and page.fact("Login") == "AppRole"
    assert page.fact("State") == "reachable" and page.fact("Role") == role_id
    assert instance.api("GET", "/api/v1/kms")["auth_method"] == "approle"

    page.press("Update KMS")
    assert page.field("Address").input_value() == bao.address
    page.choose("Token")
    page.fill(Token=token)
    page.press("Update KMS")
    page.sees("The KMS is configured")
    assert page.fact("Login") == "Token"
    page.press("Check")
    page.page.get_by_role("heading", name="Check", exact=True).wait_for()
    checked = instance.api("POST", "/api/v1/kms/check")
    rows = page.page.get_by_role("region", name="Steps of the check").locator("tbody tr")
    assert rows.count() == len(checked["steps"])
    assert "permission-encrypt" in rows.filter(has_text="permission-encrypt").inner_text()

    instance.add("data")
    bao.rotate_key("coffer")
    page.press("Rewrap")
    page.press("Rewrap", page.dialog())
    page.sees("coffer, version 2")
    assert instance.view("data")["kms_key_version"] == 2

    page.press("Reset KMS")
    page.dialog().wait_for()
    page.press("Cancel", page.dialog())
    page.press("Reset KMS")
    page.press("Yes, reset", page.dialog())
    told = instance.run("security", "kms", "reset", "-f", check=False).stderr
    shown = page.refusal()
    assert "data" in shown and shown in told
    page.page.keyboard.press("Escape")
    assert instance.api("GET", "/api/v1/kms")["configured"] is True
    instance.run("fs", "remove", "data", "-f")

    def leave_keys(route):
        if route.request.method != "DELETE":
            route.fallback()
            return
        route.fulfill(json={"configured": False, "keys_left": [
            {"filesystem": "data", "text": "1 key of other filesystems does not open"}]})

    page.page.route("**/api/v1/kms", leave_keys)
    page.press("Reset KMS")
    page.press("Yes, reset", page.dialog())
    page.sees("1 key of other filesystems does not open")
    page.page.unroute("**/api/v1/kms")
    page.press("Reset KMS")
    page.press("Yes, reset", page.dialog())
    page.sees("The KMS was reset")
    page.sees("No key server is configured")
    assert instance.api("GET", "/api/v1/kms") == {"configured": False}
    assert [(row["operation"], row["by"]) for row in instance.api("GET", "/api/v1/audit")
            if row["result"] == "ok" and row["operation"].startswith("kms-")] == \
        [("kms-set", "user alice"), ("kms-set", "user alice"), ("kms-unset", "user alice")]
    must_be_nowhere([secret_id, token, PASSWORD], instance, page)


def test_a_kmip_server_is_configured_with_files_and_text(instance, page, folder):
    try:
        server = PykmipServer(folder / "kmip")
    except Unavailable as error:
        pytest.skip(str(error))
    with server as kms:
        uid = kms.admin().create()
        cert, key = kms.client("alice")
        page.log_in()
        page.open("Security")
        page.press("Configure KMS")
        page.choose("KMIP")
        assert page.page.get_by_label("Secret ID").filter(visible=True).count() == 0
        page.fill(Address=kms.address, KMS_Identifier="424242", CA_Certificate=kms.ca_cert.read_text())
        with page.page.expect_file_chooser() as chooser:
            page.press("Read the Client Certificate from a file")
        chooser.value.set_files(cert)
        page.page.wait_for_function("document.querySelector('textarea[name=client_cert]').value !== ''")
        page.fill(Client_Key=key.read_text())
        page.press("Configure KMS")
        assert "424242" in page.refusal()
        page.fill(KMS_Identifier=uid, Client_Key=key.read_text())
        page.press("Configure KMS")
        page.sees("The KMS is configured")
        assert page.fact("Type") == "KMIP" and page.fact("KMS Identifier") == uid
        assert page.fact("Login") == "Client certificate" and page.fact("State") == "reachable"
        lines = [line for line in key.read_text().splitlines() if "----" not in line]
        must_be_nowhere(lines[:3], instance, page)
        page.press("Reset KMS")
        page.press("Yes, reset", page.dialog())
        page.sees("The KMS was reset")


def test_it_can_all_be_done_with_the_keyboard(instance, page, bao):
    keys = page.page.keyboard

    def tab_to(name, limit=40):
        for _ in range(limit):
            if page.focused().startswith(name):
                return
            keys.press("Tab")
            if page.page.evaluate("document.activeElement === document.body"):
                continue  # behind the last one
            style = page.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style != "none", f"the focus on {page.focused()} does not show"
        raise AssertionError(f"{name} is not reached, but {page.focused()}")

    tab_to("User")  # it is there already
    keys.type("alice")
    tab_to("Password")
    keys.type(PASSWORD)
    keys.press("Enter")
    page.page.get_by_role("heading", name="Overview", level=1).wait_for()
    tab_to("Security")
    keys.press("Enter")
    page.page.get_by_role("button", name="Configure KMS").wait_for()
    assert page.focused() == "Security"  # the new heading, so that what is read goes on there
    tab_to("Configure KMS")
    keys.press("Enter")
    tab_to("Address")
    keys.type(bao.address)
    tab_to("Key Identifier")
    keys.type("coffer")
    tab_to("AppRole")
    keys.press("ArrowRight")
    tab_to("Token")
    keys.press("Tab")
    keys.type(bao.coffer_token("coffer"))
    keys.press("Enter")
    page.sees("The KMS is configured")
    tab_to("Reset KMS")
    keys.press("Enter")
    page.dialog().wait_for()
    for _ in range(12):  # Tab stays in the dialog, but for the browser's own buttons
        keys.press("Tab")
        assert page.page.evaluate("document.activeElement === document.body || "
                                  "document.querySelector('dialog').contains(document.activeElement)")
    keys.press("Escape")
    assert page.focused() == "Reset KMS"  # back to where it came from
    keys.press("Enter")
    tab_to("Yes, reset")
    keys.press("Enter")
    page.sees("The KMS was reset")


def test_filesystems_alerts_events_audit_and_users(instance, page, bao):
    instance.run("security", "kms", "set", "vault", bao.address, "coffer", "-",
                 input=bao.coffer_token("coffer"))
    page.log_in()
    page.open("Filesystems")
    page.sees("There is no filesystem yet")
    page.press("Add filesystem")
    page.fill(Name="data", Capacity_in_GiB="1.5")
    page.press("Add", page.dialog())
    row = page.page.get_by_role("row").filter(has_text="data")
    row.get_by_text("stopped").wait_for()
    assert "coffer, version" in row.inner_text() and "1.5 GiB" in row.inner_text()
    assert instance.view("data")["capacity"] == 3 * 2 ** 29
    page.press("Add filesystem")
    page.fill(Name="data")
    page.press("Add", page.dialog())
    assert "data" in page.refusal()
    page.page.keyboard.press("Escape")
    page.press("Start data")
    row.get_by_text("started").wait_for()
    page.press("Check data")
    page.sees("data: no faults")
    page.open("Snapshots")
    page.sees("There is no snapshot of data")
    page.press("Take snapshot")
    page.fill(Name="before <b>it")
    page.press("Take snapshot", page.dialog())
    page.page.get_by_role("row").filter(has_text="before <b>it").get_by_text("ready").wait_for()
    assert [row["name"] for row in instance.api("GET", "/api/v1/filesystems/data/snapshots")] == \
        ["before <b>it"]
    page.press("Remove before <b>it")
    page.field("Type before <b>it to confirm").fill("before <b>it")
    page.press("Remove", page.dialog())
    page.sees("There is no snapshot of data")
    page.open("Filesystems")
    page.press("Stop data")
    row.get_by_text("stopped").wait_for()
    page.press("Remove data")
    page.field("Type data to confirm").fill("dat")
    page.press("Remove", page.dialog())
    assert "not its name" in page.refusal()
    page.field("Type data to confirm").fill("data")
    page.press("Remove", page.dialog())
    page.sees("There is no filesystem yet")

    instance.run("security", "kms", "reset", "-f")
    instance.run("fs", "add", "trial", "--allow-no-kms")
    page.open("Alerts")
    page.page.wait_for_function("""async () => (await (await fetch("/api/v1/alerts")).json()).length > 0""")
    page.keep_answers()
    page.page.reload()
    page.press("Mute")
    page.dialog().get_by_label("Comment").fill("a <b>trial</b>")
    page.press("Mute", page.dialog())
    page.sees("(a <b>trial</b>)")
    assert instance.api("GET", "/api/v1/alerts")[0]["muted"] is True
    page.press("Unmute")
    page.page.get_by_role("button", name="Mute", exact=True).wait_for()

    page.open("Events")
    page.sees("user alice logged in from 127.0.0.1")
    page.fill(Type="alert-muted")
    page.press("Show")
    page.page.get_by_text("logged in").first.wait_for(state="detached")
    page.open("Audit")
    page.press("Verify")
    page.sees("entries are as they were written")
    assert page.page.get_by_role("row").filter(has_text="user alice").filter(has_text="remove").count() == 1

    page.open("Users")
    page.press("Add user")
    page.fill(Name="bob", Password="short pass")
    page.dialog().get_by_label("Role").select_option("KeyAdmin")
    page.press("Add", page.dialog())
    page.page.get_by_role("row").filter(has_text="bob").filter(has_text="KeyAdmin").wait_for()
    page.press("Role bob")
    page.dialog().get_by_label("Role").select_option("Regular")
    page.press("Change", page.dialog())
    page.page.get_by_role("row").filter(has_text="bob").filter(has_text="Regular").wait_for()
    page.press("Remove bob")
    page.press("Remove", page.dialog())
    page.page.get_by_role("row").filter(has_text="bob").wait_for(state="detached")
    page.open("Account")
    page.fill(Present_password="not the present one")
    page.fill(New_password="a new and good one")
    page.fill(New_password_once_more="a new and good one")
    page.press("Change password")
    assert page.refusal() == "the present password is wrong"
    page.fill(Present_password=PASSWORD)
    page.fill(New_password="a new and good one")
    page.fill(New_password_once_more="a new and good one")
    page.press("Change password")
    page.sees("Your password was changed")
    page.press("Log out")
    page.sees("You are logged out")
    must_be_nowhere([PASSWORD, "a new and good one", "short pass"], instance, page)


def test_a_read_only_user_sees_and_changes_nothing_and_a_session_that_ended_is_told(instance, page):
    instance.run("fs", "add", "trial", "--allow-no-kms")
    page.fill(User="rose", Password="not this one at all")
    page.press("Log in")
    assert page.refusal() == "the name or the password is wrong"
    page.log_in("rose")
    for name in ("Security", "Filesystems", "Snapshots", "Policies", "Object stores", "Tasks", "Alerts"):
        page.open(name)
        page.page.locator(".content .card").first.wait_for()
        labels = page.page.get_by_role("main").get_by_role("button").all_inner_texts()
        assert labels == [], name
    assert page.page.get_by_role("link", name="Users").count() == 0
    page.page.goto(page.base + "/#/users")
    assert "ClusterAdmin" in page.refusal()
    # What it remembers does not outlive the session, also when the page is loaded anew.
    page.page.reload()
    page.page.get_by_role("heading", name="Users", level=1).wait_for()
    instance.run("user", "passwd", "rose", "-", input="a new and good one\n")
    page.page.get_by_role("link", name="Events").click()
    page.sees("Your session has ended")
    page.field("User").wait_for()


def test_it_fits_narrow_screens_has_names_and_both_schemes(browser, instance, page, bao):
    instance.run("security", "kms", "set", "vault", bao.address, "coffer", "-",
                 input=bao.coffer_token("coffer"))
    instance.run("fs", "add", "a-name-of-thirty-two-characters-")
    narrow = Page(browser, instance, viewport={"width": 360, "height": 640}, color_scheme="dark")
    grounds = set()
    for shown in (page, narrow):
        shown.log_in()
        grounds.add(shown.page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor"))
        links = shown.page.get_by_role("navigation").get_by_role("link").all_inner_texts()
        assert len(links) == 12
        for name in links:
            shown.open(name)
            shown.page.locator(".content .card").first.wait_for()
            unnamed = shown.page.evaluate("""() => [...document.querySelectorAll(
                "input:not([type=file]), select, textarea, button, a")].filter((at) =>
                !(at.getAttribute("aria-label") || at.labels?.length || at.innerText.trim()))
                .map((at) => at.outerHTML)""")
            assert unnamed == [], name
            assert shown.fits(), name
            assert shown.page.title() == f"{name} – coffer"
    assert len(grounds) == 2
    narrow.close()
