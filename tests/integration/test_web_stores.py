"""Object stores on the web page, in a real browser, with a real S3 server and a real key server:
adding and changing them, what they hold, and making filesystems and snapshots of that."""
import pytest

import servers
from instance import wait_until
from sites import forget_ring, ring_of, set_kms
from web_page import Page, bao, browser, instance, must_be_nowhere, page  # noqa: F401


def pykmip(folder):
    try:
        return servers.PykmipServer(folder / "kmip")
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def uploaded(instance, bao, folder):  # noqa: F811
    """A started filesystem, projects, with a snapshot, monday, that is in the object store nas;
    its locator."""
    set_kms(instance, bao, "coffer")
    (folder / "nas").mkdir()
    instance.run("fs", "tier", "dir", "add", "nas", "--path", folder / "nas")
    instance.add("projects")
    instance.api("POST", "/api/v1/filesystems/projects/start", {})
    return upload(instance, "monday")


def upload(instance, name, *options):  # noqa: F811
    instance.run("fs", "snapshot", "add", "projects", name)
    instance.run("fs", "snapshot", "upload", "projects", name, "--wait", *options)
    row = next(row for row in instance.api("GET", "/api/v1/filesystems/projects/snapshots") if row["name"] == name)
    return row["uploads"][0]["locator"]


def stores(instance):  # noqa: F811
    return {row["name"]: row for row in instance.api("GET", "/api/v1/object-stores")}


def held(instance):  # noqa: F811
    return [row["locator"] for row in instance.api("GET", "/api/v1/object-stores/nas/snapshots")]


def open_store(page, name):  # noqa: F811
    page.open("Object stores")
    page.page.get_by_role("link", name=name, exact=True).click()
    page.page.get_by_role("heading", name=f"Snapshots in {name}").wait_for()


def ended(instance, task):  # noqa: F811
    return wait_until(lambda: [row for row in instance.api("GET", "/api/v1/tasks")
                               if row["id"] == task and row["ended"]], f"task {task} ends")[0]["state"]


def test_a_bucket_and_a_folder_are_added_tried_changed_and_forgotten(instance, page, s3, folder):  # noqa: F811
    page.log_in()
    page.open("Object stores")
    page.sees("There is no object store")
    page.press("Add object store")
    page.dialog().get_by_text("Further settings").click()
    wrong = "not-the-secret-key-of-anybody"
    page.fill(Name="backup", Host_name="127.0.0.1", Port=s3.port, Bucket="coffer", Prefix="host1",
              Access_key_ID=s3.access_key_id, CA_certificate=s3.ca_cert.read_text(), Secret_key=wrong)
    page.press("Add", page.dialog())
    shown = page.refusal()
    told = instance.run("fs", "tier", "s3", "add", "backup", "--hostname", "127.0.0.1", "--port", s3.port,
                        "--bucket", "coffer", "--prefix", "host1", "--access-key-id", s3.access_key_id,
                        "--ca-cert", s3.ca_cert, "--secret-key", "-", input=wrong, check=False).stderr
    assert shown in told and stores(instance) == {}
    assert page.field("Secret key").input_value() == ""  # it is given anew
    assert page.field("Bucket").input_value() == "coffer"
    page.fill(Secret_key=s3.secret_key)
    page.dialog().get_by_text("Site and limits").click()
    page.dialog().get_by_label("Site").select_option("remote")
    page.fill(**{"Upload limit, MiB a second": "2.5"})
    page.press("Add", page.dialog())
    page.sees("backup was added")
    added = stores(instance)["backup"]
    assert (added["bucket"], added["prefix"], added["site"], added["upload_bandwidth"], added["ca_cert"]) == \
        ("coffer", "host1", "remote", 5 << 19, True)
    row = page.row("backup")
    assert "coffer/host1" in row.inner_text() and "far from it" in row.inner_text()
    page.press("Check backup")
    page.sees("backup was tried, and does what coffer needs")

    page.press("Update backup")
    assert page.field("Host name").input_value() == "127.0.0.1"
    assert page.field("Secret key").input_value() == ""
    page.fill(Secret_key=wrong)
    page.press("Update", page.dialog())
    assert "does not accept the signature" in page.refusal()
    page.dialog().get_by_text("Site and limits").click()
    page.fill(**{"Upload limit, MiB a second": "", "Download limit, MiB a second": "7"})
    page.press("Update", page.dialog())  # the secret key that is kept is used
    page.sees("backup was changed")
    changed = stores(instance)["backup"]
    assert changed == {**added, "upload_bandwidth": 0, "download_bandwidth": 7 << 20}

    page.press("Add object store")
    page.choose("A folder")
    assert page.dialog().get_by_label("Secret key").filter(visible=True).count() == 0
    page.fill(Name="nas", Folder=folder / "nas")
    page.press("Add", page.dialog())
    assert str(folder / "nas") in page.refusal()
    (folder / "nas").mkdir()
    page.press("Add", page.dialog())
    page.sees("nas was added")
    page.open("Filesystems")
    page.press("Add filesystem")
    page.fill(Name="archive")
    page.dialog().get_by_label("Its data lies").select_option("s3:backup")
    page.dialog().get_by_label("Allow no key server").check()
    page.press("Add", page.dialog())
    page.row("archive").wait_for()
    assert instance.view("archive")["store"].startswith("s3:backup/")
    page.open("Object stores")
    page.press("Forget backup")
    page.field("Type backup to confirm").fill("backup")
    page.press("Forget", page.dialog())
    assert "archive" in page.refusal()
    page.page.keyboard.press("Escape")
    instance.run("fs", "remove", "archive", "-f")

    page.press("Forget backup")
    page.field("Type backup to confirm").fill("nas")
    page.press("Forget", page.dialog())
    assert "not its name" in page.refusal()
    page.field("Type backup to confirm").fill("backup")
    page.press("Forget", page.dialog())
    page.sees("backup is forgotten")
    assert list(stores(instance)) == ["nas"]
    must_be_nowhere([s3.secret_key, wrong], instance, page)


