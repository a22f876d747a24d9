"""Snapshots and tasks on the web page, in a real browser, with a real key server."""
import os

import pytest

from instance import wait_until
from sites import set_kms
from web_page import Page, bao, browser, instance, must_be_nowhere, page  # noqa: F401


needs_mounts = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                  reason="needs root and /dev/fuse")


@pytest.fixture
def projects(instance, bao):  # noqa: F811
    """A started filesystem of that name."""
    set_kms(instance, bao, "coffer")
    instance.add("projects")
    instance.api("POST", "/api/v1/filesystems/projects/start", {})
    return instance


@pytest.fixture
def nas(projects, folder):
    """The folder of an object store of that name."""
    place = folder / "nas"
    place.mkdir()
    projects.run("fs", "tier", "dir", "add", "nas", "--path", place)
    return place


def snapshots(instance):  # noqa: F811
    return instance.api("GET", "/api/v1/filesystems/projects/snapshots")


def tasks(instance):  # noqa: F811
    return instance.api("GET", "/api/v1/tasks")


def upload(page, name):  # noqa: F811
    page.press(f"Upload {name}")
    page.dialog().get_by_label("Object store").select_option("nas")
    page.press("Upload", page.dialog())


def test_a_long_name_leaves_room_and_times_say_their_zone(browser, projects):  # noqa: F811
    for name, access_point in (("n" * 200, "short"), ("monday", "p" * 200)):
        projects.api("POST", "/api/v1/filesystems/projects/snapshots",
                     {"name": name, "access_point": access_point})
    page = Page(browser, projects, viewport={"width": 1280, "height": 900},  # noqa: F811
                timezone_id="Asia/Kolkata")
    page.log_in()
    page.open("Snapshots")
    row = page.row("monday")
    assert row.locator("time").first.inner_text().endswith(" GMT+5:30")
    button = row.get_by_role("button", name="Remove").bounding_box()
    assert button["x"] + button["width"] <= 1280
    page.close()


def test_a_snapshot_is_taken_uploaded_renamed_gone_back_to_and_removed(projects, nas, page):  # noqa: F811
    page.log_in()
    page.open("Snapshots")
    page.sees("There is no snapshot of projects")
    page.press("Take snapshot")
    page.fill(Name="monday")
    page.press("Take snapshot", page.dialog())
    page.sees("The snapshot was taken")
    upload(page, "monday")
    page.sees("Task 1 has begun: upload of snapshot 1 of projects")
    row = page.row("monday")
    row.get_by_text("Locator").click()  # it comes by itself
    locator = snapshots(projects)[0]["uploads"][0]["locator"]
    assert row.locator("code", has_text="coffer1-").inner_text() == locator
    page.press("Remove monday")
    page.sees("What was uploaded of it stays in the object store")
    page.press("Cancel", page.dialog())

    page.press("Rename monday")
    page.fill(Name="mon <i>day", Access_point="monday")
    page.press("Rename", page.dialog())
    page.row("mon <i>day").wait_for()
    assert [(one["name"], one["access_point"]) for one in snapshots(projects)] == \
        [("mon <i>day", "monday")]

    page.press("Restore mon <i>day")
    page.sees("It is started")
    page.field("Type projects to confirm").fill("projects")
    page.press("Restore", page.dialog())
    told = projects.run("fs", "restore", "projects", "mon <i>day", "--force", check=False).stderr
    assert page.refusal() in told
    page.page.keyboard.press("Escape")
    projects.api("POST", "/api/v1/filesystems/projects/stop")
    page.open("Filesystems")
    page.page.get_by_role("link", name="Snapshots of projects").click()
    page.sees("going back to one needs it stopped")
    assert page.page.get_by_role("button", name="Take snapshot").count() == 0
    page.press("Restore mon <i>day")
    page.field("Type projects to confirm").fill("project")
    page.press("Restore", page.dialog())
    assert "not its name" in page.refusal()
    page.field("Type projects to confirm").fill("projects")
    page.press("Restore", page.dialog())
    page.sees("projects is back to mon <i>day: 0 files and folders differed")
    page.row("before-mon <i>day").wait_for()

    projects.api("POST", "/api/v1/filesystems/projects/start", {})
    page.press("Remove before-mon <i>day")
    page.sees("Nothing brings it back: it was not uploaded")
    page.field("Type before-mon <i>day to confirm").fill("before-mon <i>day")
    page.press("Remove", page.dialog())
    page.row("before-mon <i>day").wait_for(state="detached")
    assert [one["name"] for one in snapshots(projects)] == ["mon <i>day"]