def test_what_a_store_holds_is_listed_verified_and_downloaded(instance, uploaded, page):  # noqa: F811
    page.log_in()
    open_store(page, "nas")
    row = page.page.get_by_role("region", name="Snapshots in nas").get_by_role("row").filter(has_text="monday")
    assert "of projects" in row.inner_text() and "coffer, version 1" in row.inner_text()
    row.get_by_text("Locator").click()
    assert row.locator("code").inner_text() == uploaded
    page.press("Verify monday of projects")
    page.press("Verify", page.dialog())
    page.sees("Task 2 has begun")
    assert ended(instance, 2) == "done"

    page.press("Download monday of projects")
    assert page.field("Name of the filesystem").input_value() == "projects-2"
    page.field("Name of the filesystem").fill("projects")
    page.press("Download", page.dialog())
    assert "projects" in page.refusal()
    page.field("Name of the filesystem").fill("copy")
    page.press("Download", page.dialog())
    page.sees("copy is here, and can be mounted")
    assert instance.view("copy")["kms_key"] == "coffer"
    page.open("Filesystems")
    page.sees("is still only in nas")
    page.open("Tasks")
    page.sees("It cannot be aborted: the filesystem needs what is only in the object store")
    assert page.page.get_by_role("button", name="Pause task 3").is_visible()
    assert page.page.get_by_role("button", name="Abort task 3").count() == 0

    open_store(page, "nas")
    page.press("Download monday of projects")
    page.choose("A snapshot of a filesystem that is here")
    assert page.field("Filesystem").input_value() == "projects"
    page.press("Download", page.dialog())
    assert "monday" in page.refusal()  # there is one of that name
    page.field("Name of the snapshot").fill("monday again")
    page.press("Download", page.dialog())
    page.sees("has begun")
    wait_until(lambda: "monday again" in [row["name"] for row in instance.api(
        "GET", "/api/v1/filesystems/projects/snapshots")], "the snapshot is brought in")


def test_what_a_store_holds_is_wrapped_anew_removed_and_cleaned(browser, instance, bao, uploaded, page):  # noqa: F811
    hidden = upload(instance, "tuesday", "--hide-names")
    bao.rotate_key("coffer")
    page.log_in()
    open_store(page, "nas")
    page.sees("name hidden")
    page.press("Rewrap keys")
    page.press("Rewrap", page.dialog())
    page.sees("Task 3 has begun")
    assert ended(instance, 3) == "done"
    versions = [row["kms_key_version"] for row in instance.api("GET", "/api/v1/object-stores/nas/snapshots")]
    assert versions == [2, 2]

    title = hidden[:20]
    page.press(f"Remove {title}")
    page.sees("Its name is hidden")
    page.field(f"Type {hidden[-8:]} to confirm").fill(hidden[-8:])
    page.press("Remove", page.dialog())
    page.sees("are removed")
    page.page.get_by_role("button", name=f"Remove {title}").wait_for(state="detached")
    assert held(instance) == [uploaded]
    page.press("Clean")
    page.press("Clean", page.dialog())
    page.sees("0 objects (0 B) are removed")

    other = Page(browser, instance, viewport={"width": 360, "height": 640}, color_scheme="dark")
    other.log_in("rose")
    for name, what in (("Snapshots", "monday"), ("Tasks", "Upload of snapshot 2"), ("Object stores", "beside this host")):
        other.open(name)
        other.sees(what)
        assert other.fits(), name
    open_store(other, "nas")
    other.page.get_by_role("region", name="Who uses nas").get_by_text("an uploaded snapshot").wait_for()
    labels = other.page.get_by_role("main").get_by_role("button").filter(visible=True).all_inner_texts()
    assert labels == [] and other.fits()
    other.close()
    page.press("Remove monday of projects")
    page.field("Type monday to confirm").fill("monday")
    page.press("Remove", page.dialog())
    page.sees("It holds no snapshot yet")
    assert held(instance) == []


def test_one_uploaded_snapshot_is_wrapped_for_another_key_server(instance, bao, uploaded, page, folder):  # noqa: F811
    def keys():
        return {row["locator"]: (row["kms_type"], row["kms_key"], row["kms_key_version"])
                for row in instance.api("GET", "/api/v1/object-stores/nas/snapshots")}

    def told(row):
        region = page.page.get_by_role("region", name="Keys in nas")
        return region.get_by_role("row").filter(has_text=row).inner_text()

    later = upload(instance, "tuesday")
    version = instance.view("projects")["kms_key_version"]
    before = ("vault", "coffer", version)
    bao.rotate_key("coffer")
    page.log_in()
    open_store(page, "nas")
    page.press("Rewrap monday of projects")
    page.dialog().get_by_label("Only tell what would be done").check()
    page.press("Rewrap", page.dialog())
    page.page.get_by_role("heading", name="Rewrapped").wait_for()
    assert told("monday").split()[:4] == ["monday", "of", "projects", "planned"]
    assert keys() == {uploaded: before, later: before}

    page.press("Rewrap monday of projects")
    page.press("Rewrap", page.dialog())
    page.sees("Task 3 has begun")
    assert ended(instance, 3) == "done"
    assert keys() == {uploaded: ("vault", "coffer", version + 1), later: before}

    with pykmip(folder) as kms:
        uid = kms.admin().create()
        cert, key = kms.client("alice")
        page.press("Rewrap tuesday of projects")
        assert page.dialog().get_by_label("KMS Identifier").filter(visible=True).count() == 0
        page.choose("Another one")
        page.choose("KMIP")
        page.choose("This key server")
        page.choose("Another one")  # and KMIP is still chosen
        page.fill(Address=kms.address, KMS_Identifier="424242", Client_Certificate=cert.read_text(),
                  Client_Key=key.read_text(), CA_Certificate=kms.ca_cert.read_text())
        page.press("Rewrap", page.dialog())
        assert "424242" in page.refusal() and keys()[later] == before
        page.fill(KMS_Identifier=uid, Client_Key=key.read_text())  # which is given anew
        page.dialog().get_by_label("Drop what wrapped them before").check()
        page.press("Rewrap", page.dialog())
        page.page.get_by_role("heading", name="Rewrapped").wait_for()
        assert "rewrapped" in told("tuesday") and f"coffer, version {version}" in told("tuesday")
        assert keys() == {uploaded: ("vault", "coffer", version + 1), later: ("kmip", uid, 0)}
        assert instance.api("GET", "/api/v1/kms")["type"] == "vault"
        lines = [line for line in key.read_text().splitlines() if "----" not in line]
        must_be_nowhere(lines[:3], instance, page)

    # What cannot be wrapped anew is named, and stays as it is.
    bao.create_key("other")
    token = bao.coffer_token("other")
    page.press("Rewrap keys")
    page.choose("Another one")
    page.choose("Token")
    page.fill(Address=bao.address, Key_Identifier="other", Token=token)
    page.press("Rewrap", page.dialog())
    page.page.get_by_role("heading", name="Not all of it could be rewrapped: 1 stays as it was").wait_for()
    assert "failed" in told("tuesday") and uid in told("tuesday")
    assert "other, version 1" in told("monday")
    assert keys() == {uploaded: ("vault", "other", 1), later: ("kmip", uid, 0)}
    must_be_nowhere([token], instance, page)