@needs_mounts
def test_what_differs_between_two_snapshots_is_told_page_by_page(projects, folder, page):  # noqa: F811
    top = projects.mount("projects", folder / "mnt")
    for name in ("changed <b>", "gone", "old name"):
        (top / name).write_text("as it was")
    projects.run("fs", "snapshot", "add", "projects", "monday")
    (top / "changed <b>").write_text("as it became")
    (top / "gone").unlink()
    (top / "old name").rename(top / "new name")
    projects.run("fs", "snapshot", "add", "projects", "tuesday")
    many = sorted(f"{number:03}-{'x' * 200}" for number in range(300))
    for name in many:
        (top / name).touch()
    page.log_in()
    page.open("Snapshots")
    page.press("Compare tuesday")
    page.dialog().get_by_label("With").select_option("monday")
    page.press("Compare", page.dialog())
    page.page.get_by_role("heading", name="From monday to tuesday").wait_for()
    region = page.page.get_by_role("region", name="What differs from monday to tuesday")
    told = {row.locator("code").first.inner_text(): row.inner_text().split()
            for row in region.locator("tbody tr").all()}
    assert told["changed <b>"][:3] == ["changed", "file", "content,"]
    assert told["gone"][0] == "removed"
    assert told["new name"][0] == "renamed" and told["new name"][-3:] == ["was", "old", "name"]
    page.press("Close")
    assert region.count() == 0

    page.press("Compare tuesday")
    page.press("Compare", page.dialog())
    region = page.page.get_by_role("region", name="What differs from tuesday to what projects is now")
    region.wait_for()
    more = page.page.get_by_role("button", name="More", exact=True)
    assert more.is_visible() and region.locator("tbody tr").count() < len(many)
    while more.is_visible():
        before = region.locator("tbody tr").count()
        more.click()
        page.page.wait_for_function("""(before) => document.querySelectorAll(".report tbody tr").length > before ||
            !document.querySelector(".report").innerText.includes("so far")""", arg=before)
    added = [row.locator("code").inner_text() for row in region.locator("tbody tr").filter(has_text="added").all()]
    assert sorted(added) == many
    page.page.set_viewport_size({"width": 360, "height": 640})
    assert page.fits()

    projects.run("fs", "snapshot", "add", "projects", "wednesday")
    page.page.reload()
    page.press("Compare wednesday")
    projects.run("fs", "umount", "projects")
    page.press("Compare", page.dialog())
    told = projects.run("fs", "snapshot", "diff", "projects", "wednesday", check=False).stderr
    assert page.refusal() in told


def test_a_task_says_what_it_waits_for_and_is_paused_resumed_and_aborted(projects, nas, page):  # noqa: F811
    projects.run("fs", "snapshot", "add", "projects", "monday")
    page.log_in()
    page.open("Tasks")
    page.sees("Nothing is under way")
    away = nas.with_name("away")
    nas.rename(away)
    page.open("Snapshots")
    upload(page, "monday")
    page.open("Tasks")
    page.sees("waiting")
    waits = wait_until(lambda: [task for task in tasks(projects) if task["state"] == "waiting"], "it waits")
    page.sees(waits[0]["text"])
    page.press("Pause task 1")
    page.page.get_by_role("button", name="Resume task 1").wait_for()
    assert page.focused() == "Resume task 1"  # where Pause was
    assert tasks(projects)[0]["state"] == "paused"
    page.press("Resume task 1")
    page.page.get_by_role("button", name="Try now task 1").wait_for()
    page.press("Abort task 1")
    page.press("Cancel", page.dialog())
    assert page.focused() == "Abort task 1"
    page.press("Abort task 1")
    page.dialog().get_by_label("End it also if").check()
    page.press("Abort", page.dialog())
    ended = page.page.get_by_role("region", name="Tasks that have ended")
    ended.get_by_role("row").filter(has_text="task 1").get_by_text("aborted").wait_for()
    page.sees("Nothing is under way")

    page.open("Snapshots")
    upload(page, "monday")
    page.open("Tasks")
    page.page.get_by_role("button", name="Try now task 2").wait_for()
    away.rename(nas)
    page.press("Try now task 2")
    done = ended.get_by_role("row").filter(has_text="task 2")
    done.get_by_text("done").wait_for()
    done.get_by_text("Locator").click()
    assert done.locator("code").inner_text() == tasks(projects)[1]["result"]
    # What is opened stays so while the list is asked for anew.
    with page.page.expect_response("**/api/v1/tasks"):
        pass
    with page.page.expect_response("**/api/v1/tasks"):
        pass
    assert done.locator("code").is_visible()
    must_be_nowhere([], projects, page)