def test_a_lost_key_ring_comes_back_from_an_uploaded_snapshot(browser, instance, uploaded):  # noqa: F811
    def repair(shown):
        shown.press("Repair keys projects")
        shown.press("Repair", shown.dialog())

    instance.api("POST", "/api/v1/filesystems/projects/stop")
    forget_ring(instance, "projects")
    page = Page(browser, instance).log_in()  # noqa: F811
    page.open("Filesystems")
    page.press("Start projects")
    assert "key" in page.refusal()
    page.press("Repair keys projects")
    page.field("Locator of the snapshot").fill(uploaded[:-1] + ("2" if uploaded[-1] != "2" else "3"))
    page.press("Repair", page.dialog())
    shown = page.refusal()
    told = instance.run("fs", "key", "repair", "projects", page.field("Locator of the snapshot").input_value(),
                        "--object-store", "nas", check=False).stderr
    assert shown in told
    page.field("Locator of the snapshot").fill("")
    page.press("Repair", page.dialog())
    page.sees(f"The key ring of projects was got back from the uploaded snapshot {uploaded}")
    assert ring_of(instance, "projects").stat().st_size > 0
    page.press("Start projects")
    page.row("projects").get_by_text("started").wait_for()
    assert page.page.get_by_role("button", name="Repair keys projects").count() == 0
    page.press("Stop projects")
    repair(page)
    assert "there is nothing to repair" in page.refusal()
    page.page.keyboard.press("Escape")
    page.close()


def test_the_cache_of_a_filesystem_in_a_bucket_is_shown_and_set(instance, page, s3, folder):  # noqa: F811
    instance.api("POST", "/api/v1/object-stores", {
        "name": "bucket", "type": "s3", "hostname": "127.0.0.1", "port": s3.port, "bucket": "coffer",
        "prefix": "cached", "access_key_id": s3.access_key_id, "secret_key": s3.secret_key,
        "ca_cert": s3.ca_cert.read_text()})
    instance.run("fs", "add", "plain", "--allow-no-kms")
    (folder / "cache").mkdir()
    page.log_in()
    page.open("Filesystems")
    page.press("Add filesystem")
    page.fill(Name="archive")
    assert page.dialog().get_by_label("Cache in GiB").filter(visible=True).count() == 0
    page.dialog().get_by_label("Its data lies").select_option("s3:bucket")
    page.fill(Cache_in_GiB="0.001", Folder_of_the_cache=folder / "cache")
    page.dialog().get_by_label("Allow no key server").check()
    page.press("Add", page.dialog())
    assert "a cache is at least 16 MiB" in page.refusal()
    page.fill(Cache_in_GiB="0.5")
    page.press("Add", page.dialog())
    page.sees("archive was added")
    view = instance.view("archive")
    assert (view["cache"], view["cache_folder"]) == (1 << 29, str(folder / "cache"))
    assert f"cache: 0 B of 512 MiB, in {folder / 'cache'}" in page.row("archive").inner_text()
    assert page.page.get_by_role("button", name="Cache plain").count() == 0
    assert "cache" not in page.row("plain").inner_text()

    page.press("Cache archive")
    assert page.field("Size in GiB").input_value() == "0.5"
    page.fill(Size_in_GiB="0.01")
    page.press("Set", page.dialog())
    assert "a cache is at least 16 MiB" in page.refusal()
    page.fill(Size_in_GiB="2.25")
    page.press("Set", page.dialog())
    page.sees("archive has a cache of 2.3 GiB")
    assert instance.view("archive")["cache"] == 9 << 28
    page.press("Cache archive")
    page.fill(Size_in_GiB="0")
    page.press("Set", page.dialog())
    page.sees("archive has no cache")
    assert instance.view("archive")["cache"] == 0 and "no cache" in page.row("archive").inner_text()
    instance.run("fs", "remove", "archive", "-f")