def test_a_policy_is_added_attached_run_changed_and_removed(projects, nas, page):  # noqa: F811
    def policy():
        return projects.api("GET", "/api/v1/snapshot-policies/nightly")

    def of(period):
        return page.dialog().get_by_role("group", name=period)

    page.log_in()
    page.open("Policies")
    page.sees("There is no snapshot policy")
    page.press("Add policy")
    page.fill(Name="nightly")
    of("Daily").get_by_label("At").fill("25:00")
    page.press("Add", page.dialog())
    told = projects.run("fs", "protection", "snapshot-policy", "add", "nightly", "--daily", "25:00",
                        check=False).stderr
    assert page.refusal() in told
    of("Daily").get_by_label("At").fill("23:00")
    of("Daily").get_by_label("Upload to").select_option("nas")
    of("Weekly").get_by_label("Days and time").fill("sunday,wednesday 22:15")
    of("Weekly").get_by_label("Keep").fill("9")
    page.press("Add", page.dialog())
    page.sees("nightly was added")
    added = policy()
    assert (added["hourly"], added["daily"], added["daily_retention"], added["daily_upload"]) == ("", "23:00", 7, "nas")
    assert (added["weekly"], added["weekly_retention"], added["monthly"]) == ("sunday,wednesday 22:15", 9, "")
    page.sees("Daily, 23:00: keeps 7, uploads to nas")
    page.sees("none: it does nothing yet")

    page.press("Attach nightly")
    page.press("Attach", page.dialog())
    page.sees("nightly is attached")
    page.press("Take now nightly")
    page.press("Take now", page.dialog())
    page.sees("They are being taken")
    wait_until(lambda: len(snapshots(projects)) == 2, "one of each kind is taken")
    page.press("Update nightly")
    assert of("Daily").get_by_label("Upload to").input_value() == "nas"
    of("Daily").get_by_label("At").fill("")
    of("Daily").get_by_label("Upload to").select_option("")
    of("Hourly").get_by_label("At minute").fill("30")
    page.press("Update", page.dialog())
    page.sees("nightly was changed")
    changed = policy()
    assert (changed["hourly"], changed["hourly_retention"], changed["daily"], changed["daily_upload"]) == \
        ("30", 24, "", "")
    assert (changed["weekly"], changed["weekly_retention"]) == ("sunday,wednesday 22:15", 9)

    page.press("Detach nightly from projects")
    page.press("Detach", page.dialog())
    page.sees("takes no more snapshots of projects")
    page.press("Remove nightly")
    page.press("Remove", page.dialog())
    page.sees("There is no snapshot policy")
    assert len(snapshots(projects)) == 2


def test_a_page_that_nobody_touches_asks_no_more_so_that_its_session_ends(page):  # noqa: F811
    asked = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.page.clock.install()
    page.log_in()
    page.open("Tasks")
    page.sees("Nothing is under way")
    with page.page.expect_response("**/api/v1/tasks"):
        page.page.clock.run_for(2500)
    page.page.clock.fast_forward(25 * 60_000)
    page.page.evaluate("0")
    asked.clear()
    page.page.clock.run_for(60_000)
    page.page.evaluate("0")
    assert asked == []
    page.page.keyboard.press("Tab")
    with page.page.expect_response("**/api/v1/tasks"):
        page.page.clock.run_for(2500)


def test_how_far_a_task_is_is_said_as_far_as_it_is_known(page):  # noqa: F811
    def said(**known):
        task = {"unit": "bytes", "total": 0, "done": 0, "rate": 0, "seconds_left": None,
                "state": "running", **known}
        return page.page.evaluate(
            """async (task) => (await import("/pages-tasks.js")).progressText(task)""", task)

    assert said() == ""
    assert said(done=5 << 20) == "5.0 MiB"
    assert said(total=3 << 30, done=1 << 30, rate=30 << 20, seconds_left=69) == \
        "1.0 GiB of 3.0 GiB, 30.0 MiB/s, 1 min left"
    assert said(total=40, done=10, unit="snapshots", seconds_left=7205) == "10 of 40, 2 h 0 min left"
    assert said(total=40, done=10, unit="snapshots", seconds_left=7, state="paused") == "10 of 40"
    assert said(total=40, seconds_left=90000, unit="snapshots") == "0 of 40, 1 d 1 h left"
